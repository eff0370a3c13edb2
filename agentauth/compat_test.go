package agentauth_test

import (
	"bytes"
	"crypto"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/store"
)

// flags are all of Compat, each alone.
var flags = map[string]agentauth.Compat{
	"none":               {},
	"HWKWithoutAlg":      {HWKWithoutAlg: true},
	"CnfWithoutAlg":      {CnfWithoutAlg: true},
	"AcceptEdDSA":        {AcceptEdDSA: true},
	"LegacyNamingJWT":    {LegacyNamingJWT: true},
	"LegacyHWKJWKParam":  {LegacyHWKJWKParam: true},
	"LegacyJWKSURI":      {LegacyJWKSURI: true},
	"AllowUnsignedEnrol": {AllowUnsignedEnrol: true},
	"AnyAgentDomain":     {AnyAgentDomain: true},
	"EmitPersonTokenJTI": {EmitPersonTokenJTI: true},
	"ExpSkew":            {ExpSkew: time.Minute},
}

// A compatCase is admitted with one flag, or with none where that is "".
type compatCase struct {
	name, flag, refused string
	d                   draft
}

// compatCases are what each flag admits, made for a server at https://ap.example with
// an enrolled agent, and an issuer o elsewhere.
func compatCases(t *testing.T, w *world, o *remote) []compatCase {
	t.Helper()
	key, agent := seedKey("agent"), seedKey("enrolled")
	noAlg := claims{"alg": nil}
	cnf := func(changes claims) claims { return claims{"cnf": claims{"jwk": claims(jwk(t, key)).with(changes)}} }
	okp, ec := hwk(t, key), newP256(t)
	legacyNaming := func(changes claims) string {
		set := claims{"iss": issuer, "iat": t0.Unix(), "exp": t0.Add(5 * time.Minute).Unix(), "jti": "n-1", "cnf": claims{"jwk": jwk(t, key)}}
		return compact(t, agent, claims{"alg": "EdDSA", "typ": "naming+jwt", "kid": jktOf(t, agent)}, set.with(changes))
	}
	agentURL := "https://ap.example/agents/aauth:app@ap.example/jwks.json"
	return []compatCase{
		{"hwk without alg", "HWKWithoutAlg", "unsupported_algorithm", draft{key: key, member: strings.Replace(okp, `alg="Ed25519";`, "", 1)}},
		{"hwk without alg, P-256", "HWKWithoutAlg", "unsupported_algorithm", draft{key: ec, member: strings.Replace(hwk(t, ec), `alg="ES256";`, "", 1)}},
		{"hwk with kid", "HWKWithoutAlg", "invalid_key", draft{key: key, member: okp + `;kid="x"`}},
		{"cnf without alg", "CnfWithoutAlg", "unsupported_algorithm", draft{key: key, member: shows(o.token(key, nil, cnf(noAlg)))}},
		{"naming cnf without alg", "CnfWithoutAlg", "unsupported_algorithm", draft{key: key, member: names(namingJWT(t, agent, key, nil, cnf(noAlg)))}},
		{"naming jwk without alg", "CnfWithoutAlg", "unsupported_algorithm", draft{key: key, member: names(namingJWT(t, agent, key, claims{"jwk": claims(jwk(t, agent)).with(noAlg)}, nil))}},
		{"hwk with EdDSA", "AcceptEdDSA", "unsupported_algorithm", draft{key: key, member: strings.Replace(okp, `alg="Ed25519"`, `alg="EdDSA"`, 1)}},
		{"a token by EdDSA", "AcceptEdDSA", "unsupported_algorithm", draft{key: key, member: shows(o.token(key, claims{"alg": "EdDSA"}, nil))}},
		{"cnf with EdDSA", "AcceptEdDSA", "unsupported_algorithm", draft{key: key, member: shows(o.token(key, nil, cnf(claims{"alg": "EdDSA"})))}},
		{"a server's key for EdDSA", "AcceptEdDSA", "unsupported_algorithm", o.byServer(o.id, o.role, "eddsa")},
		{"an issuer's key for EdDSA", "AcceptEdDSA", "unsupported_algorithm", draft{key: key, member: shows(o.token(key, claims{"kid": "eddsa"}, nil))}},
		{"a naming JWT by EdDSA", "AcceptEdDSA", "unsupported_algorithm", draft{key: key, member: names(namingJWT(t, agent, key, claims{"alg": "EdDSA"}, nil))}},
		{"a naming JWT of old", "LegacyNamingJWT", "invalid_jwt", draft{key: key, member: names(legacyNaming(nil))}},
		{"a JWK in hwk", "LegacyHWKJWKParam", "invalid_key", draft{key: key, member: legacyHWK(t, key)}},
		{"jwks_uri with uri", "LegacyJWKSURI", "invalid_key", draft{key: agent, member: fmt.Sprintf(`jwks_uri;uri=%q;kid=%q`, agentURL, jktOf(t, agent))}},
		{"an agent of another domain", "AnyAgentDomain", "invalid_jwt", draft{key: key, member: shows(o.token(key, nil, claims{"sub": "aauth:app@elsewhere.example"}))}},
		{"a sub-agent of another domain", "AnyAgentDomain", "invalid_jwt", draft{key: key, member: shows(o.token(key, nil, claims{"parent_agent": "aauth:app@elsewhere.example"}))}},
		{"a token that has just expired", "ExpSkew", "expired_jwt", draft{key: key, member: shows(o.token(key, nil, claims{"iat": t0.Unix() - 60, "exp": t0.Unix() - 59}))}},
		{"a naming JWT that has just expired", "ExpSkew", "expired_jwt", draft{key: key, member: names(namingJWT(t, agent, key, nil, claims{"iat": t0.Unix() - 61, "exp": t0.Unix() - 59}))}},

		// What no flag admits, and what none changes.
		{"jwk beside a key", "any", "", draft{key: key, member: okp + `;jwk="x"`}},
		{"uri beside id", "any", "", draft{key: o.key, member: o.byServer(o.id, o.role, remoteKid).member + `;uri="x"`}},
		{"a token that expired a minute ago", "", "expired_jwt", draft{key: key, member: shows(o.token(key, nil, claims{"iat": t0.Unix() - 120, "exp": t0.Unix() - 60}))}},
		{"hwk for HS256", "", "unsupported_algorithm", draft{key: key, member: strings.Replace(okp, `"Ed25519"`, `"HS256"`, 1)}},
		{"hwk with an empty alg", "", "unsupported_algorithm", draft{key: key, member: strings.Replace(okp, `"Ed25519"`, `""`, 1)}},
		{"a cnf for RSA without alg", "", "unsupported_algorithm", draft{key: key, member: shows(o.token(key, nil, claims{"cnf": claims{"jwk": claims{
			"kty": "RSA", "e": "AQAB", "n": b64.EncodeToString(bytes.Repeat([]byte{0xff}, 256)),
		}}}))}},
		{"a sub that is no agent", "", "invalid_jwt", draft{key: key, member: shows(o.token(key, nil, claims{"sub": "app"}))}},
		{"a sub at an address", "", "invalid_jwt", draft{key: key, member: shows(o.token(key, nil, claims{"sub": "aauth:app@10.0.0.1"}))}},
		{"a private hwk", "", "invalid_key", draft{key: key, member: okp + `;d="x"`}},
		{"a naming JWT of old with a wrong iss", "", "invalid_jwt", draft{key: key, member: names(legacyNaming(claims{"iss": o.id}))}},
		{"an uncovered Signature-Key", "", "invalid_input", draft{key: key, components: base4[:3]}},
		{"a token of the wrong typ", "", "invalid_jwt", draft{key: key, member: shows(o.token(key, claims{"typ": "JWT"}, nil))}},
	}
}

