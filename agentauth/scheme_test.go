package agentauth_test

import (
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
)

// only is a policy of the schemes given.
func only(schemes ...agentauth.Scheme) agentauth.Policy {
	return agentauth.Policy{Schemes: schemes, Pseudonyms: true}
}

func TestSchemesOfARoute(t *testing.T) {
	key := seedKey("agent")
	o := newRemote(t, agentauth.RoleAgentProvider)
	g := newGate(t, o.trusted)
	drafts := map[agentauth.Scheme]draft{
		agentauth.SchemeHWK:     {key: key},
		agentauth.SchemeJKTJWT:  {key: key, member: names(namingJWT(t, seedKey("durable"), key, nil, nil))},
		agentauth.SchemeJWT:     {key: key, member: shows(o.token(key, nil, nil))},
		agentauth.SchemeJWKSURI: {key: o.key, member: fmt.Sprintf(`jwks_uri;id=%q;dwk="aauth-agent.json";kid=%q`, o.id, remoteKid)},
		agentauth.SchemeJWKS:    {key: o.key, member: fmt.Sprintf(`jwks;url="%s/jwks.json";kid=%q`, o.id, remoteKid)},
	}
	for has, d := range drafts {
		for _, wants := range everything.Schemes {
			code := ""
			if has != wants {
				code = "unsupported_scheme"
			}
			t.Run(string(has)+" where "+string(wants)+" is wanted", func(t *testing.T) { g.wants(code, only(wants), d.request(t)) })
		}
		code := "unsupported_scheme"
		if has == agentauth.SchemeJWT {
			code = ""
		}
		t.Run(string(has)+" at the zero Policy", func(t *testing.T) { g.wants(code, agentauth.Policy{}, d.request(t)) })
	}
	for _, member := range []string{`x509;x5u="https://a.example/c.pem"`, `self-jwt;jwt="a"`, `cached;cid="a"`, "x-unregistered", "HWK", "jkt_jwt"} {
		t.Run(member, func(t *testing.T) {
			g.wants("unsupported_scheme", everything, draft{key: key, member: member}.request(t))
		})
	}
}

func TestHWK(t *testing.T) {
	ed, ec := seedKey("agent"), newP256(t)
	okp, p256 := hwk(t, ed), hwk(t, ec)
	without := func(member, param string) string {
		from := strings.Index(member, ";"+param+"=")
		length := strings.IndexByte(member[from+1:]+";", ';') + 1
		return member[:from] + member[from+length:]
	}
	alg := func(value string) string { return strings.Replace(okp, `alg="Ed25519"`, "alg="+value, 1) }
	zero := b64.EncodeToString(make([]byte, 32))
	tests := []struct {
		name   string
		key    crypto.Signer
		member string
		code   string
	}{
		{"Ed25519", ed, okp, ""},
		{"P-256", ec, p256, ""},
		{"names as tokens", ed, strings.NewReplacer(`"Ed25519"`, "Ed25519", `"OKP"`, "OKP").Replace(okp), ""},
		{"parameters that are not known", ed, okp + `;future="x";flag`, ""},
		{"kid", ed, okp + `;kid="x"`, "invalid_key"},
		{"d", ed, okp + `;d="x"`, "invalid_key"},
		{"k", ed, okp + `;k="x"`, "invalid_key"},
		{"p", ed, okp + `;p="x"`, "invalid_key"},
		{"q", ed, okp + `;q="x"`, "invalid_key"},
		{"no kty", ed, without(okp, "kty"), "invalid_key"},
		{"kty is a number", ed, strings.Replace(okp, `"OKP"`, "1", 1), "invalid_key"},
		{"no crv", ed, without(okp, "crv"), "invalid_key"},
		{"crv is a number", ed, strings.Replace(okp, `crv="Ed25519"`, "crv=1", 1), "invalid_key"},
		{"no x", ed, without(okp, "x"), "invalid_key"},
		{"x is a number", ed, without(okp, "x") + ";x=1", "invalid_key"},
		{"y of an OKP key", ed, okp + `;y="AAAA"`, "invalid_key"},
		{"crv of another kty", ed, strings.Replace(okp, `crv="Ed25519"`, `crv="P-256"`, 1), "invalid_key"},
		{"X25519", ed, strings.Replace(okp, `crv="Ed25519"`, `crv="X25519"`, 1), "invalid_key"},
		{"no alg", ed, without(okp, "alg"), "unsupported_algorithm"},
		{"no alg, P-256", ec, without(p256, "alg"), "unsupported_algorithm"},
		{"alg is empty", ed, alg(`""`), "unsupported_algorithm"},
		{"alg EdDSA", ed, alg(`"EdDSA"`), "unsupported_algorithm"},
		{"alg in lower case", ed, alg(`"ed25519"`), "unsupported_algorithm"},
		{"alg none", ed, alg(`"none"`), "unsupported_algorithm"},
		{"alg HS256", ed, alg(`"HS256"`), "unsupported_algorithm"},
		{"alg RS256", ed, alg(`"RS256"`), "unsupported_algorithm"},
		{"alg ES384", ed, alg(`"ES384"`), "unsupported_algorithm"},
		{"alg is a number", ed, alg("1"), "invalid_key"},
		{"alg of another key", ed, alg(`"ES256"`), "invalid_key"},
		{"alg of another key, P-256", ec, strings.Replace(p256, `"ES256"`, `"Ed25519"`, 1), "invalid_key"},
		{"kty oct", ed, strings.Replace(okp, `"OKP"`, `"oct"`, 1), "unsupported_algorithm"},
		{"kty RSA", ed, `hwk;kty="RSA";n="AQAB";e="AQAB";alg="RS256"`, "unsupported_algorithm"},
		{"kty of the future", ed, strings.Replace(okp, `"OKP"`, `"AKP"`, 1), "unsupported_algorithm"},
		{"no y", ec, without(p256, "y"), "invalid_key"},
		{"a point that is not on the curve", ec, without(p256, "y") + `;y="` + zero + `"`, "invalid_key"},
		{"x of 31 bytes", ec, without(p256, "x") + `;x="` + zero[:42] + `"`, "invalid_key"},
		{"a JWK in place of parameters", ed, legacyHWK(t, ed), "invalid_key"},
		{"no parameters", ed, "hwk", "invalid_key"},
	}
	g := newGate(t, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { g.wants(tt.code, everything, draft{key: tt.key, member: tt.member}.request(t)) })
	}
}

