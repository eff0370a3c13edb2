package agentauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/keywright/keywright/internal/apicall"
	"github.com/keywright/keywright/internal/egress"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/internal/strictjson"
)

// verify checks the signature of a token by the keys that its issuer publishes on
// its own origin. They are kept, and looked for again at most once a minute.
func (p *PersonServer) verify(ctx context.Context, parsed *jose.Token, issuer string, role Role) error {
	set, err := p.keys.Get(issuer+" "+string(role), func() *egress.KeySet {
		return egress.NewKeySet(p.remote.now, func(ctx context.Context) (egress.Document, error) { return p.fetchKeys(ctx, issuer, role) })
	})
	if err != nil {
		return err
	}
	keys, err := set.Keys(ctx, parsed.KeyID())
	if err != nil {
		return fmt.Errorf("keys of %s: %w", issuer, err)
	}
	_, err = parsed.Verify(keys...)
	if errors.Is(err, jose.ErrSignature) {
		if newer := set.Newer(ctx, parsed.KeyID(), keys); len(newer) > 0 {
			_, err = parsed.Verify(newer...)
		}
	}
	if err != nil {
		return fmt.Errorf("not signed by %s", issuer)
	}
	set.Proven()
	return nil
}

func (p *PersonServer) fetchKeys(ctx context.Context, issuer string, role Role) (egress.Document, error) {
	m, err := p.remote.metadata(ctx, issuer, role)
	if err != nil {
		return egress.Document{}, err
	}
	uri, err := p.remote.endpoint(m, "jwks_uri")
	if err != nil {
		return egress.Document{}, err
	}
	if originOf(uri) != issuer {
		return egress.Document{}, errors.New("metadata: jwks_uri is missing, or on another origin")
	}
	r, err := p.remote.do(ctx, uri, apicall.Call{Method: http.MethodGet})
	if err != nil {
		return egress.Document{}, err
	}
	var text json.RawMessage
	err = r.Decode(&text)
	return egress.Document{Text: text}, err
}

// readToken reads a token of one type, of which it checks whom it is by and for
// when. Its signature is the caller's to check.
func readToken(text string, want TokenType, role Role, now time.Time) (*jose.Token, jose.Claims, error) {
	parsed, err := jose.Parse(text)
	if err != nil {
		return nil, jose.Claims{}, errors.New("not a token")
	}
	claims, err := parsed.UnverifiedClaims()
	if err != nil {
		return nil, jose.Claims{}, errors.New("the claims are no JSON object")
	}
	if TokenType(parsed.Type()) != want {
		return nil, claims, errors.New("typ is another")
	}
	if dwk, err := claims.String("dwk"); err != nil || Role(dwk) != role {
		return nil, claims, errors.New("dwk is another")
	}
	expires, err := claims.Date("exp")
	if err != nil || !now.Before(expires) {
		return nil, claims, errors.New("exp is missing or past")
	}
	return parsed, claims, nil
}

// boundTo checks that cnf is the key of a thumbprint.
func boundTo(c jose.Claims, jkt string) error {
	bad := errors.New("cnf is another key")
	cnf, err := c.Object("cnf")
	if err != nil {
		return bad
	}
	jwk, _ := cnf.Raw("jwk")
	key, err := jose.ParseJWK(jwk)
	if err != nil {
		return bad
	}
	if got, err := key.Thumbprint(); err != nil || got != jkt {
		return bad
	}
	return nil
}

// says checks that claims are what they should be.
func says(c strictjson.Members, want map[string]string) error {
	for name, value := range want {
		if got, err := text(c, name); err != nil || got != value {
			return errors.New(name + " is another")
		}
	}
	return nil
}
