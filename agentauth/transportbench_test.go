package agentauth_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
)

// A recorder keeps what its key has signed last.
type recorder struct {
	crypto.Signer
	signed []byte
	opts   crypto.SignerOpts
}

func (r *recorder) Sign(random io.Reader, text []byte, opts crypto.SignerOpts) ([]byte, error) {
	r.signed, r.opts = append(r.signed[:0], text...), opts
	return r.Signer.Sign(random, text, opts)
}

// A roundTripper is a function that is one.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// nowhere answers without sending anything.
var nowhere = roundTripper(func(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
})

// A signingCase is one that costs are measured of.
type signingCase struct {
	name string
	key  crypto.Signer
	as   agentauth.SignOptions
	body string
}

func signingCases(tb testing.TB) []signingCase {
	o := newRemote(tb, agentauth.RoleAgentProvider)
	ed, ec := seedKey("agent"), newP256(tb)
	jwt := func(key crypto.Signer) agentauth.SignOptions {
		return agentauth.SignOptions{Token: o.token(key, nil, nil)}
	}
	return []signingCase{
		{"hwk", ed, agentauth.SignOptions{}, ""},
		{"jwt", ed, jwt(ed), ""},
		{"jwt with 1 KiB", ed, jwt(ed), strings.Repeat("a", 1<<10)},
		{"jwt by ES256", ec, jwt(ec), ""},
	}
}

// signs returns what sends one request of a case through a transport that signs, and
// no further.
func (c signingCase) signs(tb testing.TB, key crypto.Signer) func() {
	identity, err := agentauth.FixedIdentity(key, c.as)
	must(tb, err)
	transport, err := agentauth.NewTransport(agentauth.TransportConfig{Identity: identity, Origins: []string{"https://resource.example"}, Next: nowhere})
	must(tb, err)
	r, err := http.NewRequestWithContext(tb.Context(), "POST", "https://resource.example/data?a=b", strings.NewReader(c.body))
	must(tb, err)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "bench")
	return func() {
		if c.body != "" {
			r.Body, _ = r.GetBody()
		}
		if _, err := transport.RoundTrip(r); err != nil {
			tb.Fatal(err)
		}
	}
}

// raw returns what makes the signature of a case alone, of what the transport signs.
func (c signingCase) raw(tb testing.TB) func() {
	key := &recorder{Signer: c.key}
	c.signs(tb, key)()
	return func() {
		if _, ok := c.key.(ed25519.PrivateKey); !ok {
			sha256.Sum256(key.signed) // which stands for the text, that is longer
		}
		if _, err := c.key.Sign(rand.Reader, key.signed, key.opts); err != nil {
			tb.Fatal(err)
		}
	}
}

// BenchmarkSign takes turns between the raw signature and a whole RoundTrip that
// sends nothing, so that a busy machine slows down both: "x-raw" is the ratio, of
// which the target is 1.3, and "raw-ns" the time of the signature alone.
func BenchmarkSign(b *testing.B) {
	for _, c := range signingCases(b) {
		b.Run(c.name, func(b *testing.B) {
			sign, raw := c.signs(b, c.key), c.raw(b)
			var alone, ours time.Duration
			for b.Loop() {
				began := time.Now()
				raw()
				between := time.Now()
				sign()
				alone, ours = alone+between.Sub(began), ours+time.Since(between)
			}
			b.ReportMetric(float64(ours)/float64(alone), "x-raw")
			b.ReportMetric(float64(alone.Nanoseconds())/float64(b.N), "raw-ns")
			b.ReportMetric(float64(ours.Nanoseconds())/float64(b.N), "ns/op")
			b.ReportMetric(testing.AllocsPerRun(100, sign), "allocs/sign")
			b.ReportMetric(testing.AllocsPerRun(100, raw), "allocs/raw")
		})
	}
}
