package agentauth_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
)

func TestFixedIdentityIsChecked(t *testing.T) {
	key := seedKey("agent")
	for name, c := range map[string]struct {
		key crypto.Signer
		as  agentauth.SignOptions
		ok  bool
	}{
		"a pseudonym":            {key, agentauth.SignOptions{}, true},
		"a published key":        {key, agentauth.SignOptions{Server: "https://a.example", Role: agentauth.RoleAgentProvider, KeyID: "a"}, true},
		"no key":                 {nil, agentauth.SignOptions{}, false},
		"two ways":               {key, agentauth.SignOptions{Token: "a.b.c", URL: "https://a.example", KeyID: "a"}, false},
		"half a way":             {key, agentauth.SignOptions{URL: "https://a.example"}, false},
		"no token":               {key, agentauth.SignOptions{Token: "a b"}, false},
		"to rekey without a key": {key, agentauth.SignOptions{Rekey: true}, false},
	} {
		if _, err := agentauth.FixedIdentity(c.key, c.as); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCredentialsAreCheckedWhenTheyChange: a key that was checked is not taken for
// another, nor for itself with another word for it.
func TestCredentialsAreCheckedWhenTheyChange(t *testing.T) {
	s := new(stage)
	identity := &changing{}
	transport := signingTransport(t, s, func(c *agentauth.TransportConfig) { c.Identity = identity })
	one, other := seedKey("one"), newP256(t)
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	for i, c := range []struct {
		key  crypto.Signer
		as   agentauth.SignOptions
		want string // in Signature-Key; "": an error
	}{
		{one, agentauth.SignOptions{}, hwk(t, one)},
		{one, agentauth.SignOptions{}, hwk(t, one)},
		{other, agentauth.SignOptions{}, hwk(t, other)},
		{one, agentauth.SignOptions{}, hwk(t, one)},
		{one, agentauth.SignOptions{Token: "a.b.c"}, `jwt;jwt="a.b.c"`},
		{one, agentauth.SignOptions{Token: "a.b.d"}, `jwt;jwt="a.b.d"`},
		{other, agentauth.SignOptions{Token: "a.b.d"}, `jwt;jwt="a.b.d"`},
		{one, agentauth.SignOptions{URL: "https://a.example/k", KeyID: "a"}, `jwks;url="https://a.example/k";kid="a"`},
		{one, agentauth.SignOptions{URL: "https://a.example/k", KeyID: "b"}, `jwks;url="https://a.example/k";kid="b"`},
		{one, agentauth.SignOptions{URL: "https://b.example/k", KeyID: "b"}, `jwks;url="https://b.example/k";kid="b"`},
		{one, agentauth.SignOptions{Server: "https://a.example", Role: "aauth-agent.json", KeyID: "a"}, `jwks_uri;id="https://a.example";dwk="aauth-agent.json";kid="a"`},
		{one, agentauth.SignOptions{Server: "https://a.example", Role: "aauth-person.json", KeyID: "a"}, `jwks_uri;id="https://a.example";dwk="aauth-person.json";kid="a"`},
		{one, agentauth.SignOptions{Server: "https://b.example", Role: "aauth-person.json", KeyID: "a"}, `jwks_uri;id="https://b.example";dwk="aauth-person.json";kid="a"`},
		{one, agentauth.SignOptions{}, hwk(t, one)},
		{one, agentauth.SignOptions{Durable: other}, `jkt-jwt;jwt="`},
		{other, agentauth.SignOptions{Durable: one}, `jkt-jwt;jwt="`},
		{other, agentauth.SignOptions{}, hwk(t, other)},
		{weak, agentauth.SignOptions{}, ""},
		{nil, agentauth.SignOptions{}, ""},
		{one, agentauth.SignOptions{Token: `a"b`}, ""},
		{one, agentauth.SignOptions{URL: "https://a.example/\u00e9", KeyID: "a"}, ""},
		{one, agentauth.SignOptions{URL: "https://a.example/k", KeyID: "a\nb"}, ""},
	} {
		identity.now = agentauth.Credential{Key: c.key, As: c.as}
		_, err := transport.RoundTrip(clientRequest(t, "GET", "https://resource.example/a", ""))
		if c.want == "" {
			if err == nil {
				t.Errorf("%d: signed", i)
			}
			continue
		}
		must(t, err)
		if got := s.seen[len(s.seen)-1].Header.Get("Signature-Key"); !strings.HasPrefix(got, "sig="+c.want) {
			t.Errorf("%d: %s, want %s", i, got, c.want)
		}
	}
}

// A changing identity has what a test gives it.
type changing struct{ now agentauth.Credential }

func (c *changing) Credential(context.Context) (agentauth.Credential, error) { return c.now, nil }
func (c *changing) Renew(context.Context, agentauth.Credential) (agentauth.Credential, error) {
	return agentauth.Credential{}, errStore
}

// TestNamingJWTsAreNotShownTwice, since servers may remember them.
func TestNamingJWTsAreNotShownTwice(t *testing.T) {
	s := new(stage)
	identity, err := agentauth.FixedIdentity(seedKey("agent"), agentauth.SignOptions{Durable: seedKey("durable")})
	must(t, err)
	transport := signingTransport(t, s, func(c *agentauth.TransportConfig) { c.Identity = identity })
	for range 2 {
		_, err := transport.RoundTrip(clientRequest(t, "GET", "https://resource.example/a", ""))
		must(t, err)
	}
	if s.seen[0].Header.Get("Signature-Key") == s.seen[1].Header.Get("Signature-Key") {
		t.Error("the same twice")
	}
}

// A far key is one of a service elsewhere, which takes its time.
type farKey struct{ crypto.Signer }

func (k farKey) SignContext(ctx context.Context, random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestKeysElsewhereAreAskedWithTheContext(t *testing.T) {
	far, err := keystore.FromSigner("", farKey{seedKey("far")})
	must(t, err)
	for name, c := range map[string]agentauth.Credential{
		"the key":     {Key: far},
		"the durable": {Key: seedKey("agent"), As: agentauth.SignOptions{Durable: far}},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		r := clientRequest(t, "GET", "https://resource.example/a", "").WithContext(ctx)
		transport := signingTransport(t, new(stage), func(tc *agentauth.TransportConfig) { tc.Identity = &changing{c} })
		if _, err := transport.RoundTrip(r); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestASelfIssuerIsAnIdentity(t *testing.T) {
	w := newWorld(t, worldConfig{})
	self, err := agentauth.NewSelfIssuer(agentauth.SelfIssuerConfig{Host: w.host, Keys: w.keys, Agent: "service"})
	must(t, err)
	var shown []string
	next := roundTripper(func(r *http.Request) (*http.Response, error) {
		shown = append(shown, r.Header.Get("Signature-Key"))
		return nowhere(r)
	})
	transport := signingTransport(t, next, func(c *agentauth.TransportConfig) { c.Identity, c.Now = self, w.clock.Now })
	send := func() {
		_, err := transport.RoundTrip(clientRequest(t, "GET", "https://resource.example/a", ""))
		must(t, err)
	}
	send()
	send()
	cred, err := self.Credential(t.Context())
	must(t, err)
	renewed, err := self.Renew(t.Context(), cred)
	must(t, err)
	again, err := self.Renew(t.Context(), cred) // refused long since
	must(t, err)
	send()
	w.clock.advance(cred.Expires.Sub(w.clock.Now()) - 5*time.Minute)
	send()
	if shown[0] != shown[1] || shown[1] == shown[2] || shown[2] == shown[3] || renewed.As.Token != again.As.Token || !strings.Contains(shown[2], renewed.As.Token) {
		t.Errorf("tokens: %q", shown)
	}
}
