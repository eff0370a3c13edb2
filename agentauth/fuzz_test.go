package agentauth_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keywright/keywright/agentauth"
)

// A sample is a signed request, taken apart.
type sample struct {
	method, target, host, body   string
	key, input, signature        string
	contentType, digest, further string
}

func sampleOf(r *http.Request, body string) sample {
	h := r.Header.Get
	return sample{r.Method, r.RequestURI, r.Host, body, h("Signature-Key"), h("Signature-Input"), h("Signature"), h("Content-Type"), h("Content-Digest"), ""}
}

func (s sample) request() *http.Request {
	r := httptest.NewRequest("GET", "https://ap.example/", strings.NewReader(s.body))
	r.Method, r.RequestURI, r.Host = s.method, s.target, s.host
	r.Header = http.Header{
		"Signature-Key": {s.key}, "Signature-Input": {s.input}, "Signature": {s.signature}, "Content-Type": {s.contentType}, "Content-Digest": {s.digest},
	}
	if s.further != "" {
		r.Header.Add("Signature-Input", s.further)
	}
	return r
}

// fits reports whether s is a request that was signed, or one that differs from
// it in what is not signed.
func (s sample) fits(signed sample) bool {
	path := func(target string) string {
		target, _, _ = strings.Cut(strings.TrimPrefix(target, "https://ap.example"), "?")
		return target
	}
	same := s.method == signed.method && path(s.target) == path(signed.target) && strings.Trim(s.key, " \t") == signed.key
	if strings.Contains(signed.input, "content-digest") {
		same = same && s.body == signed.body && strings.Trim(s.contentType, " \t") == signed.contentType
	}
	return same
}

// FuzzVerifier sends requests that differ from good ones in anything. None makes
// it panic, and none gets in but what was signed.
func FuzzVerifier(f *testing.F) {
	key, file := seedKey("agent"), readAttacks(f)
	keys := mustJSON(f, map[string]any{"keys": []any{claims(jwk(f, seedKey("issuer"))).with(claims{"kid": remoteKid})}})
	token := compact(f, seedKey("issuer"), agentHeader, claims{
		"iss": "https://issuer.example", "dwk": "aauth-agent.json", "sub": "aauth:app@issuer.example", "jti": "t-1", "iat": t0.Unix(), "exp": t0.Unix() + 3600,
		"cnf": claims{"jwk": jwk(f, key)},
	})
	p := everything
	p.Replay = agentauth.ReplayNone
	var verifiers []http.Handler
	for _, compat := range []agentauth.Compat{{}, {
		HWKWithoutAlg: true, CnfWithoutAlg: true, AcceptEdDSA: true, LegacyNamingJWT: true, LegacyHWKJWKParam: true, LegacyJWKSURI: true, AnyAgentDomain: true,
	}} {
		g := newGate(f, func(c *agentauth.VerifierConfig) {
			c.Profile.Compat = compat
			c.Trust = func(id string, _ agentauth.Role) bool {
				return id == "https://ap.example" || id == "https://issuer.example"
			}
		})
		must(f, g.verifier.Publish("https://ap.example", agentauth.RoleAgentProvider, file.Resources["https://ap.example/jwks.json"]))
		must(f, g.verifier.Publish("https://issuer.example", agentauth.RoleAgentProvider, keys))
		verifiers = append(verifiers, g.verifier.Require(p)(whoami))
	}
	var signed []sample
	for _, s := range []struct {
		d    draft
		body string
	}{
		{draft{key: key}, ""},
		{draft{key: rfcP256(f), target: "/a%2Fb?x=1"}, ""},
		{draft{key: key, method: "POST", body: `{"a":1}`}, `{"a":1}`},
		{draft{key: key, member: names(namingJWT(f, seedKey("durable"), key, nil, nil))}, ""},
		{draft{key: key, member: shows(token)}, ""},
		{draft{key: key, params: created(0) + `;alg="ed25519";keyid="x"`, label: "other"}, ""},
	} {
		signed = append(signed, sampleOf(s.d.request(f), s.body))
	}
	// The vectors are signed too, and those without alg are good with the flags.
	for _, c := range file.Cases {
		signed = append(signed, sampleOf(c.request(), c.Request.Body))
	}
	for _, s := range signed {
		f.Add(s.method, s.target, s.host, s.body, s.key, s.input, s.signature, s.contentType, s.digest, s.further)
	}
	f.Fuzz(func(t *testing.T, method, target, host, body, key, input, signature, contentType, digest, further string) {
		s := sample{method, target, host, body, key, input, signature, contentType, digest, further}
		for _, h := range verifiers {
			rec := serve(h, s.request())
			switch {
			case rec.Code == 401 && rec.Header().Get("Signature-Error") != "", rec.Code == 403, rec.Code == 413:
				continue
			case rec.Code != 200:
				t.Errorf("%d %s", rec.Code, rec.Body)
			}
			fits := false
			for _, was := range signed {
				fits = fits || s.fits(was)
			}
			if !fits {
				t.Errorf("was never signed: %+v", s)
			}
		}
	})
}
