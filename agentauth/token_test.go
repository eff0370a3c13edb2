package agentauth_test

import (
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/store"
)

// TestAgentTokens has, for each check of an agent token, one that differs from a
// good one in nothing else.
func TestAgentTokens(t *testing.T) {
	key, other := seedKey("agent"), seedKey("other")
	o := newRemote(t, agentauth.RoleAgentProvider)
	cnf := func(changes claims) claims {
		return claims{"cnf": claims{"jwk": claims(jwk(t, key)).with(changes)}}
	}
	at := func(iat, exp time.Duration) claims {
		return claims{"iat": t0.Add(iat).Unix(), "exp": t0.Add(exp).Unix()}
	}
	sub := func(id string) claims { return claims{"sub": id} }
	elsewhere := "aauth:app@elsewhere.example"
	tests := []struct {
		name            string
		header, changes claims
		code            string
	}{
		{"a good one", nil, nil, ""},
		{"no typ", claims{"typ": nil}, nil, "invalid_jwt"},
		{"typ JWT", claims{"typ": "JWT"}, nil, "invalid_jwt"},
		{"typ in upper case", claims{"typ": "AA-AGENT+JWT"}, nil, "invalid_jwt"},
		{"typ as a media type", claims{"typ": "application/aa-agent+jwt"}, nil, "invalid_jwt"},
		{"a person token", claims{"typ": "aa-person+jwt"}, nil, "invalid_jwt"},
		{"an auth token", claims{"typ": "aa-auth+jwt"}, nil, "invalid_jwt"},
		{"a resource token", claims{"typ": "aa-resource+jwt"}, nil, "invalid_jwt"},
		{"no alg", claims{"alg": nil}, nil, "unsupported_algorithm"},
		{"alg none", claims{"alg": "none"}, nil, "unsupported_algorithm"},
		{"alg HS256", claims{"alg": "HS256"}, nil, "unsupported_algorithm"},
		{"alg RS256", claims{"alg": "RS256"}, nil, "unsupported_algorithm"},
		{"alg EdDSA", claims{"alg": "EdDSA"}, nil, "unsupported_algorithm"},
		{"alg of another key", claims{"alg": "ES256"}, nil, "invalid_jwt"},
		{"no kid", claims{"kid": nil}, nil, "invalid_jwt"},
		{"kid is a number", claims{"kid": 1}, nil, "invalid_jwt"},
		{"crit", claims{"crit": []string{"x"}, "x": 1}, nil, "invalid_jwt"},
		{"jwk", claims{"jwk": jwk(t, o.key)}, nil, "invalid_jwt"},
		{"jku", claims{"jku": o.id + "/jwks.json"}, nil, "invalid_jwt"},
		{"no iss", nil, claims{"iss": nil}, "invalid_jwt"},
		{"iss with a slash", nil, claims{"iss": o.id + "/"}, "invalid_jwt"},
		{"iss in a list", nil, claims{"iss": []string{o.id}}, "invalid_jwt"},
		{"an issuer that is not trusted", nil, claims{"iss": "https://elsewhere.example", "sub": elsewhere}, "invalid_key"},
		{"no dwk", nil, claims{"dwk": nil}, "invalid_jwt"},
		{"dwk of another role", nil, claims{"dwk": "aauth-person.json"}, "invalid_jwt"},
		{"dwk is a path", nil, claims{"dwk": "../aauth-agent.json"}, "invalid_jwt"},
		{"no sub", nil, claims{"sub": nil}, "invalid_jwt"},
		{"sub is null", nil, claims{"sub": null}, "invalid_jwt"},
		{"sub is no agent", nil, sub("app"), "invalid_jwt"},
		{"sub of another domain", nil, sub(elsewhere), "invalid_jwt"},
		{"no jti", nil, claims{"jti": nil}, "invalid_jwt"},
		{"an empty jti", nil, claims{"jti": ""}, "invalid_jwt"},
		{"a jti of 1,024 bytes", nil, claims{"jti": strings.Repeat("j", 1024)}, ""},
		{"a jti of 1,025 bytes", nil, claims{"jti": strings.Repeat("j", 1025)}, "invalid_jwt"},
		{"no iat", nil, claims{"iat": nil}, "invalid_jwt"},
		{"iat with a fraction", nil, claims{"iat": json.RawMessage(fmt.Sprintf("%d.5", t0.Unix()))}, ""},
		{"iat 60 s ahead", nil, at(time.Minute, time.Hour), ""},
		{"iat 61 s ahead", nil, at(61*time.Second, time.Hour), "clock_skew"},
		{"no exp", nil, claims{"exp": nil}, "invalid_jwt"},
		{"exp is a string", nil, claims{"exp": "9999999999"}, "invalid_jwt"},
		{"exp is huge", nil, claims{"exp": json.RawMessage("1e300")}, "invalid_jwt"},
		{"exp at the end of time", nil, claims{"exp": json.RawMessage("9007199254740992")}, "invalid_jwt"},
		{"exp a second ahead", nil, at(-time.Hour, time.Second), ""},
		{"exp now", nil, at(-time.Hour, 0), "expired_jwt"},
		{"exp a second ago", nil, at(-time.Hour, -time.Second), "expired_jwt"},
		{"exp at iat", nil, at(time.Minute, time.Minute), "invalid_jwt"},
		{"a life of a day", nil, at(0, 24*time.Hour), ""},
		{"a life of more", nil, at(0, 24*time.Hour+time.Second), "invalid_jwt"},
		{"ps", nil, claims{"ps": "https://ps.example"}, ""},
		{"ps is no server", nil, claims{"ps": "ps.example"}, "invalid_jwt"},
		{"an empty ps", nil, claims{"ps": ""}, "invalid_jwt"},
		{"a sub-agent", nil, claims{"parent_agent": o.agent()}, ""},
		{"parent_agent is no agent", nil, claims{"parent_agent": "app"}, "invalid_jwt"},
		{"parent_agent of another domain", nil, claims{"parent_agent": elsewhere}, "invalid_jwt"},
		{"further claims", nil, claims{"x": claims{"y": 1}, "aud": "https://elsewhere.example"}, ""},
		{"no cnf", nil, claims{"cnf": nil}, "invalid_jwt"},
		{"cnf is a string", nil, claims{"cnf": "x"}, "invalid_jwt"},
		{"cnf without jwk", nil, claims{"cnf": claims{"jkt": jktOf(t, key)}}, "invalid_jwt"},
		{"cnf of another key", nil, claims{"cnf": claims{"jwk": jwk(t, other)}}, "invalid_signature"},
		{"cnf without alg", nil, cnf(claims{"alg": nil}), "unsupported_algorithm"},
		{"cnf with alg EdDSA", nil, cnf(claims{"alg": "EdDSA"}), "unsupported_algorithm"},
		{"cnf with alg of another key", nil, cnf(claims{"alg": "ES256"}), "invalid_key"},
		{"cnf of another crv", nil, cnf(claims{"crv": "X25519"}), "unsupported_algorithm"},
		{"cnf with a short x", nil, cnf(claims{"x": "AAAA"}), "invalid_key"},
		{"a private cnf", nil, cnf(claims{"d": "AAAA"}), "invalid_key"},
		{"a symmetric cnf", nil, cnf(claims{"kty": "oct", "k": "AAAA"}), "unsupported_algorithm"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGate(t, o.trusted)
			d := draft{key: key, member: shows(o.token(key, tt.header, tt.changes))}
			g.wants(tt.code, everything, d.request(t))
			g.wants(tt.code, everything, d.request(t)) // a token that was seen before is no better
		})
	}
}

