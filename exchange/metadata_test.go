package exchange_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/exchange"
	"github.com/keywright/keywright/exchange/exchangetest"
	"github.com/keywright/keywright/store"
)

// RFC 8414, section 2, and what we add. The base is the configured URL.
func wantMetadata(base, aud string) map[string]any {
	return map[string]any{
		"issuer": base, "token_endpoint": base + "/oauth/v1/token", "revocation_endpoint": base + "/oauth/v1/revoke",
		"grant_types_supported":                      []any{"urn:ietf:params:oauth:grant-type:token-exchange"},
		"response_types_supported":                   []any{"none"},
		"token_endpoint_auth_methods_supported":      []any{"none"},
		"revocation_endpoint_auth_methods_supported": []any{"none"},
		"identity_token_audience":                    aud,
	}
}

func TestMetadata(t *testing.T) {
	for _, prefix := range []string{"", "/connect", "/a/b"} {
		c := new(clock)
		w := worldOn(t, &store.Memory{Now: c.Now}, c, exchangetest.NewIssuer(t), prefix, []exchange.Publisher{github()})
		w.db.reads.Store(&errAway) // it needs no store
		w.db.fault.Store(&errAway)
		root := strings.TrimSuffix(w.url, prefix)
		for _, location := range []string{w.url + exchange.MetadataPath, root + exchange.MetadataPath + prefix} {
			for name, header := range map[string]http.Header{
				"plain": {},
				"spoofed": {
					"X-Forwarded-Host": {"evil.example"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Prefix": {"/evil"}, "X-Forwarded-Port": {"1"},
					"Forwarded": {"host=evil.example;proto=https"}, "X-Original-Url": {"https://evil.example/"}, "X-Host": {"evil.example"}, "Origin": {"https://evil.example"},
				},
			} {
				a := w.getAs(location, http.MethodGet, "evil.example", header)
				if diff := cmp.Diff(wantMetadata(w.url, audience), a.fields); a.status != 200 || diff != "" {
					t.Errorf("%s, %s: got %d (-want +got):\n%s", location, name, a.status, diff)
				}
				w.checkMetadataHeader(location, a)
			}
			a := w.getAs(location, http.MethodHead, "", nil)
			if a.status != 200 || a.body != "" {
				t.Errorf("HEAD %s: got %d %q", location, a.status, a.body)
			}
			w.checkMetadataHeader(location, a)
			for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "PATCH"} {
				a := w.getAs(location, method, "", nil)
				if a.status != 405 || a.header.Get("Allow") != "GET, HEAD" || a.text("error") != "invalid_request" || a.header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s %s: got %d %s", method, location, a.status, a.body)
				}
			}
		}
		if prefix != "" { // neither form is answered for a path that is not ours
			for _, location := range []string{root + exchange.MetadataPath, root + exchange.MetadataPath + prefix + "/x", root + exchange.MetadataPath + "/other"} {
				if a := w.getAs(location, http.MethodGet, "", nil); a.status != 404 {
					t.Errorf("%s: got %d", location, a.status)
				}
			}
		}
		if len(w.heard) != 0 {
			t.Errorf("heard %+v", w.heard)
		}
	}
}

func (w *world) checkMetadataHeader(name string, a answer) {
	w.t.Helper()
	got := []string{a.header.Get("Content-Type"), a.header.Get("Cache-Control"), a.header.Get("X-Content-Type-Options"), a.header.Get("Access-Control-Allow-Origin"), a.header.Get("Set-Cookie")}
	if diff := cmp.Diff([]string{"application/json", "public, max-age=300", "nosniff", "", ""}, got); diff != "" {
		w.t.Errorf("%s: header (-want +got):\n%s", name, diff)
	}
}

