package egress_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/egress"
	"github.com/keywright/keywright/internal/strictjson"
)

const document = "aauth-agent.json"

func TestMetadata(t *testing.T) {
	var asked, text string
	srv, c := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		asked += r.RequestURI
		fmt.Fprint(w, text)
	})
	text = fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q,"revocation_endpoint":"https://ps.example/revoke"}`, srv.URL, srv.URL+"/keys")
	m, err := c.Metadata(t.Context(), srv.URL, document)
	if err != nil || asked != "/.well-known/aauth-agent.json" || m.Issuer != srv.URL {
		t.Fatalf("got %+v from %s, %v", m, asked, err)
	}
	if uri, err := m.JWKSURI(nil); err != nil || uri != srv.URL+"/keys" {
		t.Errorf("jwks_uri: got %q, %v", uri, err)
	}
	if uri, err := m.Members.String("revocation_endpoint"); err != nil || uri != "https://ps.example/revoke" {
		t.Errorf("another member: got %q, %v", uri, err)
	}
	text = fmt.Sprintf(`{"issuer":%q}`, srv.URL)
	if m, err = c.Metadata(t.Context(), srv.URL, document); err != nil {
		t.Errorf("without keys: %v", err)
	}
	for _, m := range []egress.Metadata{m, {}} {
		if uri, err := m.JWKSURI(func(*url.URL) bool { return true }); uri != "" || !errors.Is(err, strictjson.ErrAbsent) {
			t.Errorf("without keys: got %q, %v, want ErrAbsent", uri, err)
		}
	}
}

func TestMetadataOfAnotherIssuer(t *testing.T) {
	var text string
	srv, c := newServer(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) })
	for _, tt := range []struct {
		issuer string // as JSON; "": absent
		want   error
	}{
		{"", egress.ErrIssuerMissing},
		{"null", egress.ErrIssuerMissing},
		{"7", egress.ErrIssuerMissing},
		{`["` + srv.URL + `"]`, egress.ErrIssuerMissing},
		{`""`, egress.ErrIssuerMismatch},
		{`"https://other.example"`, egress.ErrIssuerMismatch},
		{`"` + srv.URL + `/"`, egress.ErrIssuerMismatch},
		{`"` + strings.Replace(srv.URL, "https", "HTTPS", 1) + `"`, egress.ErrIssuerMismatch},
	} {
		text = fmt.Sprintf(`{"issuer":%s,"jwks_uri":%q}`, tt.issuer, srv.URL)
		if tt.issuer == "" {
			text = fmt.Sprintf(`{"Issuer":%q,"jwks_uri":%q}`, srv.URL, srv.URL)
		}
		_, err := c.Metadata(t.Context(), srv.URL, document)
		if !errors.Is(err, tt.want) || errors.Is(err, egress.ErrIssuerMissing) && errors.Is(err, egress.ErrIssuerMismatch) {
			t.Errorf("issuer %s: got %v, want %v", tt.issuer, err, tt.want)
		}
	}
	for name, bad := range map[string]string{
		"issuer twice":         fmt.Sprintf(`{"issuer":"https://other.example","issuer":%q}`, srv.URL),
		"HTML":                 "<html>",
		"jwks_uri a number":    fmt.Sprintf(`{"issuer":%q,"jwks_uri":5}`, srv.URL),
		"jwks_uri over http":   fmt.Sprintf(`{"issuer":%q,"jwks_uri":"http://a.example/"}`, srv.URL),
		"AGT-50 jwks_uri":      fmt.Sprintf(`{"issuer":%q,"jwks_uri":"https://169.254.169.254/"}`, srv.URL),
		"64 KiB and some more": fmt.Sprintf(`{"issuer":%q,"pad":%q}`, srv.URL, strings.Repeat("a", 64<<10)),
	} {
		text = bad
		if m, err := c.Metadata(t.Context(), srv.URL, document); err == nil || m.Issuer != "" {
			t.Errorf("%s: got %+v", name, m)
		}
	}
}

// A name that comes from a stranger leads nowhere but to well-known documents.
func TestNamesOfDocuments(t *testing.T) {
	requests := 0
	srv, c := newServer(t, func(http.ResponseWriter, *http.Request) { requests++ })
	for _, name := range []string{
		"", ".", "..", ".aauth.json", "a..json", "../a", "a/b", "/a", "a/", "a?b", "a%2Fb", "%2e%2e", "a#b", `a\b`, "a b", "a\n", "a;b", "a:b", "a@b", "\u00e4", "a\x00",
	} {
		if _, err := c.Metadata(t.Context(), srv.URL, name); !errors.Is(err, egress.ErrRefused) || requests != 0 {
			t.Errorf("%q: got %v, %d requests; want ErrRefused and none", name, err, requests)
		}
	}
	for _, issuer := range []string{"http://a.example", srv.URL + "?a", srv.URL + "/#", "https://10.0.0.1"} {
		if _, err := c.Metadata(t.Context(), issuer, document); !errors.Is(err, egress.ErrRefused) || requests != 0 {
			t.Errorf("issuer %s: got %v, %d requests; want ErrRefused and none", issuer, err, requests)
		}
	}
}

// Only OpenID Connect follows what moves within the issuer's host.
func TestMetadataIsNotRedirected(t *testing.T) {
	requests := 0
	srv, c := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		requests++
		if r.URL.Path != "/moved" {
			http.Redirect(w, r, "/moved", http.StatusFound)
			return
		}
		fmt.Fprintf(w, `{"issuer":"https://%s","jwks_uri":"https://%s/keys"}`, r.Host, r.Host)
	})
	if _, err := c.Metadata(t.Context(), srv.URL, document); !errors.Is(err, egress.ErrRefused) || requests != 1 {
		t.Errorf("got %v after %d requests, want ErrRefused after one", err, requests)
	}
	if uri, err := c.Discover(t.Context(), srv.URL); err != nil || uri != srv.URL+"/keys" || requests != 3 {
		t.Errorf("got %q, %v after %d requests", uri, err, requests)
	}
}

func TestKeysOnAnotherHost(t *testing.T) {
	const issuer = "https://issuer.example"
	for _, tt := range []struct {
		uri  string
		same bool
	}{
		{"https://issuer.example", true},
		{"https://issuer.example/keys?v=1", true},
		{"https://issuer.example:443/keys", true},
		{"HTTPS://Issuer.Example/keys", true},
		{"https://issuer.example:8443/keys", false},
		{"https://keys.issuer.example/keys", false},
		{"https://issuer.example.evil.example/", false},
		{"https://example/", false},
		{"https://8.8.8.8/", false},
	} {
		m, err := egress.ReadMetadata(fmt.Appendf(nil, `{"issuer":%q,"jwks_uri":%q}`, issuer, tt.uri), issuer)
		if err != nil {
			t.Fatal(err)
		}
		got, err := m.JWKSURI(nil)
		if tt.same && (err != nil || got != tt.uri) || !tt.same && (got != "" || !errors.Is(err, egress.ErrRefused)) {
			t.Errorf("%s: got %q, %v; want admitted: %v", tt.uri, got, err, tt.same)
		}
		var asked []string
		for _, yes := range []bool{false, true} {
			got, err := m.JWKSURI(func(u *url.URL) bool {
				asked = append(asked, u.String())
				return yes
			})
			if admitted := err == nil && got == tt.uri; admitted != (tt.same || yes) {
				t.Errorf("%s where the answer is %v: got %q, %v", tt.uri, yes, got, err)
			}
		}
		if tt.same != (len(asked) == 0) || !tt.same && asked[0] != tt.uri {
			t.Errorf("%s: asked about %q", tt.uri, asked)
		}
	}
	m, err := egress.ReadMetadata([]byte(`{"issuer":"https://127.0.0.1","jwks_uri":"https://127.0.0.1:80/"}`), "https://127.0.0.1")
	if err == nil {
		t.Errorf("a private address: got %+v", m)
	}
}
