package agentauth_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/keywright/keywright/agentauth"
)

// A renewing identity has one token after the other.
type renewing struct {
	tokens []string
	err    error // of getting one
	asked  int   // to renew
}

func (i *renewing) Credential(context.Context) (agentauth.Credential, error) {
	if i.err != nil {
		return agentauth.Credential{}, i.err
	}
	return agentauth.Credential{Key: seedKey("agent"), As: agentauth.SignOptions{Token: i.tokens[0]}}, nil
}

func (i *renewing) Renew(ctx context.Context, refused agentauth.Credential) (agentauth.Credential, error) {
	i.asked++
	if len(i.tokens) == 1 {
		return agentauth.Credential{}, errStore
	}
	if refused.As.Token == i.tokens[0] {
		i.tokens = i.tokens[1:]
	}
	return i.Credential(ctx)
}

func someTokens(t *testing.T, n int) *renewing {
	o := newRemote(t, agentauth.RoleAgentProvider)
	i := new(renewing)
	for range n {
		i.tokens = append(i.tokens, o.token(seedKey("agent"), nil, claims{"jti": strings.Repeat("a", 1+len(i.tokens))}))
	}
	return i
}

func TestTokensAreRenewedOnce(t *testing.T) {
	expired, revoked := refusal("error=expired_jwt"), refusal("error=revoked_jwt")
	for name, c := range map[string]struct {
		tokens  int
		replies []reply
		sent    []int // which token
		status  int   // 0: an error
	}{
		"expired":            {2, []reply{expired}, []int{0, 1}, 200},
		"revoked":            {2, []reply{revoked}, []int{0, 1}, 200},
		"expired, twice":     {3, []reply{expired, expired}, []int{0, 1}, 401},
		"expired, no other":  {1, []reply{expired}, []int{0}, 0},
		"expired at success": {2, []reply{{200, expired.header}}, []int{0}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			identity := someTokens(t, c.tokens)
			all := slices.Clone(identity.tokens)
			s := &stage{replies: c.replies}
			resp, err := signingTransport(t, s, func(tc *agentauth.TransportConfig) { tc.Identity = identity }).RoundTrip(clientRequest(t, "GET", "https://resource.example/a", ""))
			if challenged, ok := errors.AsType[*agentauth.ChallengeError](err); c.status == 0 && (!ok || !errors.Is(challenged, errStore)) || c.status != 0 && (err != nil || resp.StatusCode != c.status) {
				t.Errorf("%v, %v", resp, err)
			}
			var sent []int
			for _, r := range s.seen {
				sent = append(sent, slices.Index(all, strings.Split(r.Header.Get("Signature-Key"), `"`)[1]))
			}
			if !slices.Equal(sent, c.sent) {
				t.Errorf("sent %v, want %v", sent, c.sent)
			}
		})
	}
}

// A turncoat is another agent whenever it is asked, so that challenges are answered
// without a person server: what was shown is of no use any more.
type turncoat struct {
	all []agentauth.Credential
	n   int
}

func (c *turncoat) Credential(context.Context) (agentauth.Credential, error) {
	c.n++
	return c.all[c.n%len(c.all)], nil
}

func (c *turncoat) Renew(ctx context.Context, _ agentauth.Credential) (agentauth.Credential, error) {
	return c.Credential(ctx)
}

// TestARequestIsSentSixTimes at most, whatever a server says, of which three are
// for challenges.
func TestARequestIsSentSixTimes(t *testing.T) {
	o := newRemote(t, agentauth.RoleAgentProvider)
	var all []agentauth.Credential
	for _, key := range []ed25519.PrivateKey{seedKey("one"), seedKey("two"), seedKey("three")} {
		all = append(all, agentauth.Credential{Key: key, As: agentauth.SignOptions{Token: o.token(key, nil, nil)}})
	}
	wants := func(scope string) reply {
		token := compact(t, seedKey("resource"), claims{"typ": "aa-resource+jwt", "alg": "Ed25519"}, claims{"scope": scope})
		return reply{401, http.Header{"Aauth-Requirement": {`requirement=auth-token; resource-token="` + token + `"`}}}
	}
	person := reply{401, http.Header{"Aauth-Requirement": {"requirement=person-token"}}}
	codes := []reply{
		refusal("error=expired_jwt"), refusal("error=revoked_jwt"), refusal("error=invalid_signature"),
		refusal(`error=invalid_input, required_input=("@query")`), refusal("error=expired_jwt"),
	}
	for name, c := range map[string]struct {
		replies []reply
		sent    int
	}{
		"challenges":           {[]reply{person, wants("a"), wants("b"), wants("c"), wants("d")}, 4},
		"challenges and codes": {slices.Concat([]reply{person, wants("a"), wants("b")}, codes), 6},
		"codes alone":          {codes, 5},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, err := agentauth.NewPersonServer(agentauth.PersonServerConfig{})
				must(t, err)
				s := &stage{replies: c.replies}
				transport := signingTransport(t, s, func(tc *agentauth.TransportConfig) { tc.Identity, tc.Person = &turncoat{all: all}, p })
				resp, err := transport.RoundTrip(clientRequest(t, "GET", "https://resource.example/a", ""))
				if err != nil || resp.StatusCode != 401 || len(s.seen) != c.sent {
					t.Errorf("%v, %d sent, want %d", err, len(s.seen), c.sent)
				}
			})
		})
	}
}
