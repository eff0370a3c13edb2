package apptoken_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning/apptoken"
	"github.com/keywright/keywright/store"
)

// An administrator's key makes a token for a CI job, which a route of the host
// then asks for the scope that it needs.
func Example() {
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	defer srv.Close()
	external, _ := url.Parse(srv.URL)
	host, err := keywright.NewHost(keywright.HostConfig{
		Store: new(store.Memory), URL: external, Kinds: map[string]string{"admin": "kw_admin", "app": "quay_oat"},
	})
	if err != nil {
		log.Fatal(err)
	}
	tokens, err := apptoken.New(apptoken.Config{
		Host: host, Callers: host.Keys.Of("admin"),
		Directory: apptoken.Static{Organizations: map[string]apptoken.Organization{
			"myorg": {Applications: map[string]string{"app123": "CI"}},
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	tokens.Register(mux, "")
	pull := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, _ := keywright.FromContext(r.Context())
		fmt.Fprint(w, "for ", p.Subject)
	})
	mux.Handle("GET /pull", keywright.Require(host.Keys.Of("app"))(keywright.RequireScope(apptoken.ScopeRepoRead)(pull)))

	ctx := context.Background()
	admin, err := host.Keys.Issue(ctx, keywright.Principal{}, keywright.KeySpec{Kind: "admin", Method: keywright.MethodHost, Subject: "root", Scopes: []string{"admin"}})
	if err != nil {
		log.Fatal(err)
	}
	client := apptoken.Client{URL: srv.URL, Authorization: apptoken.Bearer(admin.Text)}
	made, err := client.Create(ctx, "myorg", "app123", apptoken.Spec{Name: "ci-job", Scopes: []string{apptoken.ScopeRepoWrite}, Lifetime: time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	get := func() int {
		r, _ := http.NewRequest("GET", srv.URL+"/pull", nil)
		r.Header.Set("Authorization", "Bearer "+made.Text)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			log.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	fmt.Println(made.Scopes, made.Expires.Sub(made.Created), get())
	for t, err := range client.List(ctx, "myorg", "app123") {
		fmt.Println(t.Name, err)
	}
	if err := client.Delete(ctx, "myorg", "app123", made.ID); err != nil {
		log.Fatal(err)
	}
	fmt.Println(get())

	// Output:
	// [repo:write] 1h0m0s 200
	// ci-job <nil>
	// 401
}