// TestEachFlagAdmitsItsCaseAndNothingElse crosses all flags with all cases.
func TestEachFlagAdmitsItsCaseAndNothingElse(t *testing.T) {
	o := newRemote(t, agentauth.RoleAgentProvider)
	o.publishes(claims(jwk(t, o.key)).with(claims{"kid": remoteKid}), claims(jwk(t, o.key)).with(claims{"kid": "eddsa", "alg": "EdDSA"}))
	for flag, compat := range flags {
		w := newWorld(t, worldConfig{
			verifier: func(c *agentauth.VerifierConfig) {
				o.trusted(c)
				c.Profile.Compat = compat
			},
			provider: func(c *agentauth.ProviderConfig) { c.Profile.Compat = compat },
		})
		g := &gate{tb: t, verifier: w.verifier}
		w.enroll(seedKey("enrolled"), `{"agent_id":"aauth:app@ap.example"}`)
		for _, tt := range compatCases(t, w, o) {
			t.Run(tt.name+" with "+flag, func(t *testing.T) {
				code := tt.refused
				if tt.flag == flag {
					code = ""
				}
				g.wants(code, everything, tt.d.request(t))
			})
		}
		t.Run("enrolling without a signature with "+flag, func(t *testing.T) {
			text := string(mustJSON(t, claims{"agent_id": "aauth:new@ap.example", "jwk": jwk(t, seedKey("new"))}))
			if a := w.do(w.request("POST", "/enrol", text)); (a.status == 200) != (flag == "AllowUnsignedEnrol") {
				t.Errorf("%d %s", a.status, a.body)
			}
		})
	}
}

