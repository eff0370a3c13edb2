package agentauth_test

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/store"
)

const (
	acceptSignature = `sig=("@method" "@authority" "@path" "signature-key" "x-a");created`
	acceptScheme    = "hwk, jwt, jwks_uri"
	acceptAlg       = "Ed25519, ES256"
)

// codes are those of HTTP Signature Keys, section "Signature-Error". Two are
// never sent.
var codes = map[string]string{
	"unsupported_algorithm": "", "unsupported_scheme": "", "invalid_signature": "", "invalid_input": "", "invalid_key": "", "unknown_key": "",
	"issuer_missing": "", "issuer_mismatch": "", "invalid_jwt": "", "expired_jwt": "", "revoked_jwt": "", "clock_skew": "",
	"cache_miss":      "scheme cached is not implemented: it is unsupported_scheme",
	"invalid_request": "what is wrong with a request apart from its signature is 400 and no error of signatures",
}

// TestEachCodeAndItsChallenge has a request for each code, with the fields that
// tell its sender how to do better.
func TestEachCodeAndItsChallenge(t *testing.T) {
	key := seedKey("agent")
	o := newRemote(t, agentauth.RoleAgentProvider)
	nameless := newRemote(t, agentauth.RoleAgentProvider)
	nameless.says(nameless.metadataPath(), claims{"jwks_uri": nameless.id})
	misnamed := newRemote(t, agentauth.RoleAgentProvider)
	misnamed.says(misnamed.metadataPath(), claims{"issuer": "https://elsewhere.example"})
	w := newWorld(t, worldConfig{verifier: func(c *agentauth.VerifierConfig) {
		o.reachable(c)
		for _, other := range []*remote{nameless, misnamed} {
			c.Profile.Network.RootCAs.AddCert(other.srv.Certificate())
		}
		c.Trust = func(string, agentauth.Role) bool { return true }
	}})
	g := &gate{tb: t, verifier: w.verifier, store: w.store}
	ours, off := w.enroll(key, "{}"), seedKey("disabled")
	offToken := w.enroll(off, "{}")
	amend(t, w.store, off, disabled)
	var revoked struct{ JTI string }
	payload, err := b64.DecodeString(strings.Split(ours, ".")[1])
	must(t, err)
	must(t, json.Unmarshal(payload, &revoked))
	must(t, w.store.Commit(t.Context(), store.Insert(store.Record{Kind: agentauth.KindRevoked, ID: store.ID(issuer, revoked.JTI), Data: []byte("{}")})))

	p := agentauth.Policy{Schemes: []agentauth.Scheme{agentauth.SchemeHWK, agentauth.SchemeJWT, agentauth.SchemeJWKSURI}, Pseudonyms: true, Components: []string{"x-a"}, MaxBody: 10}
	all := []string{acceptSignature, acceptScheme, acceptAlg}
	none := []string{"", "", ""}
	tests := []struct {
		name   string
		code   string
		d      draft
		accept []string // Accept-Signature, -Scheme and -Alg
	}{
		{"not signed", "invalid_signature", draft{tamper: del("Signature", "Signature-Input", "Signature-Key")}, all},
		{"badly signed", "invalid_signature", draft{tamper: set("Signature", "sig="+someSignature)}, all},
		{"too little is covered", "invalid_input", draft{components: base4}, all},
		{"a foreign algorithm", "unsupported_algorithm", draft{member: strings.Replace(hwk(t, key), `"Ed25519"`, `"RS256"`, 1)}, []string{"", "", acceptAlg}},
		{"a foreign scheme", "unsupported_scheme", draft{member: `cached;cid="x"`}, []string{"", acceptScheme, ""}},
		{"a scheme of other routes", "unsupported_scheme", draft{member: names(namingJWT(t, seedKey("durable"), key, nil, nil))}, []string{"", acceptScheme, ""}},
		{"a bad key", "invalid_key", draft{member: strings.Replace(hwk(t, key), `x="`, `x="A`, 1)}, none},
		{"an unknown key", "unknown_key", o.byServer(o.id, o.role, "unknown"), none},
		{"an issuer without a name", "issuer_missing", nameless.byServer(nameless.id, nameless.role, remoteKid), none},
		{"an issuer of another name", "issuer_mismatch", misnamed.byServer(misnamed.id, misnamed.role, remoteKid), none},
		{"a bad token", "invalid_jwt", draft{member: shows("x")}, none},
		{"an old token", "expired_jwt", draft{member: shows(o.token(key, nil, claims{"iat": t0.Unix() - 60, "exp": t0.Unix()}))}, none},
		{"a withdrawn token", "revoked_jwt", draft{member: shows(ours)}, none},
		{"a clock that is ahead", "clock_skew", draft{params: created(time.Hour)}, none},
		{"an agent that is not welcome", "denied", draft{key: off, member: shows(offToken)}, none},
		{"a large body", "too_large", draft{body: "more than 10 bytes", components: append(base6[:6:6], `"x-a"`)}, none},
	}
	seen := make(map[string]bool)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := tt.d
			if d.key == nil {
				d.key = key
			}
			if d.components == nil {
				d.components = append(base4[:4:4], `"x-a"`)
			}
			d.header = http.Header{"X-A": {"1"}}
			a := g.pass(p, d.request(t))
			if code := a.code(t); code != tt.code || a.status != keywright.Code(code).Status() {
				t.Fatalf("got %d %q, want %q", a.status, code, tt.code)
			}
			got := []string{a.header.Get("Accept-Signature"), a.header.Get("Accept-Signature-Scheme"), a.header.Get("Accept-Signature-Alg")}
			if !slices.Equal(got, tt.accept) {
				t.Errorf("got  %q\nwant %q", got, tt.accept)
			}
			if ct, cc := a.header.Get("Content-Type"), a.header.Get("Cache-Control"); ct != "application/problem+json" || cc != "no-store" {
				t.Errorf("Content-Type %q, Cache-Control %q", ct, cc)
			}
			seen[tt.code] = true
		})
	}
	for code, why := range codes {
		if (why == "") != seen[code] {
			t.Errorf("%s: sent %v, %q", code, seen[code], why)
		}
	}
}

