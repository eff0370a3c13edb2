package agentauth_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
)

// byServer is a draft that o signs in its own right.
func (o *remote) byServer(id string, role agentauth.Role, kid string) draft {
	return draft{key: o.key, member: fmt.Sprintf(`jwks_uri;id=%q;dwk=%q;kid=%q`, id, role, kid)}
}

// byURL is a draft by scheme jwks.
func (o *remote) byURL(url, kid string) draft {
	return draft{key: o.key, member: fmt.Sprintf(`jwks;url=%q;kid=%q`, url, kid)}
}

// by is a draft of o's, or of an agent of o's with scheme jwt.
func (o *remote) by(t *testing.T, scheme string) draft {
	t.Helper()
	switch scheme {
	case "jwks_uri":
		return o.byServer(o.id, o.role, remoteKid)
	case "jwks":
		return o.byURL(o.id+"/jwks.json", remoteKid)
	}
	agent := seedKey("agent")
	return draft{key: agent, member: shows(o.token(agent, nil, nil))}
}

// ways are those schemes with which a server's metadata lead to a key.
var ways = []string{"jwks_uri", "jwt"}

// TestDiscovery has what servers may publish, and what becomes of their
// signatures and tokens.
func TestDiscovery(t *testing.T) {
	other := claims(jwk(t, seedKey("other"))).with(claims{"kid": "other"})
	key := func(o *remote, changes claims) claims {
		return claims(jwk(t, o.key)).with(claims{"kid": remoteKid}).with(changes)
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "{}", code) }
	}
	text := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(s)) }
	}
	const jwks, redirects = "/jwks.json", "/elsewhere.json"
	tests := []struct {
		name string
		make func(*remote)
		code string
	}{
		{"as it should be", func(*remote) {}, ""},
		{"no metadata", func(o *remote) { o.does(o.metadataPath(), nil) }, "unknown_key"},
		{"metadata that are HTML", func(o *remote) { o.does(o.metadataPath(), text("<html>")) }, "unknown_key"},
		{"no issuer", func(o *remote) { o.says(o.metadataPath(), claims{"jwks_uri": o.id + jwks}) }, "issuer_missing"},
		{"an issuer that is no string", func(o *remote) { o.says(o.metadataPath(), claims{"issuer": 1, "jwks_uri": o.id + jwks}) }, "issuer_missing"},
		{"another issuer", func(o *remote) {
			o.says(o.metadataPath(), claims{"issuer": "https://elsewhere.example", "jwks_uri": o.id + jwks})
		}, "issuer_mismatch"},
		{"an issuer with a slash", func(o *remote) { o.says(o.metadataPath(), claims{"issuer": o.id + "/", "jwks_uri": o.id + jwks}) }, "issuer_mismatch"},
		{"no jwks_uri", func(o *remote) { o.says(o.metadataPath(), claims{"issuer": o.id}) }, "unknown_key"},
		{"metadata elsewhere", func(o *remote) {
			doc := claims{"issuer": o.id, "jwks_uri": o.id + jwks}
			o.says(redirects, doc)
			o.does(o.metadataPath(), http.RedirectHandler(redirects, http.StatusFound).ServeHTTP)
		}, "unknown_key"},
		{"no keys", func(o *remote) { o.does(jwks, nil) }, "unknown_key"},
		{"trouble", func(o *remote) { o.does(jwks, status(500)) }, "unknown_key"},
		{"keys with status 404", func(o *remote) { o.does(jwks, status(404)) }, "unknown_key"},
		{"HTML", func(o *remote) { o.does(jwks, text("<html>")) }, "unknown_key"},
		{"an empty set", func(o *remote) { o.publishes() }, "unknown_key"},
		{"64 MiB", func(o *remote) { o.does(jwks, text(`{"keys":[`+strings.Repeat(" ", 64<<20)+"]}")) }, "unknown_key"},
		{"100,000 keys", func(o *remote) { o.does(jwks, text(`{"keys":[{}`+strings.Repeat(",{}", 100_000)+"]}")) }, "unknown_key"},
		{"a key of another id", func(o *remote) { o.publishes(other) }, "unknown_key"},
		{"a key without id", func(o *remote) { o.publishes(key(o, claims{"kid": nil}), other) }, "unknown_key"},
		{"an unknown kty beside it", func(o *remote) {
			o.publishes(claims{"kty": "AKP", "alg": "ML-DSA-44", "kid": "pq-1", "pub": "AAAA"}, key(o, nil))
		}, ""},
		{"a key without alg", func(o *remote) { o.publishes(key(o, claims{"alg": nil})) }, "unsupported_algorithm"},
		{"a key with alg EdDSA", func(o *remote) { o.publishes(key(o, claims{"alg": "EdDSA"})) }, "unsupported_algorithm"},
		{"a key for encryption", func(o *remote) { o.publishes(key(o, claims{"use": "enc"})) }, "unknown_key"},
		{"a private key", func(o *remote) { o.publishes(key(o, claims{"d": "AAAA"})) }, "unknown_key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newRemote(t, agentauth.RoleAgentProvider)
			tt.make(o)
			for _, way := range ways {
				g := newGate(t, o.trusted)
				began := time.Now()
				a := g.pass(everything, o.by(t, way).request(t))
				if got := a.code(t); got != tt.code {
					t.Errorf("%s: got %q (%s), want %q", way, got, g.cause(), tt.code)
				}
				if took := time.Since(began); took > 5*time.Second {
					t.Errorf("%s: took %v", way, took)
				}
			}
		})
	}
}

