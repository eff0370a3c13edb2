package agentauth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/store"
)

// TestWhatEndsWhileTheBodyComes has, for each thing that can end, a body that is
// whole at its last moment and one that is so a moment later.
func TestWhatEndsWhileTheBodyComes(t *testing.T) {
	key, durable := seedKey("agent"), seedKey("durable")
	o := newRemote(t, agentauth.RoleAgentProvider)
	soon := claims{"iat": t0.Unix() - 60, "exp": t0.Unix() + 30}
	tests := []struct {
		name string
		d    draft
		ends time.Duration // after t0, when it is no good any more
		code string
	}{
		{"the window of the signature", draft{}, 61 * time.Second, "invalid_signature"},
		{"the signature", draft{params: created(0) + fmt.Sprintf(";expires=%d", t0.Unix()+20)}, 21 * time.Second, "invalid_signature"},
		{"a token", draft{member: shows(o.token(key, nil, soon))}, 30 * time.Second, "expired_jwt"},
		{"a naming JWT", draft{member: names(namingJWT(t, durable, key, nil, soon))}, 30 * time.Second, "expired_jwt"},
	}
	for _, tt := range tests {
		for late, code := range map[time.Duration]string{-time.Second: "", 0: tt.code} {
			t.Run(fmt.Sprint(tt.name, late), func(t *testing.T) {
				g := newGate(t, o.trusted)
				tt.d.key, tt.d.method, tt.d.body = key, "POST", "{}"
				r := tt.d.request(t)
				r.Body = &held{r.Body.Read, func() { g.clock.advance(tt.ends + late) }}
				g.wants(code, everything, r)
				if marked := g.seen() > 0; marked != (code == "") {
					t.Errorf("a marker was written: %v", marked)
				}
			})
		}
	}
}

// held is a body that calls before once, before it is read.
type held struct {
	read   func([]byte) (int, error)
	before func()
}

func (h *held) Read(p []byte) (int, error) {
	if h.before != nil {
		h.before()
		h.before = nil
	}
	return h.read(p)
}

func (*held) Close() error { return nil }

// TestHostsThatTakeTheirTime: a request that would be remembered for less than half
// a minute is refused, since the store may take some of that.
func TestHostsThatTakeTheirTime(t *testing.T) {
	for took, code := range map[time.Duration]string{0: "", 90 * time.Second: "", 91 * time.Second: "invalid_signature", time.Hour: "invalid_signature"} {
		t.Run(took.String(), func(t *testing.T) {
			var g *gate
			g = newGate(t, func(c *agentauth.VerifierConfig) {
				c.Scopes = func(context.Context, keywright.Principal) ([]string, error) {
					g.clock.advance(took)
					return nil, nil
				}
			})
			g.wants(code, everything, draft{key: seedKey("agent"), method: "POST"}.request(t))
		})
	}
}

// TestPrincipalsOfOtherRequests: that a caller is in the context already does not
// make a replay good.
func TestPrincipalsOfOtherRequests(t *testing.T) {
	for name, p := range map[string]keywright.Principal{
		"an agent's": {Method: keywright.MethodAgent, Attrs: map[string]string{agentauth.AttrRequest: "another"}},
		"a host's":   {Method: keywright.MethodHost},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, nil)
			request := func() *http.Request {
				r := draft{key: seedKey("agent"), method: "POST"}.request(t)
				return r.WithContext(keywright.NewContext(r.Context(), p))
			}
			g.wants("", everything, request())
			g.wants("invalid_signature", everything, request())
		})
	}
}

// TestErrorsOfTheHostAreItsOwn: they are passed on as they are, whatever their code.
func TestErrorsOfTheHostAreItsOwn(t *testing.T) {
	for _, code := range []keywright.Code{keywright.CodeInvalidSignature, keywright.CodeUnsupportedScheme, keywright.CodeUnsupportedAlgorithm, keywright.CodeInvalidInput} {
		refused := &keywright.Error{Code: code}
		g := newGate(t, func(c *agentauth.VerifierConfig) {
			c.Scopes = func(context.Context, keywright.Principal) ([]string, error) { return nil, refused }
		})
		a, err := g.verifier.Authenticator(everything)
		must(t, err)
		if _, err := a.Authenticate(draft{key: seedKey("agent")}.request(t)); err != error(refused) || refused.Header != nil {
			t.Errorf("%s: got %v, and the host's error has become %+v", code, err, refused)
		}
	}
}

// TestRunnersAreNoAgents: a runner has a record as agents have, without a provider.
func TestRunnersAreNoAgents(t *testing.T) {
	g := newGate(t, nil)
	key := seedKey("runner")
	jwk, err := json.Marshal(jwk(t, key))
	must(t, err)
	r, err := agent.Record{Name: "runner-1", JWK: jwk, Scopes: []string{"run"}, Attrs: map[string]string{"os": "linux", "scheme": "x", "jkt": "x"}}.Store(jktOf(t, key), 0)
	must(t, err)
	must(t, g.store.Commit(t.Context(), store.Insert(r)))
	p := only(agentauth.SchemeHWK)
	p.Pseudonyms = false
	who := g.pass(p, draft{key: key}.request(t)).principal(t)
	_, isAgent := who.Attrs[agentauth.AttrAgent]
	if who.Subject != "runner-1" || who.Issuer != issuer || isAgent || who.Attrs["os"] != "linux" || who.Attrs["scheme"] != "hwk" || who.Attrs["jkt"] != jktOf(t, key) {
		t.Errorf("principal %+v", who)
	}
}

// TestUnsignedAnswersTellAll: what this very request needs, and which token.
func TestUnsignedAnswersTellAll(t *testing.T) {
	g := newGate(t, nil)
	unsigned := draft{key: seedKey("agent"), method: "POST", body: "{}", tamper: del("Signature", "Signature-Input", "Signature-Key")}
	tests := []struct {
		name           string
		p              agentauth.Policy
		accept, needed string
	}{
		{"a token", agentauth.Policy{CoverBody: true}, `sig=("@method" "@authority" "@path" "signature-key" "content-type" "content-digest");created`, "requirement=agent-token"},
		{"a key", only(agentauth.SchemeHWK), `sig=("@method" "@authority" "@path" "signature-key");created`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := g.pass(tt.p, unsigned.request(t))
			if got, needed := a.header.Get("Accept-Signature"), a.header.Get("AAuth-Requirement"); a.code(t) != "invalid_signature" || got != tt.accept || needed != tt.needed {
				t.Errorf("%d, Accept-Signature %s, AAuth-Requirement %q", a.status, got, needed)
			}
		})
	}
}