// legacyHWK is the form of before June 2026.
func legacyHWK(tb testing.TB, key crypto.Signer) string {
	tb.Helper()
	text, err := json.Marshal(jwk(tb, key))
	must(tb, err)
	return `hwk;jwk="` + b64.EncodeToString(text) + `"`
}

var namingHeader = claims{"alg": "Ed25519", "typ": "jkt-s256+jwt"}

// namingJWT is one in which durable vouches for key, with changes of its header
// and of its claims.
func namingJWT(tb testing.TB, durable, key crypto.Signer, header, changes claims) string {
	tb.Helper()
	set := claims{
		"iss": "urn:jkt:sha-256:" + jktOf(tb, durable), "iat": t0.Unix(), "exp": t0.Add(5 * time.Minute).Unix(), "jti": "n-1",
		"cnf": claims{"jwk": jwk(tb, key)},
	}
	return compact(tb, durable, namingHeader.with(claims{"jwk": jwk(tb, durable)}).with(header), set.with(changes))
}

// names is a member of Signature-Key of scheme jkt-jwt.
func names(token string) string { return `jkt-jwt;jwt="` + token + `"` }

func TestJKTJWT(t *testing.T) {
	durable, key, other := seedKey("durable"), seedKey("agent"), seedKey("other")
	private := claims(jwk(t, durable)).with(claims{"d": "AAAA"})
	noAlg := claims(jwk(t, durable)).with(claims{"alg": nil})
	cnf := func(changes claims) claims {
		return claims{"cnf": claims{"jwk": claims(jwk(t, key)).with(changes)}}
	}
	at := func(iat, exp time.Duration) claims {
		return claims{"iat": t0.Add(iat).Unix(), "exp": t0.Add(exp).Unix()}
	}
	urn := "urn:jkt:sha-256:" + jktOf(t, durable)
	tests := []struct {
		name            string
		header, changes claims
		code            string
	}{
		{"a good one", nil, nil, ""},
		{"no typ", claims{"typ": nil}, nil, "invalid_jwt"},
		{"typ JWT", claims{"typ": "JWT"}, nil, "invalid_jwt"},
		{"typ of an agent token", claims{"typ": "aa-agent+jwt"}, nil, "invalid_jwt"},
		{"typ of SHA-512", claims{"typ": "jkt-s512+jwt"}, nil, "invalid_jwt"},
		{"no jwk", claims{"jwk": nil}, nil, "invalid_jwt"},
		{"a private jwk", claims{"jwk": private}, nil, "invalid_jwt"},
		{"jwk without alg", claims{"jwk": noAlg}, nil, "unsupported_algorithm"},
		{"crit", claims{"crit": []string{"x"}, "x": 1}, nil, "invalid_jwt"},
		{"jku", claims{"jku": "https://a.example/"}, nil, "invalid_jwt"},
		{"no alg", claims{"alg": nil}, nil, "invalid_jwt"},
		{"alg none", claims{"alg": "none"}, nil, "unsupported_algorithm"},
		{"alg HS256", claims{"alg": "HS256"}, nil, "unsupported_algorithm"},
		{"alg EdDSA", claims{"alg": "EdDSA"}, nil, "unsupported_algorithm"},
		{"alg of another key", claims{"alg": "ES256"}, nil, "invalid_jwt"},
		{"jwk of another key", claims{"jwk": jwk(t, other)}, claims{"iss": "urn:jkt:sha-256:" + jktOf(t, other)}, "invalid_jwt"},
		{"no iss", nil, claims{"iss": nil}, "invalid_jwt"},
		{"iss of another key", nil, claims{"iss": "urn:jkt:sha-256:" + jktOf(t, other)}, "invalid_jwt"},
		{"iss by SHA-512", nil, claims{"iss": strings.Replace(urn, "256", "512", 1)}, "invalid_jwt"},
		{"iss in upper case", nil, claims{"iss": strings.ToUpper(urn)}, "invalid_jwt"},
		{"iss without its prefix", nil, claims{"iss": jktOf(t, durable)}, "invalid_jwt"},
		{"no iat", nil, claims{"iat": nil}, "invalid_jwt"},
		{"iat 60 s ahead", nil, at(60*time.Second, 5*time.Minute), ""},
		{"iat 61 s ahead", nil, at(61*time.Second, 5*time.Minute), "clock_skew"},
		{"no exp", nil, claims{"exp": nil}, "invalid_jwt"},
		{"exp a second ahead", nil, at(-time.Minute, time.Second), ""},
		{"exp now", nil, at(-time.Minute, 0), "expired_jwt"},
		{"a life of 11 minutes", nil, at(-5*time.Minute, 6*time.Minute), ""},
		{"a life of more", nil, at(-5*time.Minute, 6*time.Minute+time.Second), "invalid_jwt"},
		{"exp 11 minutes ahead", nil, at(60*time.Second, 11*time.Minute), ""},
		{"exp further ahead", nil, at(60*time.Second, 11*time.Minute+time.Second), "invalid_jwt"},
		{"no jti", nil, claims{"jti": nil}, ""},
		{"an empty jti", nil, claims{"jti": ""}, "invalid_jwt"},
		{"jti is a number", nil, claims{"jti": 1}, "invalid_jwt"},
		{"a jti of 1,024 bytes", nil, claims{"jti": strings.Repeat("j", 1024)}, ""},
		{"a jti of 1,025 bytes", nil, claims{"jti": strings.Repeat("j", 1025)}, "invalid_jwt"},
		{"sub", nil, claims{"sub": "x"}, "invalid_jwt"},
		{"further claims", nil, claims{"x": 1}, ""},
		{"no cnf", nil, claims{"cnf": nil}, "invalid_jwt"},
		{"cnf without jwk", nil, claims{"cnf": claims{"jkt": "x"}}, "invalid_jwt"},
		{"cnf of another key", nil, claims{"cnf": claims{"jwk": jwk(t, other)}}, "invalid_signature"},
		{"cnf without alg", nil, cnf(claims{"alg": nil}), "unsupported_algorithm"},
		{"cnf with alg EdDSA", nil, cnf(claims{"alg": "EdDSA"}), "unsupported_algorithm"},
		{"cnf with alg of another key", nil, cnf(claims{"alg": "ES256"}), "invalid_key"},
		{"a private cnf", nil, cnf(claims{"d": "AAAA"}), "invalid_key"},
	}
	g := newGate(t, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g.wants(tt.code, everything, draft{key: key, member: names(namingJWT(t, durable, key, tt.header, tt.changes))}.request(t))
		})
	}
	forged := namingJWT(t, other, key, claims{"jwk": jwk(t, durable)}, claims{"iss": urn})
	for name, member := range map[string]string{
		"the durable key has not signed": names(forged), "no token": names("x.y"), "two parts": names(forged[:strings.LastIndexByte(forged, '.')]),
	} {
		t.Run(name, func(t *testing.T) { g.wants("invalid_jwt", everything, draft{key: key, member: member}.request(t)) })
	}
	g.wants("invalid_signature", everything, draft{key: key, member: "jkt-jwt"}.request(t))
	g.wants("invalid_signature", everything, draft{key: key, member: "jkt-jwt;jwt=1"}.request(t))
}

