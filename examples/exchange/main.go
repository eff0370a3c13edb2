// Command exchange serves a token endpoint for the jobs of one repository on
// GitHub Actions, and a /deploy that wants the key they get. It keeps
// everything in memory.
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
	"github.com/keywright/keywright/exchange"
	"github.com/keywright/keywright/store"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on")
	external := flag.String("url", "http://127.0.0.1:8080", "external URL of this server, and the audience of identity tokens")
	repository := flag.String("repository", "octo-org/app", "OWNER/NAME of the repository whose jobs may deploy")
	repositoryID := flag.String("repository-id", "456789", "its id: the .id of https://api.github.com/repos/OWNER/NAME")
	ownerID := flag.String("owner-id", "123456", "the id of its owner: the .owner.id there")
	flag.Parse()
	handler, err := newHandler(*external, exchange.Publisher{
		ID: "deploy", Provider: exchange.GitHub, Subject: "deployer", Scopes: []string{"deploy"},
		Claims: map[string]exchange.Values{
			"repository": {*repository}, "repository_id": {*repositoryID}, "repository_owner_id": {*ownerID},
			"ref": {"refs/heads/main"}, "workflow_file": {"release.yml"},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	srv := &http.Server{Addr: *addr, Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	log.Fatal(srv.ListenAndServe())
}

func newHandler(external string, publishers ...exchange.Publisher) (http.Handler, error) {
	base, err := url.Parse(external)
	if err != nil {
		return nil, err
	}
	host, err := keywright.NewHost(keywright.HostConfig{
		Store: &store.Memory{},
		URL:   base,
		Kinds: map[string]string{"ci": "kw_ci"},
	})
	if err != nil {
		return nil, err
	}
	ci, err := exchange.New(exchange.Config{
		Host:       host,
		Publishers: publishers,
		Network:    exchange.Network{InsecureLoopback: base.Scheme == "http"}, // for development
	})
	if err != nil {
		return nil, err
	}
	if err := ci.Sync(context.Background()); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	ci.Register(mux, "")
	job := keywright.Require(host.Keys.Of("ci"))
	mux.Handle("POST /deploy", job(keywright.RequireScope("deploy")(http.HandlerFunc(deploy))))
	return keywright.NoRedirect(mux), nil
}

func deploy(w http.ResponseWriter, r *http.Request) {
	p, _ := keywright.FromContext(r.Context())
	fmt.Fprintf(w, "deployed by run %s of %s\n", p.Attrs["run_id"], p.Attrs["repository"])
}
