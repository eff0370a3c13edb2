package oidc_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/internal/egress"
	"github.com/keywright/keywright/internal/oidc"
)

func base64URL(s string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(s) }

func TestCheck(t *testing.T) {
	strict, err := egress.New(egress.Config{})
	if err != nil {
		t.Fatal(err)
	}
	set := newIssuer(t).JWKS()
	s, err := oidc.NewIssuers(strict, now, map[string]oidc.Settings{"http://10.0.0.1/ci": {JWKS: set}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	host := "https://" + strings.Repeat("a.", 60) + "example"
	for _, tt := range []struct {
		issuer string
		ok     bool
	}{
		{"https://ci.example", true},
		{"https://ci.example/", true},
		{"https://ci.example:8443/a/b", true},
		{"https://ci.example/a.b/.c~", true},
		{"https://8.8.8.8", true},
		{"http://10.0.0.1/ci", true}, // its keys are given
		{"http://10.0.0.1/other", false},
		{"", false},
		{"ci.example", false},
		{"//ci.example", false},
		{"https:ci.example", false},
		{"https://", false},
		{"https:///path", false},
		{"HTTPS://ci.example", false},
		{"http://ci.example", false},
		{"ftp://ci.example", false},
		{"file:///etc/passwd", false},
		{"https://CI.example", false},
		{"https://user@ci.example", false},
		{"https://user:password@ci.example", false},
		{"https://@ci.example", false},
		{"https://ci.example?x", false},
		{"https://ci.example?", false},
		{"https://ci.example#x", false},
		{"https://ci.example#", false},
		{"https://ci.example//a", false},
		{"https://ci.example/a//", false},
		{"https://ci.example/../a", false},
		{"https://ci.example/..", false},
		{"https://ci.example/a%2Fb", false},
		{"https://ci.example/%zz", false},
		{"https://ci.example/a b", false},
		{"https://ci.example/a\n", false},
		{"https://ci.example/\u00e9", false},
		{"https://\u0441i.example", false},
		{"https://127.0.0.1", false},
		{"https://169.254.169.254", false},
		{"https://[::1]", false},
		{host + "/" + strings.Repeat("a", 255-len(host)-1), true},
		{host + "/" + strings.Repeat("a", 256-len(host)-1), false},
	} {
		if err := s.Check(tt.issuer); (err == nil) != tt.ok {
			t.Errorf("%q: got %v, want ok %v", tt.issuer, err, tt.ok)
		}
	}
	if err := s.Check("https://" + strings.Repeat("a", 5000)); err == nil || len(err.Error()) > 400 {
		t.Errorf("the error of a long issuer has %d bytes", len(err.Error()))
	}
	for _, issuer := range []string{"https:ci", "https://", "ftp://x.example", "//x.example", "https://x@x.example", "https://x.example/../y", "https://x.example//y", "https://x.example/%41", "https://X.example", "HTTPS://x.example"} {
		if _, err := oidc.NewIssuers(strict, now, map[string]oidc.Settings{issuer: {JWKS: set}}, nil); err == nil {
			t.Errorf("%q with keys of its own: want an error", issuer)
		}
	}
	if err := s.Check("https://10.1.2.3"); !errors.Is(err, egress.ErrRefused) {
		t.Errorf("a private address: got %v, want ErrRefused", err)
	}
}

func TestSettings(t *testing.T) {
	const url = "https://ci.example"
	set := newIssuer(t).JWKS()
	for _, tt := range []struct {
		name string
		s    oidc.Settings
		want []string // algorithms; nil: an error
	}{
		{"none", oidc.Settings{}, []string{"RS256"}},
		{"keys", oidc.Settings{JWKS: set}, []string{"RS256"}},
		{"all algorithms", oidc.Settings{Algorithms: []string{"ES256", "RS256", "EdDSA"}}, []string{"ES256", "RS256", "EdDSA", "Ed25519"}},
		{"the other name of EdDSA", oidc.Settings{Algorithms: []string{"Ed25519"}}, []string{"EdDSA", "Ed25519"}},
		{"none, by name", oidc.Settings{Algorithms: []string{"none"}}, nil},
		{"HS256", oidc.Settings{Algorithms: []string{"RS256", "HS256"}}, nil},
		{"another case", oidc.Settings{Algorithms: []string{"rs256"}}, nil},
		{"PS256", oidc.Settings{Algorithms: []string{"PS256"}}, nil},
		{"an empty name", oidc.Settings{Algorithms: []string{""}}, nil},
		{"no set", oidc.Settings{JWKS: []byte("x")}, nil},
		{"an empty set", oidc.Settings{JWKS: []byte(`{"keys":[]}`)}, nil},
		{"a URL of keys", oidc.Settings{JWKSURL: "https://keys.example/jwks?v=1"}, []string{"RS256"}},
		{"a URL of keys over http", oidc.Settings{JWKSURL: "http://keys.example/jwks"}, nil},
		{"a URL of keys that is none", oidc.Settings{JWKSURL: "keys"}, nil},
		{"keys and a URL of keys, which is not used", oidc.Settings{JWKS: set, JWKSURL: "https://keys.example/jwks"}, []string{"RS256"}},
		{"a negative lifetime", oidc.Settings{MaxLifetime: -time.Second}, nil},
	} {
		s, err := oidc.NewIssuers(client(t), now, map[string]oidc.Settings{url: tt.s}, nil)
		if err != nil {
			if tt.want != nil || !strings.Contains(err.Error(), url) || len(err.Error()) > 400 {
				t.Errorf("%s: got %v", tt.name, err)
			}
			continue
		}
		got := trustIn(t, s, url)
		if diff := cmp.Diff(tt.want, got.Algorithms); diff != "" || got.Issuer != url || got.MaxLifetime != oidc.DefaultMaxLifetime || got.Keys == nil {
			t.Errorf("%s: got %+v (-want +got):\n%s", tt.name, got, diff)
		}
	}
	s := newIssuers(t, map[string]oidc.Settings{url: {MaxLifetime: time.Minute}})
	if got := trustIn(t, s, url).MaxLifetime; got != time.Minute {
		t.Errorf("MaxLifetime %v", got)
	}
	if got := trustIn(t, s, "https://other.example").MaxLifetime; got != oidc.DefaultMaxLifetime {
		t.Errorf("of another issuer: MaxLifetime %v", got)
	}
	if _, err := oidc.NewIssuers(client(t), now, map[string]oidc.Settings{"x": {}}, nil); err == nil {
		t.Error("an issuer that is none: want an error")
	}
}

// Each issuer keeps its keys until nobody wants them any more.
func TestTrustIsKept(t *testing.T) {
	i, j := newIssuer(t), newIssuer(t)
	s := newIssuers(t, nil)
	fetch := func() {
		t.Helper()
		for range 3 {
			if _, err := trustIn(t, s, i.URL()).Verify(t.Context(), read(t, i.Token(nil)), audience, t0, true); err != nil {
				t.Fatal(err)
			}
			if _, err := trustIn(t, s, j.URL()).Verify(t.Context(), read(t, j.Token(nil)), audience, t0, true); err != nil {
				t.Fatal(err)
			}
		}
	}
	fetch()
	s.Keep(func(issuer string) bool { return issuer == j.URL() })
	fetch()
	_, ofI := i.Fetches()
	_, ofJ := j.Fetches()
	if ofI != 2 || ofJ != 1 {
		t.Errorf("%d and %d fetches, want 2 and 1", ofI, ofJ)
	}
}

func TestTooManyIssuers(t *testing.T) {
	s := newIssuers(t, nil)
	name := func(n int) string { return fmt.Sprintf("https://ci%d.example", n) }
	for n := range oidc.MaxIssuers {
		trustIn(t, s, name(n))
	}
	trustIn(t, s, name(7)) // known
	if _, err := s.Trust("https://one.more.example"); err == nil {
		t.Error("one more: want an error")
	}
	s.Keep(func(issuer string) bool { return issuer != name(3) })
	trustIn(t, s, "https://one.more.example")
}

// Where the keys' address is configured, no discovery document is asked for.
func TestJWKSURL(t *testing.T) {
	i := newIssuer(t)
	var mu sync.Mutex
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.URL.String())
		w.Write([]byte(`{"keys":[{"kty":"oct","k":"AA"},` + string(i.JWKS()[len(`{"keys":[`):])))
	}))
	defer server.Close()
	var rejected []string
	s, err := oidc.NewIssuers(client(t), now, map[string]oidc.Settings{i.URL(): {JWKSURL: server.URL + "/k?v=1"}}, func(issuer string, err error) {
		rejected = append(rejected, issuer)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trustIn(t, s, i.URL()).Verify(t.Context(), read(t, i.Token(nil)), audience, t0, true); err != nil {
		t.Fatal(err)
	}
	discovery, jwks := i.Fetches()
	if !slices.Equal(asked, []string{"/k?v=1"}) || discovery+jwks != 0 || !slices.Equal(rejected, []string{i.URL()}) {
		t.Errorf("asked for %q, the issuer %d and %d times; rejected of %q", asked, discovery, jwks, rejected)
	}
}
