package agentauth_test

import (
	"crypto/ed25519"
	"errors"
	"net/http"
	"testing"
	"time"

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

// BenchmarkAuthenticateJWTCold is with tokens that were not seen before: two
// signatures, and all of the token to read.
func BenchmarkAuthenticateJWTCold(b *testing.B) {
	o, key := newRemote(b, agentauth.RoleAgentProvider), seedKey("agent")
	g := newGate(b, o.trusted)
	g.verifier.RememberAtMost(0)
	authenticates(b, g, everything, draft{key: key, member: shows(o.token(key, nil, nil))}.request(b), nil)
}

func BenchmarkAuthenticateJWTOfOurOwn(b *testing.B) {
	w := newWorld(b, worldConfig{})
	key := seedKey("agent")
	r := w.sign(w.request("GET", "/data", ""), key, agentauth.SignOptions{Token: w.enroll(key, "{}")})
	authenticates(b, &gate{tb: b, verifier: w.verifier}, everything, r, nil)
}

// BenchmarkTimesRaw takes turns between the raw verification and a whole
// Authenticate, so that a busy machine slows down both: "x-raw" is the ratio. The
// targets are 1.25 for hwk and 1.3 for jwt in steady state.
func BenchmarkTimesRaw(b *testing.B) {
	key := seedKey("agent")
	public, message := key.Public().(ed25519.PublicKey), make([]byte, 300)
	signature := ed25519.Sign(key, message)
	o := newRemote(b, agentauth.RoleAgentProvider)
	for name, d := range map[string]draft{"hwk": {key: key}, "jwt": {key: key, member: shows(o.token(key, nil, nil))}} {
		b.Run(name, func(b *testing.B) {
			a, err := newGate(b, o.trusted).verifier.Authenticator(everything)
			must(b, err)
			r := d.request(b)
			var raw, ours time.Duration
			for b.Loop() {
				began := time.Now()
				if !ed25519.Verify(public, message, signature) {
					b.Fatal("not verified")
				}
				between := time.Now()
				if _, err := a.Authenticate(r); err != nil {
					b.Fatal(err)
				}
				raw, ours = raw+between.Sub(began), ours+time.Since(between)
			}
			b.ReportMetric(float64(ours)/float64(raw), "x-raw")
		})
	}
}
