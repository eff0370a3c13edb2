package provisioning_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning"
	"github.com/keywright/keywright/store"
)

// A server, an administrator who makes a provisioning key, a pipeline that uses
// it, and the runner.
func Example() {
	srv := httptest.NewUnstartedServer(nil)
	external := &url.URL{Scheme: "http", Host: srv.Listener.Addr().String()}
	host, err := keywright.NewHost(keywright.HostConfig{
		Store: &store.Memory{}, // or sqlstore.Open(...)
		URL:   external,
		Kinds: map[string]string{"admin": "kw_admin", "provisioning": "ck_prov", "runner": "ck_runner", "enrollment": "ck_enroll"},
	})
	if err != nil {
		panic(err)
	}
	prov, err := provisioning.New(provisioning.Config{Host: host, Admin: host.Keys.Of("admin")})
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	prov.Register(mux, "")
	runner := keywright.Text.Require(prov.Authenticator())
	mux.Handle("GET /work", runner(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, _ := keywright.FromContext(r.Context())
		fmt.Fprintln(w, "work for", caller.Subject, "made by", caller.Attrs["provisioned_by"])
	})))
	srv.Config.Handler = keywright.NoRedirect(mux)
	srv.Start()
	defer srv.Close()

	ctx := context.Background()
	key, err := prov.CreateKey(ctx, keywright.Principal{Subject: "root"}, provisioning.KeySettings{ID: "ci", Pattern: "sdr-*"})
	if err != nil {
		panic(err)
	}

	client := provisioning.Client{URL: external.String()}
	p, err := client.Provision(ctx, key.APIKey, provisioning.ProvisionRequest{Name: "sdr-1"})
	if err != nil {
		panic(err)
	}
	err = client.Enroll(ctx, provisioning.EnrollRequest{Token: p.Token, APIKey: p.APIKey, ID: p.ID, Hostname: "station"})
	if err != nil {
		panic(err)
	}
	req, _ := http.NewRequest("GET", external.String()+"/work", nil)
	req.Header.Set("Authorization", "Bearer "+p.APIKey)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		panic(err)
	}
	defer res.Body.Close()
	io.Copy(os.Stdout, res.Body)

	_, err = client.Provision(ctx, key.APIKey, provisioning.ProvisionRequest{Name: "web-1"})
	fmt.Println(err)
	// Output:
	// work for sdr-1 made by provisioning:ci
	// provisioning: the server answers 403 Forbidden: insufficient_scope: runner_id: this key makes only runners named like sdr-*
}
