package agentauth

import (
	"context"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/httpsig"
	"github.com/keywright/keywright/internal/jose"
)

const (
	namingType       = "jkt-s256+jwt"
	urnPrefix        = "urn:jkt:sha-256:"
	maxNamingLife    = 10 * time.Minute
	legacyNamingType = "naming+jwt"
)

// A naming is what a naming JWT says, in which a durable key vouches for another.
type naming struct {
	key     jose.Key // the durable one
	jkt     string   // its thumbprint
	jti     string   // "": it has none
	expires time.Time
	rekey   bool   // that other is to take the place of the durable one
	cnf     signer // the key that it vouches for
}

// byNaming is scheme jkt-jwt (HTTP Signature Keys, section "jkt-jwt").
func (v *Verifier) byNaming(ctx context.Context, m *httpsig.Message, now time.Time) (signer, error) {
	text, ok := m.Param("jwt")
	if !ok {
		return signer{}, refuse(keywright.CodeInvalidSignature, "jwt is missing", nil)
	}
	n, err := v.readNaming(ctx, text, now)
	if err != nil {
		return signer{}, err
	}
	s := n.cnf
	s.named = n
	return s, nil
}

func (v *Verifier) readNaming(ctx context.Context, text string, now time.Time) (*naming, error) {
	t, err := jose.ParseSelfSigned(text)
	if err != nil {
		if v.profile.Compat.LegacyNamingJWT {
			return v.readLegacyNaming(ctx, text, now)
		}
		return nil, badToken(err)
	}
	if t.Type() != namingType {
		return nil, badClaim("typ: want " + namingType)
	}
	if err := checkTokenAlgorithm(t, v.profile.Compat); err != nil {
		return nil, err
	}
	n := &naming{key: t.Key()}
	if err := checkAlgorithm(n.key, v.profile.Compat.CnfWithoutAlg, v.profile.Compat.AcceptEdDSA); err != nil {
		return nil, err
	}
	if n.jkt, err = n.key.Thumbprint(); err != nil {
		return nil, badToken(err)
	}
	return n, v.completeNaming(n, t, urnPrefix+n.jkt, now)
}

// completeNaming verifies t by the durable key and reads the rest.
func (v *Verifier) completeNaming(n *naming, t *jose.Token, issuer string, now time.Time) error {
	claims, err := t.UnverifiedClaims()
	if err != nil {
		return badToken(err)
	}
	if iss, err := claims.String("iss"); err != nil || iss != issuer {
		return badClaim("iss is not that of the key")
	}
	if claims, err = t.Verify(n.key); err != nil {
		return badToken(err)
	}
	times, err := v.checkLife(claims, now, maxNamingLife+v.profile.Window)
	if err != nil {
		return err
	}
	n.expires = times.expires
	if n.expires.After(now.Add(maxNamingLife + v.profile.Window)) {
		return badClaim("exp is too far ahead")
	}
	if claims.Has("jti") {
		if n.jti, err = claims.String("jti"); err != nil || n.jti == "" || len(n.jti) > maxClaim {
			return badClaim("jti: want a string")
		}
	}
	if claims.Has("rekey") {
		if n.rekey, err = claims.Bool("rekey"); err != nil {
			return badClaim("rekey: want true or false")
		}
	}
	if claims.Has("sub") {
		return badClaim("sub is not for naming JWTs")
	}
	if n.cnf, err = v.confirmedKey(claims); err != nil {
		return err
	}
	return nil
}
