package agentauth_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
)

func TestAuthorities(t *testing.T) {
	key := seedKey("agent")
	pinned := func(c *agentauth.VerifierConfig) {
		c.Profile.Authorities = []string{"ap.example", "Other.example:8443"}
	}
	rewritten := func(c *agentauth.VerifierConfig) { c.Profile.RewrittenHost = true }
	tests := []struct {
		name   string
		edit   func(*agentauth.VerifierConfig)
		signed string // for this one
		host   string // that arrives
		code   string
	}{
		{"the host's URL", nil, "ap.example", "ap.example", ""},
		{"in upper case", nil, "ap.example", "AP.example", ""},
		{"with the usual port", nil, "ap.example", "ap.example:443", ""},
		{"with two ports", nil, "ap.example", "ap.example:80:443", "invalid_signature"},
		{"a name that begins so", nil, "ap.example", "ap.example.evil.example", "invalid_signature"},
		{"another host, such as that of another site here", nil, "ap.example", "10.0.0.1:8080", "invalid_signature"},
		{"behind a proxy that writes another", rewritten, "ap.example", "10.0.0.1:8080", ""},
		{"behind such a proxy, for another server", rewritten, "other.example", "10.0.0.1:8080", "invalid_signature"},
		{"signed for none, sent to another", nil, ":443", "elsewhere.example", "invalid_signature"},
		{"signed for another server", nil, "other.example", "ap.example", "invalid_signature"},
		{"signed for another server that is named", nil, "other.example", "other.example", "invalid_signature"},
		{"the second of two", pinned, "other.example:8443", "other.example:8443", ""},
		{"for the first of two, sent to another", pinned, "ap.example", "localhost", "invalid_signature"},
		{"signed for the first, sent to the second", pinned, "ap.example", "other.example:8443", "invalid_signature"},
		{"a port that is not the usual one", pinned, "other.example", "other.example", "invalid_signature"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGate(t, tt.edit)
			g.wants(tt.code, everything, draft{key: key, host: tt.signed, tamper: func(r *http.Request) { r.Host = tt.host }}.request(t))
		})
	}
}

func TestRequestsThatAreNotSigned(t *testing.T) {
	g := newGate(t, nil)
	unsigned := draft{key: seedKey("agent"), tamper: del("Signature", "Signature-Input", "Signature-Key")}
	bad := draft{key: seedKey("agent"), tamper: del("Signature")}
	optional := g.verifier.Optional(everything)(whoami)
	if rec := serve(optional, unsigned.request(t)); rec.Code != 200 || strings.Contains(rec.Body.String(), `"agent"`) {
		t.Errorf("unsigned where it is optional: %d %s", rec.Code, rec.Body)
	}
	if rec := serve(optional, bad.request(t)); rec.Code != 401 {
		t.Errorf("badly signed where it is optional: %d", rec.Code)
	}
	if rec := serve(optional, draft{key: seedKey("agent")}.request(t)); rec.Code != 200 || !strings.Contains(rec.Body.String(), `"agent"`) {
		t.Errorf("signed where it is optional: %d %s", rec.Code, rec.Body)
	}
	a, err := g.verifier.Authenticator(everything)
	must(t, err)
	if _, err := a.Authenticate(unsigned.request(t)); err != keywright.ErrNoCredential {
		t.Errorf("unsigned, beside others: %v", err)
	}
	for _, name := range []string{"Signature", "Signature-Input", "Signature-Key"} {
		r := unsigned.request(t)
		r.Header.Set(name, "sig=x")
		if _, err := a.Authenticate(r); keywright.AsError(err).Code != keywright.CodeInvalidSignature {
			t.Errorf("with %s alone: %v", name, err)
		}
	}
}

// TestStepsComeInTheirOrder has requests with two faults, which are answered for
// the earlier one.
func TestStepsComeInTheirOrder(t *testing.T) {
	key, other := seedKey("agent"), seedKey("other")
	const x509 = `x509;x5u="https://a.example/c.pem"`
	noAlg := strings.Replace(hwk(t, key), `alg="Ed25519";`, "", 1)
	badKey := `hwk;alg="Ed25519";kty="OKP";crv="Ed25519";x="AAAA"`
	badBoth := `hwk;alg="RS256";kty="OKP";crv="Ed25519";x="AAAA"`
	wrong := set("Signature", "sig="+someSignature)
	large := strings.Repeat("x", 100)
	tests := []struct {
		name string
		d    draft
		code string
	}{
		{"the fields before components", draft{key: key, components: base4[1:], tamper: del("Signature")}, "invalid_signature"},
		{"components before created", draft{key: key, components: base4[1:], params: created(time.Hour)}, "invalid_input"},
		{"created before the scheme", draft{key: key, params: created(time.Hour), member: x509}, "clock_skew"},
		{"the scheme before the key", draft{key: key, member: x509 + `;kid="x"`, tamper: wrong}, "unsupported_scheme"},
		{"alg before the key's material", draft{key: key, member: badBoth}, "unsupported_algorithm"},
		{"alg before the signature", draft{key: key, member: noAlg, tamper: wrong}, "unsupported_algorithm"},
		{"the key before the signature", draft{key: key, member: badKey, tamper: wrong}, "invalid_key"},
		{"the signature before the size of the body", draft{key: other, member: hwk(t, key), method: "POST", body: large}, "invalid_signature"},
		{"the size of the body before its digest", draft{key: key, method: "POST", body: large, header: http.Header{"Content-Digest": {digestOf("")}}}, "too_large"},
	}
	g := newGate(t, nil)
	p := everything
	p.MaxBody = 10
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { g.wants(tt.code, p, tt.d.request(t)) })
	}
}