func TestTokensThatAreNone(t *testing.T) {
	key := seedKey("agent")
	o := newRemote(t, agentauth.RoleAgentProvider)
	good := o.token(key, nil, nil)
	head, rest, _ := strings.Cut(good, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	twice := strings.Replace(string(mustJSON(t, o.claims(key))), "{", `{"sub":"aauth:victim@127.0.0.1",`, 1)
	tests := []struct {
		name  string
		token string
		code  string
	}{
		{"signed by another key", compact(t, seedKey("other"), agentHeader, o.claims(key)), "invalid_jwt"},
		{"the signature of another token", head + "." + payload + "." + b64.EncodeToString(make([]byte, 64)), "invalid_jwt"},
		{"no signature", head + "." + payload + ".", "invalid_jwt"},
		{"two parts", head + "." + payload, "invalid_jwt"},
		{"four parts", good + ".AA", "invalid_jwt"},
		{"empty", "", "invalid_jwt"},
		{"padding", good + "=", "invalid_jwt"},
		{"a spare bit", head + "." + payload + "." + signature[:85] + "R", "invalid_jwt"},
		{"longer than 8 KiB", o.token(key, nil, claims{"x": strings.Repeat("x", 8<<10)}), "invalid_jwt"},
		{"a claim twice", compactText(t, o.key, string(mustJSON(t, agentHeader)), twice), "invalid_jwt"},
		{"a header member twice", compactText(t, o.key, `{"alg":"none","alg":"Ed25519","typ":"aa-agent+jwt","kid":"key-1"}`, string(mustJSON(t, o.claims(key)))), "invalid_jwt"},
		{"claims that are a list", compactText(t, o.key, string(mustJSON(t, agentHeader)), "[]"), "invalid_jwt"},
	}
	g := newGate(t, o.trusted)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { g.wants(tt.code, everything, draft{key: key, member: shows(tt.token)}.request(t)) })
	}
	for _, member := range []string{"jwt", "jwt;jwt", "jwt;jwt=1", "jwt;token=\"x\""} {
		t.Run(member, func(t *testing.T) {
			g.wants("invalid_signature", everything, draft{key: key, member: member}.request(t))
		})
	}
	if g.verifier.Remembered() != 0 {
		t.Errorf("%d tokens are remembered", g.verifier.Remembered())
	}
}