// getAs asks with any Host.
func (w *world) getAs(location, method, host string, header http.Header) answer {
	w.t.Helper()
	req, err := http.NewRequest(method, location, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header, req.Host = header.Clone(), host
	if req.Header == nil {
		req.Header = http.Header{}
	}
	res, err := plainClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	var text strings.Builder
	if err := res.Write(&text); err != nil {
		w.t.Fatal(err)
	}
	_, body, _ := strings.Cut(text.String(), "\r\n\r\n")
	return answerOf(res, []byte(body))
}

// The URL of the host, however its end is written, and the audience where none
// is configured.
func TestMetadataOfURLs(t *testing.T) {
	for _, tt := range []struct{ external, base, wellKnown string }{
		{"https://example.com", "https://example.com", ""},
		{"https://example.com/", "https://example.com", ""},
		{"https://example.com:8443/connect", "https://example.com:8443/connect", "/.well-known/oauth-authorization-server/connect"},
		{"https://example.com/connect/", "https://example.com/connect", "/.well-known/oauth-authorization-server/connect"},
	} {
		u, err := url.Parse(tt.external)
		if err != nil {
			t.Fatal(err)
		}
		host, err := keywright.NewHost(keywright.HostConfig{Store: new(store.Memory), URL: u, Kinds: map[string]string{"ci": "kw_ci"}})
		if err != nil {
			t.Fatal(err)
		}
		h, err := exchange.New(exchange.Config{Host: host})
		if err != nil {
			t.Fatal(err)
		}
		route, ok := h.WellKnown()
		if ok != (tt.wellKnown != "") || ok && route.Pattern != tt.wellKnown {
			t.Errorf("%s: WellKnown: %s, %v", tt.external, route.Pattern, ok)
		}
		for _, r := range append(h.Routes(), route) {
			if !strings.HasPrefix(r.Pattern, exchange.MetadataPath) {
				continue
			}
			rec := httptest.NewRecorder()
			r.Handler.ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
			a := answerOf(rec.Result(), rec.Body.Bytes())
			if diff := cmp.Diff(wantMetadata(tt.base, tt.base), a.fields); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.external, diff)
			}
		}
		for _, r := range h.Routes() {
			if strings.HasPrefix(r.Pattern, exchange.AdminPath) {
				t.Errorf("%s is there, though nobody may call it", r.Pattern)
			}
		}
	}
}

// What New refuses, besides what is wrong with publishers.
func TestConfig(t *testing.T) {
	u, err := url.Parse("https://example.com")
	if err != nil {
		t.Fatal(err)
	}
	host := func(u *url.URL) keywright.Host {
		h, err := keywright.NewHost(keywright.HostConfig{Store: new(store.Memory), URL: u, Kinds: map[string]string{"ci": "kw_ci", "bot": "kw_bot"}})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	set := exchangetest.NewIssuer(t).JWKS()
	issuers := func(i ...exchange.Issuer) exchange.Config { return exchange.Config{Issuers: i} }
	for _, tt := range []struct {
		name string
		c    exchange.Config
		want string // in the error; empty: none
	}{
		{"nothing but the host", exchange.Config{}, ""},
		{"another kind", exchange.Config{KeyKind: "bot"}, ""},
		{"a kind that the host has not", exchange.Config{KeyKind: "admin"}, "KeyKind"},
		{"an audience with a line break", exchange.Config{Audience: "a\nb"}, "Audience"},
		{"an audience of 512 bytes", exchange.Config{Audience: strings.Repeat("a", 512)}, ""},
		{"an audience of 513 bytes", exchange.Config{Audience: strings.Repeat("a", 513)}, "Audience"},
		{"a provider as the audience", exchange.Config{Audience: "https://gitlab.com"}, "Audience"},
		{"no limit", exchange.Config{Failures: exchange.FailureLimit{Burst: -1, PerMinute: -1}}, ""},
		{"a negative rate", exchange.Config{Failures: exchange.FailureLimit{PerMinute: -1}}, "PerMinute"},
		{"an issuer", issuers(exchange.Issuer{URL: "https://ci.example", JWKS: set, Algorithms: []string{"ES256"}}), ""},
		{"an issuer twice", issuers(exchange.Issuer{URL: "https://ci.example"}, exchange.Issuer{URL: "https://ci.example"}), "twice"},
		{"an issuer without a URL", issuers(exchange.Issuer{}), "Issuers"},
		{"an issuer over http", issuers(exchange.Issuer{URL: "http://ci.example"}), "Issuers"},
		{"an issuer with a bad algorithm", issuers(exchange.Issuer{URL: "https://ci.example", Algorithms: []string{"HS256"}}), "HS256"},
		{"an issuer with a bad set", issuers(exchange.Issuer{URL: "https://ci.example", JWKS: []byte("{}")}), "Issuers"},
		{"an issuer with an empty set", issuers(exchange.Issuer{URL: "https://ci.example", JWKS: []byte{}}), "Issuers"},
		{"an issuer with keys over http", issuers(exchange.Issuer{URL: "https://ci.example", JWKSURL: "http://ci.example/keys"}), "Issuers"},
		{"an issuer with a negative lifetime", issuers(exchange.Issuer{URL: "https://ci.example", MaxLifetime: -1}), "MaxLifetime"},
		{"a publisher twice", exchange.Config{Publishers: []exchange.Publisher{github(), github()}}, "Publishers"},
	} {
		tt.c.Host = host(u)
		_, err := exchange.New(tt.c)
		if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := exchange.New(exchange.Config{}); err == nil {
		t.Error("no host: want an error")
	}
	if _, err := exchange.New(exchange.Config{Host: host(nil)}); err == nil {
		t.Error("a host without a URL: want an error")
	}
}
