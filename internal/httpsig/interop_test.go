package httpsig_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/yaronf/httpsign"

	"github.com/keywright/keywright/internal/jose"
)

// TestOracleReadsOurs: so what the two agree on is not only what both refuse.
func TestOracleReadsOurs(t *testing.T) {
	verifier := oracle(t)
	for _, components := range [][]string{baseFour, {"@query", "@path"}, {"x-a", "content-type", "@method"}, {}} {
		r := arrive(t, must[*http.Request](t)(http.NewRequest("POST", "https://a.example:8443/a%2Fb?c=d", strings.NewReader("e"))))
		r.Header.Set("Content-Type", "text/plain")
		r.Header.Set("X-A", "b, c")
		signing := toSign{Authority: r.Host, Key: durableMember, Components: components, Created: created, Expires: created}
		if err := sign(r, signing, durable); err != nil {
			t.Fatal(err)
		}
		if err := httpsign.VerifyRequest("sig", verifier, r); err != nil {
			t.Errorf("%v: %v", components, err)
		}
		r.Header.Set("Signature", strings.Replace(r.Header.Get("Signature"), "sig=:", "sig=:AAAA", 1))
		if err := httpsign.VerifyRequest("sig", verifier, r); err == nil {
			t.Errorf("%v: the oracle takes anything", components)
		}
	}
}

func TestOursReadsOracle(t *testing.T) {
	fields := httpsign.Headers("@method", "@authority", "@path", "@query", "signature-key", "x-a")
	config := httpsign.NewSignConfig().SignAlg(true).SetExpiresAfter(60).SetTag("t")
	signer := must[*httpsign.Signer](t)(httpsign.NewEd25519Signer(durable, config, fields))
	r := must[*http.Request](t)(http.NewRequest("DELETE", "https://a.example/a%2Fb?c=d", nil))
	r.Header.Set("X-A", "b")
	r.Header.Set("Signature-Key", "sig="+durableMember)
	input, signature, err := httpsign.SignRequest("sig", *signer, r)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Signature-Input", input)
	r.Header.Set("Signature", signature)
	arrived := arrive(t, r)
	m := message{method: arrived.Method, host: arrived.Host, target: arrived.RequestURI, header: arrived.Header}
	if err := m.verify(jose.Key{}, append(baseFour, "@query", "x-a")...); err != nil {
		t.Error(err)
	}
}