// TestJWKsInFields: the form is old, and what must be in it is not.
func TestJWKsInFields(t *testing.T) {
	key := seedKey("agent")
	field := func(k any) string { return `hwk;jwk="` + b64.EncodeToString(mustJSON(t, k)) + `"` }
	good, kid := "", ""
	for good == "" || (len(good)-len(`hwk;jwk=""`))%4 != 2 { // until there are spare bits
		kid += "k"
		good = field(claims(jwk(t, key)).with(claims{"kid": kid}))
	}
	noAlg := field(claims(jwk(t, key)).with(claims{"alg": nil}))
	tests := []struct {
		name, member string
		compat       agentauth.Compat
		code         string
	}{
		{"with kid", good, agentauth.Compat{}, ""},
		{"with spare bits", good[:len(good)-2] + string(good[len(good)-2]+1) + `"`, agentauth.Compat{}, "invalid_key"},
		{"with padding", good[:len(good)-1] + `="`, agentauth.Compat{}, "invalid_key"},
		{"not a string", "hwk;jwk=1", agentauth.Compat{}, "invalid_key"},
		{"not JSON", `hwk;jwk="AAAA"`, agentauth.Compat{}, "invalid_key"},
		{"private", field(claims(jwk(t, key)).with(claims{"d": "AAAA"})), agentauth.Compat{}, "invalid_key"},
		{"without alg", noAlg, agentauth.Compat{}, "unsupported_algorithm"},
		{"without alg where that is good", noAlg, agentauth.Compat{HWKWithoutAlg: true}, ""},
		{"with EdDSA", field(claims(jwk(t, key)).with(claims{"alg": "EdDSA"})), agentauth.Compat{}, "unsupported_algorithm"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.compat.LegacyHWKJWKParam = true
			g := newGate(t, func(c *agentauth.VerifierConfig) { c.Profile.Compat = tt.compat })
			g.wants(tt.code, everything, draft{key: key, member: tt.member}.request(t))
		})
	}
}

// TestNamingJWTsOfOld name a key that must be found in the store.
func TestNamingJWTsOfOld(t *testing.T) {
	key, agent := seedKey("agent"), seedKey("enrolled")
	st := &failing{Store: new(store.Memory)}
	w := newWorld(t, worldConfig{store: st, verifier: func(c *agentauth.VerifierConfig) { c.Profile.Compat.LegacyNamingJWT = true }})
	g := &gate{tb: t, verifier: w.verifier}
	w.enroll(agent, "{}")
	naming := func(by, named crypto.Signer, typ string) draft {
		set := claims{"iss": issuer, "iat": t0.Unix(), "exp": t0.Add(5 * time.Minute).Unix(), "jti": "n-1", "cnf": claims{"jwk": jwk(t, key)}}
		return draft{key: key, member: names(compact(t, by, claims{"alg": "EdDSA", "typ": typ, "kid": jktOf(t, named)}, set))}
	}
	good := naming(agent, agent, "naming+jwt")
	if p := g.pass(everything, good.request(t)).principal(t); p.Subject != "urn:jkt:sha-256:"+jktOf(t, agent) {
		t.Errorf("principal %+v", p)
	}
	g.wants("invalid_jwt", everything, naming(key, agent, "naming+jwt").request(t))
	g.wants("invalid_jwt", everything, naming(agent, agent, "JWT").request(t))
	g.wants("unknown_key", everything, naming(key, key, "naming+jwt").request(t))
	st.get = func(k store.Key) bool { return k.Kind == "agent" }
	g.wants("unavailable", everything, good.request(t))
	st.get = nil
	amend(t, st, agent, disabled)
	g.wants("unknown_key", everything, good.request(t))
}
