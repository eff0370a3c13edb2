package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keywright/keywright/exchange"
	"github.com/keywright/keywright/exchange/exchangetest"
)

// A job of the repository gets a key for a deployment, one of another does not.
func TestDeploy(t *testing.T) {
	issuer := exchangetest.NewIssuer(t)
	srv := httptest.NewUnstartedServer(nil)
	base := "http://" + srv.Listener.Addr().String()
	issuer.Audience = base
	h, err := newHandler(base, exchange.Publisher{
		ID: "deploy", Provider: exchange.GitHub, Issuer: issuer.URL(), Subject: "deployer", Scopes: []string{"deploy"},
		Claims: map[string]exchange.Values{"repository_id": {"74"}, "repository_owner_id": {"65"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv.Config.Handler = h
	srv.Start()
	defer srv.Close()
	for id, want := range map[string]int{"74": http.StatusOK, "75": http.StatusUnauthorized} {
		c := exchange.Client{URL: base, Token: exchange.TokenFromReader(strings.NewReader(issuer.GitHub(map[string]any{"repository_id": id})))}
		key, err := c.Exchange(t.Context())
		if (err == nil) != (want == http.StatusOK) {
			t.Errorf("repository %s: %v", id, err)
		}
		req, err := http.NewRequest(http.MethodPost, base+"/deploy", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+key.Text)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if res.Body.Close(); res.StatusCode != want {
			t.Errorf("repository %s: got %d, want %d", id, res.StatusCode, want)
		}
	}
}