func TestPrincipals(t *testing.T) {
	key, durable := seedKey("agent"), seedKey("durable")
	o := newRemote(t, agentauth.RoleAgentProvider)
	server := newRemote(t, agentauth.RolePersonServer)
	g := newGate(t, func(c *agentauth.VerifierConfig) {
		o.reachable(c)
		c.Profile.Network.RootCAs.AddCert(server.srv.Certificate())
		c.Trust = func(string, agentauth.Role) bool { return true }
	})
	jkt, agentJKT, issuerJKT := jktOf(t, durable), jktOf(t, key), jktOf(t, o.key)
	common := func(more map[string]string) map[string]string {
		all := map[string]string{"components": "@method @authority @path signature-key"}
		maps.Copy(all, more)
		return all
	}
	claim := claims{"ps": "https://ps.example", "sub": strings.Replace(o.agent(), "app", "app+sub", 1), "parent_agent": o.agent(), "x": 1}
	jwks := o.id + "/jwks.json"
	tests := []struct {
		name string
		d    draft
		want keywright.Principal
	}{
		{"hwk", draft{key: key}, keywright.Principal{
			Subject: agentJKT, Credential: agentJKT, Attrs: common(map[string]string{"scheme": "hwk", "jkt": agentJKT}),
		}},
		{"jkt-jwt", draft{key: key, member: names(namingJWT(t, durable, key, nil, nil))}, keywright.Principal{
			Subject: "urn:jkt:sha-256:" + jkt, Credential: jkt, Expires: t0.Add(5 * time.Minute),
			Attrs: common(map[string]string{"scheme": "jkt-jwt", "jkt": agentJKT, "durable_jkt": jkt}),
		}},
		{"jwt", draft{key: key, member: shows(o.token(key, nil, claim))}, keywright.Principal{
			Issuer: o.id, Subject: claim["sub"].(string), Credential: agentJKT, Expires: t0.Add(time.Hour), Attrs: common(map[string]string{
				"scheme": "jwt", "jkt": agentJKT, "typ": "aa-agent+jwt", "jti": "t-1", "agent": claim["sub"].(string), "ps": "https://ps.example", "parent_agent": o.agent(),
			}),
		}},
		{"jwks_uri", draft{key: server.key, member: fmt.Sprintf(`jwks_uri;id=%q;dwk="aauth-person.json";kid=%q`, server.id, remoteKid)}, keywright.Principal{
			Issuer: server.id, Subject: server.id, Credential: issuerJKT, Attrs: common(map[string]string{"scheme": "jwks_uri", "jkt": issuerJKT, "dwk": "aauth-person.json"}),
		}},
		{"jwks", draft{key: o.key, member: fmt.Sprintf(`jwks;url=%q;kid=%q`, jwks, remoteKid)}, keywright.Principal{
			Subject: jwks, Credential: issuerJKT, Attrs: common(map[string]string{"scheme": "jwks", "jkt": issuerJKT}),
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := g.pass(everything, tt.d.request(t)).principal(t)
			if (string(got.Claims) != "null") != (tt.name == "jwt") {
				t.Errorf("claims %s", got.Claims)
			}
			got.Claims = nil
			tt.want.Method = keywright.MethodAgent
			if got.Method != tt.want.Method || got.Issuer != tt.want.Issuer || got.Subject != tt.want.Subject || got.Credential != tt.want.Credential ||
				!got.Expires.Equal(tt.want.Expires) || len(got.Scopes) > 0 || !maps.Equal(got.Attrs, tt.want.Attrs) {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestScopesOfTheHost(t *testing.T) {
	refused := &keywright.Error{Code: keywright.CodeDenied, Detail: "not on Sundays"}
	g := newGate(t, func(c *agentauth.VerifierConfig) {
		c.Scopes = func(_ context.Context, p keywright.Principal) ([]string, error) {
			if p.Subject == jktOf(t, seedKey("other")) {
				return nil, refused
			}
			return []string{"read"}, nil
		}
	})
	if p := g.pass(everything, draft{key: seedKey("agent")}.request(t)).principal(t); !slices.Equal(p.Scopes, []string{"read"}) {
		t.Errorf("scopes %v", p.Scopes)
	}
	g.wants("denied", everything, draft{key: seedKey("other")}.request(t))
	if refused.Header != nil {
		t.Errorf("the host's error was changed: %v", refused.Header)
	}
}
