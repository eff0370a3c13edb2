package agentauth_test

import (
	"crypto/ed25519"
	"errors"
	"net/http"
	"testing"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
)

// BenchmarkRawEd25519 is the least that a verification can cost, to hold the
// others against.
func BenchmarkRawEd25519(b *testing.B) {
	key := seedKey("agent")
	text := make([]byte, 300)
	signature := ed25519.Sign(key, text)
	public := key.Public().(ed25519.PublicKey)
	for b.Loop() {
		if !ed25519.Verify(public, text, signature) {
			b.Fatal("a good signature was refused")
		}
	}
}

func authenticates(b *testing.B, g *gate, p agentauth.Policy, r *http.Request, want error) {
	b.Helper()
	a, err := g.verifier.Authenticator(p)
	must(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authenticate(r); !errors.Is(err, want) {
			b.Fatal(err)
		}
	}
}

func BenchmarkAuthenticateHWK(b *testing.B) {
	authenticates(b, newGate(b, nil), everything, draft{key: seedKey("agent")}.request(b), nil)
}

func BenchmarkAuthenticateUnsigned(b *testing.B) {
	r := draft{key: seedKey("agent")}.request(b)
	r.Header = http.Header{"Accept": {"*/*"}, "User-Agent": {"bench"}}
	authenticates(b, newGate(b, nil), everything, r, keywright.ErrNoCredential)
}

func BenchmarkAuthenticateJWT(b *testing.B) {
	o, key := newRemote(b, agentauth.RoleAgentProvider), seedKey("agent")
	authenticates(b, newGate(b, o.trusted), everything, draft{key: key, member: shows(o.token(key, nil, nil))}.request(b), nil)
}

func BenchmarkAuthenticateJWTOfOurOwn(b *testing.B) {
	w := newWorld(b, worldConfig{})
	key := seedKey("agent")
	r := w.sign(w.request("GET", "/data", ""), key, agentauth.SignOptions{Token: w.enroll(key, "{}")})
	authenticates(b, &gate{tb: b, verifier: w.verifier}, everything, r, nil)
}