// TestChallengesBesideKeys: a route that takes API keys too tells both ways.
func TestChallengesBesideKeys(t *testing.T) {
	key := seedKey("agent")
	g := newGate(t, nil)
	a, err := g.verifier.Authenticator(only(agentauth.SchemeHWK))
	must(t, err)
	h := keywright.Require(a, g.host.Keys.Of("admin"))(whoami)
	rec := serve(h, draft{key: key, tamper: del("Signature", "Signature-Input", "Signature-Key")}.request(t))
	if rec.Code != 401 || rec.Header().Get("WWW-Authenticate") == "" || rec.Header().Get("Accept-Signature") == "" ||
		rec.Header().Get("Accept-Signature-Scheme") != "hwk" || rec.Header().Get("Accept-Signature-Alg") != acceptAlg || rec.Header().Get("Signature-Error") != "" {
		t.Errorf("%d %v", rec.Code, rec.Header())
	}
	if rec := serve(h, draft{key: key}.request(t)); rec.Code != 200 {
		t.Errorf("signed: %d %s", rec.Code, rec.Body)
	}
	rec = serve(h, draft{key: key, tamper: set("Signature", "sig="+someSignature)}.request(t))
	if rec.Code != 401 || rec.Header().Get("WWW-Authenticate") != "" || rec.Header().Get("Signature-Error") != "error=invalid_signature" {
		t.Errorf("badly signed: %d %v", rec.Code, rec.Header())
	}
}

