// Package exchangetest is a CI system's token issuer for a host's own tests: it
// signs identity tokens shaped like those of GitHub Actions, GitLab, Buildkite,
// CircleCI, Google and HCP Terraform, serves its discovery document and keys
// on 127.0.0.1, and breaks in the ways that issuers break.
//
//	func TestRelease(t *testing.T) {
//		issuer := exchangetest.NewIssuer(t)
//		issuer.Audience = "https://registry.example"
//		// ... serve an exchange that trusts issuer.URL()
//		token := issuer.GitHub(map[string]any{"ref": "refs/tags/v1.2.3"})
//		// ... exchange token
//	}
//
// Nothing here is for use outside tests.
package exchangetest

import (
	"crypto/rand"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/jose"
)

// Below the issuer's URL; the first is OpenID Connect Discovery 1.0, section 4.
const (
	discoveryPath = "/.well-known/openid-configuration"
	keysPath      = "/.well-known/jwks"
)

// An Issuer signs tokens and serves the keys to verify them with, until its
// test ends. Set the fields before the first use; the methods are safe for
// concurrent use.
type Issuer struct {
	// Audience is the aud of its tokens, unless a call says otherwise. Empty:
	// what the CI system takes by default, and none in Token.
	Audience string

	// Algorithm of new tokens: "RS256", "ES256" or "EdDSA". Empty: RS256, as
	// all the CI systems have it.
	Algorithm string

	// Now is the clock that iat, nbf and exp follow. Nil: time.Now.
	Now func() time.Time

	t      testing.TB
	path   string
	server *httptest.Server

	mu        sync.Mutex
	keys      map[string]signingKey // by algorithm; guarded by mu, as is all below
	faults    [2]Fault              // of the discovery document and of the keys
	discovery int
	jwks      int
}

// NewIssuer starts an issuer whose URL has no path, and closes it when t ends.
func NewIssuer(t testing.TB) *Issuer {
	t.Helper()
	return NewIssuerAt(t, "")
}

// NewIssuerAt starts an issuer whose URL has a path, as that of a GitHub
// Enterprise Server ("/_services/token") and of CircleCI ("/org/UUID") have.
// The path begins with a slash and does not end with one.
func NewIssuerAt(t testing.TB, path string) *Issuer {
	t.Helper()
	if path != "" && (path[0] != '/' || strings.HasSuffix(path, "/")) {
		t.Fatalf("exchangetest: path %q: want /one or /more/parts", path)
	}
	i := &Issuer{t: t, path: path, keys: make(map[string]signingKey)}
	i.server = httptest.NewUnstartedServer(http.HandlerFunc(i.serve))
	// Go repeats a GET of its own when a connection that it used before breaks,
	// which would make Fetches a matter of luck.
	i.server.Config.SetKeepAlivesEnabled(false)
	i.server.Start()
	t.Cleanup(func() {
		i.server.CloseClientConnections() // ends the requests that a fault holds, for which Close would wait
		i.server.Close()
		if key := i.withdraw(); key != nil {
			pool.give(key)
		}
	})
	return i
}

// URL returns the issuer's URL, the iss of its tokens: http://127.0.0.1:port
// and the path.
func (i *Issuer) URL() string { return i.server.URL + i.path }

// Token signs claims, with iss, iat, nbf, exp (five minutes) and a random jti
// where claims do not say otherwise; aud only where Audience is set. A nil
// value leaves the claim out: for a null, give json.RawMessage("null"). Claims
// that do not encode as JSON end the test, as does a token of more than 8 KiB.
func (i *Issuer) Token(claims map[string]any) string {
	i.t.Helper()
	return i.token(shape{lifetime: 5 * time.Minute, nbf: true, jti: true}, nil, claims)
}

// A shape is what the claims of a CI system's tokens have to do with time.
type shape struct {
	lifetime time.Duration
	nbf, jti bool          // whether it has them
	early    time.Duration // how far nbf is before iat
}

// token signs claims as changed, with those that belong to this issuer and moment.
func (i *Issuer) token(s shape, claims, change map[string]any) string {
	i.t.Helper()
	now := time.Now
	if i.Now != nil {
		now = i.Now
	}
	at := now()
	all := map[string]any{}
	maps.Copy(all, claims)
	all["iss"], all["iat"], all["exp"] = i.URL(), at.Unix(), at.Add(s.lifetime).Unix()
	if s.nbf {
		all["nbf"] = at.Add(-s.early).Unix()
	}
	if s.jti {
		all["jti"] = rand.Text()
	}
	if i.Audience != "" {
		all["aud"] = i.Audience
	}
	maps.Copy(all, change)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	key := i.key(i.algorithm())
	text, err := jose.Sign(key.signer, jose.Header{KeyID: key.id}, all)
	if err != nil {
		i.t.Fatalf("exchangetest: %v", err)
	}
	return text
}
