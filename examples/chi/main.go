// Command chi serves the bootstrap endpoint and a protected /whoami on chi. It
// keeps everything in memory, so each start is a fresh installation.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/bootstrap"
	"github.com/keywright/keywright/examples/chi/chikw"
	"github.com/keywright/keywright/store"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on")
	flag.Parse()
	secret, err := bootstrap.SecretFromEnv()
	if err != nil {
		log.Fatal(err)
	}
	if secret == "" {
		secret = bootstrap.NewSecret()
		if err := printCommand("http://"+*addr, secret); err != nil {
			log.Fatal(err)
		}
	}
	handler, err := newHandler(secret)
	if err != nil {
		log.Fatal(err)
	}
	srv := &http.Server{Addr: *addr, Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(srv.ListenAndServe())
}

func newHandler(secret string) (http.Handler, error) {
	host, err := keywright.NewHost(keywright.HostConfig{
		Store: &store.Memory{},
		Kinds: map[string]string{"admin": "kw_admin"},
	})
	if err != nil {
		return nil, err
	}
	boot, err := bootstrap.New(bootstrap.Config{
		Host:   host,
		Secret: secret,
		Key:    bootstrap.AdminKey{Kind: "admin", Scopes: []string{"admin"}},
	})
	if err != nil {
		return nil, err
	}
	r := chi.NewRouter()
	r.Use(middleware.Logger, middleware.Recoverer)
	chikw.Mount(r, boot.Routes()...)
	r.With(keywright.Require(host.Keys.Of("admin"))).Get("/whoami", whoami)
	return keywright.NoRedirect(r), nil
}

func whoami(w http.ResponseWriter, r *http.Request) {
	p, _ := keywright.FromContext(r.Context())
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(p) // the client may be gone: nothing to do about it
}

// printCommand prints how to obtain the first admin key.
func printCommand(url, secret string) error {
	token, err := bootstrap.Client{Secret: secret}.Token(time.Now())
	if err != nil {
		return err
	}
	fmt.Printf("curl -X POST -H 'Authorization: Connect-Bootstrap %s' %s%s\n", token, url, bootstrap.Path)
	return nil
}
