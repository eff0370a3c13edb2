package mounttest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/exchange"
	"github.com/keywright/keywright/exchange/exchangetest"
	"github.com/keywright/keywright/store"
)

// forEachExchange runs check against a server with an exchange and its admin
// API for every router and prefix.
func forEachExchange(t *testing.T, check func(t *testing.T, issuer *exchangetest.Issuer, host keywright.Host, base string)) {
	for _, r := range routers {
		for _, prefix := range []string{"", "/connect"} {
			t.Run(r.name+prefix, func(t *testing.T) {
				srv := httptest.NewUnstartedServer(nil)
				base := "http://" + srv.Listener.Addr().String() + prefix
				issuer := exchangetest.NewIssuer(t)
				issuer.Audience = base
				host, ci := newExchange(t, base, issuer.URL())
				a := &app{routes: ci.Routes(), keys: host.Keys.Of("ci")}
				if route, ok := ci.WellKnown(); ok {
					a.root = []keywright.Route{route}
				}
				srv.Config.Handler = keywright.NoRedirect(r.new(prefix, a))
				srv.Start()
				defer srv.Close()
				check(t, issuer, host, base)
			})
		}
	}
}

func newExchange(t *testing.T, base, issuer string) (keywright.Host, *exchange.Handler) {
	t.Helper()
	external, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	host, err := keywright.NewHost(keywright.HostConfig{Store: &store.Memory{}, URL: external, Kinds: map[string]string{"ci": "kw_ci", "admin": "kw_admin"}})
	if err != nil {
		t.Fatal(err)
	}
	ci, err := exchange.New(exchange.Config{
		Host: host, Admin: host.Keys.Of("admin"), Network: exchange.Network{InsecureLoopback: true},
		Publishers: []exchange.Publisher{{
			ID: "deploy", Provider: exchange.GitHub, Issuer: issuer, Subject: "deployer", Scopes: []string{"deploy"},
			Claims: map[string]exchange.Values{"repository_owner_id": {"65"}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return host, ci
}

func TestExchangeOnEveryRouter(t *testing.T) {
	forEachExchange(t, func(t *testing.T, issuer *exchangetest.Issuer, _ keywright.Host, base string) {
		token := issuer.GitHub(nil)
		c := exchange.Client{URL: base, CheckPath: "/whoami", Token: exchange.TokenFromReader(strings.NewReader(token))}
		key, err := c.Exchange(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if res, body := send(t, "GET", base+"/whoami", "Key "+key.Text); res.StatusCode != 200 || !strings.Contains(body, "deployer") {
			t.Errorf("whoami: got %d %s", res.StatusCode, body)
		}
		if err := c.Revoke(t.Context(), key.Text); err != nil {
			t.Error(err)
		}
		if res, _ := send(t, "GET", base+"/whoami", "Key "+key.Text); res.StatusCode != 401 {
			t.Errorf("whoami with a revoked key: got %d", res.StatusCode)
		}
	})
}

// Metadata stands where rsconnect-python looks for it, and where RFC 8414 does.
func TestMetadataOnEveryRouter(t *testing.T) {
	forEachExchange(t, func(t *testing.T, _ *exchangetest.Issuer, _ keywright.Host, base string) {
		u, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []string{base + exchange.MetadataPath, "http://" + u.Host + exchange.MetadataPath + u.Path} {
			res, body := send(t, "GET", at, "")
			var m map[string]any
			if err := json.Unmarshal([]byte(body), &m); err != nil || res.StatusCode != 200 || m["issuer"] != base {
				t.Errorf("%s: got %d %s", at, res.StatusCode, body)
			}
			if res, _ := send(t, "POST", at, ""); res.StatusCode != 405 {
				t.Errorf("POST %s: got %d, want 405", at, res.StatusCode)
			}
		}
	})
}

// The admin API has an id in its paths, which each router spells differently.
func TestAdminAPIOnEveryRouter(t *testing.T) {
	forEachExchange(t, func(t *testing.T, _ *exchangetest.Issuer, host keywright.Host, base string) {
		m, err := host.Keys.Issue(t.Context(), keywright.Principal{}, keywright.KeySpec{Kind: "admin", Method: keywright.MethodHost, Subject: "root"})
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			method, path string
			status       int
			contains     string
		}{
			{"GET", "/publishers", 200, `"id":"deploy"`},
			{"GET", "/publishers/deploy", 200, `"static":true`},
			{"GET", "/publishers/other", 404, "not_found"},
			{"POST", "/publishers/deploy/disable", 200, `"disabled":true`},
			{"POST", "/publishers/deploy/enable", 200, `"static":true`},
			{"DELETE", "/publishers/deploy", 409, "configuration"},
			{"PATCH", "/publishers/deploy", 405, "method_not_allowed"},
			{"GET", "/publishers/deploy/disable", 405, "method_not_allowed"},
		} {
			res, body := send(t, step.method, base+exchange.AdminPath+step.path, "Bearer "+m.Text)
			if res.StatusCode != step.status || !strings.Contains(body, step.contains) || res.Header.Get("Location") != "" {
				t.Errorf("%s %s: got %d %s, want %d with %s", step.method, step.path, res.StatusCode, body, step.status, step.contains)
			}
		}
		if res, _ := send(t, http.MethodGet, base+exchange.AdminPath+"/publishers", ""); res.StatusCode != 401 {
			t.Errorf("without a key: got %d", res.StatusCode)
		}
	})
}