// TestKeysOfOneID: a server's own signature is by one key, an issuer's token by
// any of those that it gives one id.
func TestKeysOfOneID(t *testing.T) {
	o := newRemote(t, agentauth.RoleAgentProvider)
	o.publishes(claims(jwk(t, seedKey("other"))).with(claims{"kid": remoteKid}), claims(jwk(t, o.key)).with(claims{"kid": remoteKid}))
	for way, code := range map[string]string{"jwks_uri": "invalid_key", "jwks": "invalid_key", "jwt": ""} {
		t.Run(way, func(t *testing.T) { newGate(t, o.trusted).wants(code, everything, o.by(t, way).request(t)) })
	}
}

// TestNothingIsFetchedForStrangers is for AGT-49 and for all who are not trusted.
func TestNothingIsFetchedForStrangers(t *testing.T) {
	o := newRemote(t, agentauth.RoleAgentProvider)
	agent := seedKey("agent")
	strict := func(c *agentauth.VerifierConfig) {
		o.trusted(c)
		c.Profile.Network.Development = false
		c.Profile.Network.AllowNetworks = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		c.Trust = func(string, agentauth.Role) bool { return true }
	}
	nobody := func(c *agentauth.VerifierConfig) {
		o.trusted(c)
		c.Trust = nil
	}
	roles := func(c *agentauth.VerifierConfig) {
		o.trusted(c)
		c.Trust = func(_ string, role agentauth.Role) bool { return role == agentauth.RoleResource }
	}
	port := o.id[strings.LastIndexByte(o.id, ':'):]
	type test struct {
		name string
		edit func(*agentauth.VerifierConfig)
		d    draft
		code string
	}
	tests := []test{
		{"no one is trusted: jwks_uri", nobody, o.byServer(o.id, o.role, remoteKid), "invalid_key"},
		{"no one is trusted: jwt", nobody, draft{key: agent, member: shows(o.token(agent, nil, nil))}, "invalid_key"},
		{"no one is trusted: jwks", nobody, o.byURL(o.id+"/jwks.json", remoteKid), "invalid_key"},
		{"trusted in another role: jwks_uri", roles, o.byServer(o.id, o.role, remoteKid), "invalid_key"},
		{"trusted in another role: jwt", roles, draft{key: agent, member: shows(o.token(agent, nil, nil))}, "invalid_key"},
		{"trusted in another role: jwks", roles, o.byURL(o.id+"/jwks.json", remoteKid), "invalid_key"},
		{"a token whose claims are bad", o.trusted, draft{key: agent, member: shows(o.token(agent, nil, claims{"jti": nil}))}, "invalid_jwt"},
		{"a token that has expired", o.trusted, draft{key: agent, member: shows(o.token(agent, nil, claims{"iat": t0.Unix() - 3600, "exp": t0.Unix()}))}, "expired_jwt"},
		{"no kid: jwks_uri", o.trusted, draft{key: o.key, member: fmt.Sprintf(`jwks_uri;id=%q;dwk=%q`, o.id, o.role)}, "invalid_key"},
		{"no kid: jwks", o.trusted, draft{key: o.key, member: fmt.Sprintf(`jwks;url=%q`, o.id+"/jwks.json")}, "invalid_key"},
		{"no dwk", o.trusted, draft{key: o.key, member: fmt.Sprintf(`jwks_uri;id=%q;kid="key-1"`, o.id)}, "invalid_key"},
		{"a dwk that is none", o.trusted, o.byServer(o.id, "example-configuration", remoteKid), "invalid_key"},
		{"a dwk that is a path", o.trusted, o.byServer(o.id, "../aauth-agent.json", remoteKid), "invalid_key"},
		{"no id", o.trusted, draft{key: o.key, member: `jwks_uri;dwk="aauth-agent.json";kid="key-1"`}, "invalid_key"},
		{"no url", o.trusted, draft{key: o.key, member: `jwks;kid="key-1"`}, "invalid_key"},
		{"url over http", strict, o.byURL("http://localhost"+port+"/jwks.json", remoteKid), "invalid_key"},
		{"url with userinfo", strict, o.byURL("https://u@localhost"+port+"/jwks.json", remoteKid), "invalid_key"},
		{"url that is none", strict, o.byURL("jwks.json", remoteKid), "invalid_key"},
	}
	for _, id := range []string{
		"", "http://localhost" + port, o.id, "https://localhost" + port, "https://client.example/x", "https://client.example/", "https://client.example?x", "https://client.example#x",
		"https://u@client.example", "https://127.0.0.1", "https://[::1]", "https://CLIENT.example", "https://client.example.", "https://clïent.example", "https://", "https://127.1",
		"https://2130706433", "https://0x7f.1", "client.example",
	} {
		code := "invalid_key"
		if strings.Contains(id, "ï") { // no string of a structured field
			code = "invalid_signature"
		}
		tests = append(tests, test{"AGT-49 id " + id, strict, o.byServer(id, o.role, remoteKid), code})
		iss := draft{key: agent, member: shows(o.token(agent, nil, claims{"iss": id}))}
		tests = append(tests, test{"AGT-49 iss " + id, strict, iss, "invalid_jwt"})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			newGate(t, tt.edit).wants(tt.code, everything, tt.d.request(t))
			if n := o.fetches(""); n != 0 {
				t.Errorf("%d fetches", n)
			}
		})
	}
}

