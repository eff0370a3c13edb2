package egress_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/egress"
	"github.com/keywright/keywright/internal/jose"
)

func TestDiscover(t *testing.T) {
	var asked, document string
	srv, c := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		asked = r.RequestURI
		fmt.Fprint(w, document)
	})
	metadata := func(issuer, uri string) string {
		return fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q,"other":[1]}`, issuer, uri)
	}
	const keys = "https://keys.example/jwks?v=1" // any host, as Google's
	const path = "/.well-known/openid-configuration"
	for _, tt := range []struct{ name, issuer, asked string }{
		{"host only", srv.URL, path},
		{"slash at the end", srv.URL + "/", path},
		{"path", srv.URL + "/realms/a", "/realms/a" + path},
		{"path and slash", srv.URL + "/realms/a/", "/realms/a" + path},
	} {
		document = metadata(tt.issuer, keys)
		got, err := c.Discover(t.Context(), tt.issuer)
		if err != nil || got != keys || asked != tt.asked {
			t.Errorf("%s: got %q from %s, %v", tt.name, got, asked, err)
		}
	}
	for name, text := range map[string]string{
		"another issuer":     metadata("https://other.example", keys),
		"slash too many":     metadata(srv.URL+"/", keys),
		"other case":         metadata(strings.Replace(srv.URL, "https", "HTTPS", 1), keys),
		"no issuer":          fmt.Sprintf(`{"jwks_uri":%q}`, keys),
		"no jwks_uri":        fmt.Sprintf(`{"issuer":%q}`, srv.URL),
		"jwks_uri a number":  fmt.Sprintf(`{"issuer":%q,"jwks_uri":5}`, srv.URL),
		"issuer twice":       fmt.Sprintf(`{"issuer":"https://other.example","issuer":%q,"jwks_uri":%q}`, srv.URL, keys),
		"other spelling":     fmt.Sprintf(`{"Issuer":%q,"jwks_uri":%q}`, srv.URL, keys),
		"AGT-50 metadata":    metadata(srv.URL, "https://169.254.169.254/"),
		"http":               metadata(srv.URL, "http://keys.example/jwks"),
		"empty jwks_uri":     metadata(srv.URL, ""),
		"HTML":               "<html>",
		"null":               "null",
		"longer than 64 KiB": strings.TrimSuffix(metadata(srv.URL, keys), "}") + `,"pad":"` + strings.Repeat("a", 64<<10) + `"}`,
	} {
		document = text
		if got, err := c.Discover(t.Context(), srv.URL); err == nil || got != "" {
			t.Errorf("%s: got %q", name, got)
		}
	}
	document = metadata(srv.URL, "https://10.0.0.1/")
	if _, err := c.Discover(t.Context(), srv.URL); !errors.Is(err, egress.ErrRefused) {
		t.Errorf("private jwks_uri: got %v, want ErrRefused", err)
	}
	asked = ""
	for _, issuer := range []string{srv.URL + "?a=b", srv.URL + "/?", "http://" + srv.Listener.Addr().String(), "https://10.0.0.1"} {
		if _, err := c.Discover(t.Context(), issuer); !errors.Is(err, egress.ErrRefused) || asked != "" {
			t.Errorf("issuer %s: got %v, want ErrRefused; asked %q", issuer, err, asked)
		}
	}
}

func TestJWKS(t *testing.T) {
	size := jose.MaxSet
	srv, c := newServer(t, func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, size)) })
	if doc, err := c.JWKS(t.Context(), srv.URL); err != nil || len(doc.Text) != size {
		t.Errorf("got %d bytes, %v", len(doc.Text), err)
	}
	size++
	if _, err := c.JWKS(t.Context(), srv.URL); err == nil {
		t.Error("a set that is too long is accepted")
	}
}

// FuzzMetadata reads what an issuer, or who answers for it, may serve.
func FuzzMetadata(f *testing.F) {
	f.Add([]byte(`{"issuer":"https://a.example","jwks_uri":"https://a.example/keys"}`))
	f.Add([]byte(`{"issuer":"https://a.example/","jwks_uri":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		read, err := egress.ReadMetadata(text, "https://a.example")
		if err != nil {
			return
		}
		var m map[string]any
		if json.Unmarshal(text, &m) != nil || m["issuer"] != "https://a.example" || read.Issuer != "https://a.example" {
			t.Errorf("%s: got issuer %q", text, read.Issuer)
		}
		uri, err := read.JWKSURI(nil)
		switch {
		case err == nil && (uri != m["jwks_uri"] || !strings.HasPrefix(strings.ToLower(uri), "https://a.example")):
			t.Errorf("%s: got %q", text, uri)
		case err != nil && !errors.Is(err, egress.ErrRefused) && m["jwks_uri"] != nil:
			t.Errorf("%s: got %v", text, err)
		}
	})
}