func mustJSON(tb testing.TB, v any) []byte {
	tb.Helper()
	text, err := json.Marshal(v)
	must(tb, err)
	return text
}

// TestTokensOfOurOwn are those of a provider on this server: what its store says
// counts at once.
func TestTokensOfOurOwn(t *testing.T) {
	key := seedKey("agent")
	newAgent := func(t *testing.T) (*world, *gate, func() draft) {
		w := newWorld(t, worldConfig{})
		token := w.enroll(key, `{"agent_id":"aauth:app@ap.example"}`)
		return w, &gate{tb: t, verifier: w.verifier, store: w.store}, func() draft { return draft{key: key, member: shows(token)} }
	}
	t.Run("is known", func(t *testing.T) {
		_, g, d := newAgent(t)
		for range 2 {
			p := g.pass(everything, d().request(t)).principal(t)
			if p.Subject != "aauth:app@ap.example" || p.Issuer != issuer || p.Attrs["agent"] != p.Subject {
				t.Errorf("principal %+v", p)
			}
		}
	})
	t.Run("revoked", func(t *testing.T) {
		w, g, d := newAgent(t)
		p := g.pass(everything, d().request(t)).principal(t)
		must(t, w.store.Commit(t.Context(), store.Insert(store.Record{Kind: agentauth.KindRevoked, ID: store.ID(issuer, p.Attrs["jti"]), Data: []byte("{}")})))
		g.wants("revoked_jwt", everything, d().request(t))
		amend(t, w.store, key, disabled)
		g.wants("revoked_jwt", everything, d().request(t)) // the step before the 403
	})
	t.Run("of an agent that is disabled", func(t *testing.T) {
		w, g, d := newAgent(t)
		amend(t, w.store, key, disabled)
		g.wants("denied", everything, d().request(t))
	})
	t.Run("of an agent that is gone", func(t *testing.T) {
		w, g, d := newAgent(t)
		records, err := w.store.Get(t.Context(), agent.Key(jktOf(t, key)))
		must(t, err)
		must(t, w.store.Commit(t.Context(), store.Delete(records[0])))
		g.wants("denied", everything, d().request(t))
	})
	t.Run("of a key that is another agent's now", func(t *testing.T) {
		w, g, d := newAgent(t)
		g.wants("", everything, d().request(t))
		amend(t, w.store, key, func(a *agent.Record) { a.Name = "aauth:other@ap.example" })
		g.wants("denied", everything, d().request(t))
	})
	t.Run("of an identifier that nobody has", func(t *testing.T) {
		w, g, d := newAgent(t)
		records, err := w.store.Get(t.Context(), store.Key{Kind: agentauth.KindAgentID, ID: store.ID("aauth:app@ap.example")})
		must(t, err)
		must(t, w.store.Commit(t.Context(), store.Delete(records[0])))
		g.wants("denied", everything, d().request(t))
		if n := w.verifier.Remembered(); n != 0 {
			t.Errorf("%d tokens are remembered", n)
		}
	})
	t.Run("by a key that is not published", func(t *testing.T) {
		_, _, d := newAgent(t)
		elsewhere := newWorld(t, worldConfig{}) // with other keys, and without the agent
		g := &gate{tb: t, verifier: elsewhere.verifier}
		g.wants("unknown_key", everything, d().request(t))
	})
}

// amend changes the record of the agent with key.
func amend(tb testing.TB, st store.Store, key crypto.Signer, change func(*agent.Record)) {
	tb.Helper()
	records, err := st.Get(context.Background(), agent.Key(jktOf(tb, key)))
	must(tb, err)
	a, err := agent.Read(records[0])
	must(tb, err)
	change(&a)
	r, err := a.Store(records[0].ID, records[0].Version)
	must(tb, err)
	must(tb, st.Commit(context.Background(), store.Replace(r)))
}

func disabled(a *agent.Record) { a.Disabled = true }