// TestKeysOnAnotherHost: an issuer may not send us elsewhere unless the host says so.
func TestKeysOnAnotherHost(t *testing.T) {
	o, elsewhere := newRemote(t, agentauth.RoleAgentProvider), newRemote(t, agentauth.RoleAgentProvider)
	keys := elsewhere.id + "/jwks.json"
	o.says(o.metadataPath(), claims{"issuer": o.id, "jwks_uri": keys})
	asked := ""
	for allowed, code := range map[bool]string{false: "unknown_key", true: ""} {
		for _, way := range ways {
			edit := func(c *agentauth.VerifierConfig) {
				o.trusted(c)
				c.Profile.Network.RootCAs.AddCert(elsewhere.srv.Certificate())
				c.KeyHost = func(issuer, uri string) bool {
					asked = issuer + " " + uri
					return allowed
				}
			}
			newGate(t, edit).wants(code, everything, o.by(t, way).request(t))
			if asked != o.id+" "+keys {
				t.Errorf("%s: KeyHost was asked of %q", way, asked)
			}
		}
		if n := elsewhere.fetches(""); allowed == (n == 0) {
			t.Errorf("allowed %v: %d fetches", allowed, n)
		}
		elsewhere.fetched = make(map[string]int)
	}
	newGate(t, func(c *agentauth.VerifierConfig) {
		o.trusted(c)
		c.Profile.Network.RootCAs.AddCert(elsewhere.srv.Certificate())
	}).wants("unknown_key", everything, o.byServer(o.id, o.role, remoteKid).request(t))
}