func TestPoliciesThatAreNone(t *testing.T) {
	g := newGate(t, nil)
	for name, p := range map[string]agentauth.Policy{
		"a scheme":                {Schemes: []agentauth.Scheme{"x509"}},
		"an empty scheme":         {Schemes: []agentauth.Scheme{""}},
		"a component":             {Components: []string{"@status"}},
		"a component, upper case": {Components: []string{"Date"}},
		"a component, host":       {Components: []string{"host"}},
		"a negative MaxBody":      {MaxBody: -1},
		"a huge MaxBody":          {MaxBody: 1<<30 + 1},
		"Replay":                  {Replay: agentauth.ReplayNone + 1},
		"a negative Replay":       {Replay: -1},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := g.verifier.Authenticator(p); err == nil {
				t.Error("was accepted")
			}
			defer func() {
				if recover() == nil {
					t.Error("Require does not panic")
				}
			}()
			g.verifier.Require(p)
		})
	}
	p := only(agentauth.SchemeHWK)
	h := g.verifier.Require(p)(whoami)
	p.Schemes[0] = agentauth.SchemeJWT
	if rec := serve(h, draft{key: seedKey("agent")}.request(t)); rec.Code != 200 {
		t.Errorf("a Policy that is changed later counts: %d", rec.Code)
	}
}

func TestVerifierConfigs(t *testing.T) {
	good := newGate(t, nil).host
	for name, edit := range map[string]func(*agentauth.VerifierConfig){
		"no Host":             func(c *agentauth.VerifierConfig) { c.Host = keywright.Host{} },
		"no URL":              func(c *agentauth.VerifierConfig) { c.Host.URL = nil },
		"a short Window":      func(c *agentauth.VerifierConfig) { c.Profile.Window = time.Millisecond },
		"a negative Window":   func(c *agentauth.VerifierConfig) { c.Profile.Window = -time.Minute },
		"a long Window":       func(c *agentauth.VerifierConfig) { c.Profile.Window = 10*time.Minute + 1 },
		"a negative ExpSkew":  func(c *agentauth.VerifierConfig) { c.Profile.Compat.ExpSkew = -1 },
		"a long ExpSkew":      func(c *agentauth.VerifierConfig) { c.Profile.Compat.ExpSkew = time.Minute + 1 },
		"a URL for authority": func(c *agentauth.VerifierConfig) { c.Profile.Authorities = []string{"https://ap.example"} },
		"a path in authority": func(c *agentauth.VerifierConfig) { c.Profile.Authorities = []string{"ap.example/x"} },
		"a user in authority": func(c *agentauth.VerifierConfig) { c.Profile.Authorities = []string{"u@ap.example"} },
		"an empty authority":  func(c *agentauth.VerifierConfig) { c.Profile.Authorities = []string{""} },
		"a port alone":        func(c *agentauth.VerifierConfig) { c.Profile.Authorities = []string{":443"} },
		"every network": func(c *agentauth.VerifierConfig) {
			c.Profile.Network.AllowNetworks = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := agentauth.VerifierConfig{Host: good}
			edit(&c)
			if _, err := agentauth.NewVerifier(c); err == nil || !strings.HasPrefix(err.Error(), "agentauth: VerifierConfig.") {
				t.Errorf("got %v", err)
			}
		})
	}
	for name, edit := range map[string]func(*agentauth.VerifierConfig){
		"the shortest Window":          func(c *agentauth.VerifierConfig) { c.Profile.Window = time.Second },
		"the longest Window":           func(c *agentauth.VerifierConfig) { c.Profile.Window = 10 * time.Minute },
		"the longest ExpSkew":          func(c *agentauth.VerifierConfig) { c.Profile.Compat.ExpSkew = time.Minute },
		"an authority in place of URL": func(c *agentauth.VerifierConfig) { c.Host.URL, c.Profile.Authorities = nil, []string{"[::1]:8080"} },
	} {
		c := agentauth.VerifierConfig{Host: good}
		edit(&c)
		if _, err := agentauth.NewVerifier(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
