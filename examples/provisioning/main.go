// Command provisioning enrols runners and serves a /hello that wants the key
// of one. It prints an admin key, and keeps everything in memory.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"net/url"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning"
	"github.com/keywright/keywright/store"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on")
	external := flag.String("url", "http://127.0.0.1:8080", "external URL of this server")
	flag.Parse()
	handler, admin, err := newHandler(*external)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf(`Make a provisioning key, and then the credentials of a runner with it:

  curl -H 'Authorization: Bearer %s' %s%s -d '{"key_id":"ci"}'
  curl -H 'Authorization: Bearer ck_prov_...' %s%s -d '{"runner_name":"runner-1"}'
`, admin, *external, provisioning.KeysPath, *external, provisioning.ProvisionPath)
	srv := &http.Server{Addr: *addr, Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(srv.ListenAndServe())
}

func newHandler(external string) (h http.Handler, adminKey string, err error) {
	base, err := url.Parse(external)
	if err != nil {
		return nil, "", err
	}
	host, err := keywright.NewHost(keywright.HostConfig{
		Store: &store.Memory{},
		URL:   base,
		Kinds: map[string]string{"admin": "kw_admin", "provisioning": "ck_prov", "runner": "ck_runner", "enrollment": "ck_enroll"},
	})
	if err != nil {
		return nil, "", err
	}
	prov, err := provisioning.New(provisioning.Config{Host: host, Admin: host.Keys.Of("admin")})
	if err != nil {
		return nil, "", err
	}
	mux := http.NewServeMux()
	prov.Register(mux, "")
	mux.Handle("GET /hello", keywright.Text.Require(prov.Authenticator())(http.HandlerFunc(hello)))
	admin, err := host.Keys.Issue(context.Background(), keywright.Principal{}, keywright.KeySpec{
		Kind: "admin", Method: keywright.MethodHost, Subject: "admin",
	})
	return keywright.NoRedirect(mux), admin.Text, err
}

func hello(w http.ResponseWriter, r *http.Request) {
	p, _ := keywright.FromContext(r.Context())
	fmt.Fprintf(w, "hello %s, provisioned by %s\n", p.Subject, p.Attrs["provisioned_by"])
}
