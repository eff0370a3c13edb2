package provisioning

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/store"
)

// Proofs are signed tokens (RFC 7519) by the runner's own key.
const (
	enrollType   = "runner-enrollment+jwt"
	refreshType  = "runner-refresh+jwt"
	proofSkew    = time.Minute
	maxProofLife = 10 * time.Minute
	proofLife    = 2 * time.Minute // of ours
	maxPublicKey = 4 << 10         // bytes of a JWK, which has some 200
)

type proofClaims struct {
	Audience string `json:"aud"` // the server's URL
	Subject  string `json:"sub"` // the runner's id
	IssuedAt int64  `json:"iat"`
	Expires  int64  `json:"exp"`
	Nonce    string `json:"nonce,omitempty"` // the challenge of an enrolment
	ID       string `json:"jti,omitempty"`   // of a refresh
	Sequence *int64 `json:"seq,omitempty"`   // of a refresh: the number that the last one gave
}

// A boundKey is a public key whose owner has signed the enrolment's challenge.
type boundKey struct {
	key        jose.Key
	thumbprint string
}

// SignEnrollment makes what a runner with a key pair of its own sends in place
// of an API key: its public key and a proof. p is what it was given. signer has
// an Ed25519 or a P-256 key, and nothing of it leaves this function but the
// signature.
func SignEnrollment(signer crypto.Signer, p Provisioned, now time.Time) (publicKey json.RawMessage, proof string, err error) {
	key, err := jose.PublicKey(signer.Public())
	if err != nil {
		return nil, "", fmt.Errorf("provisioning: %w", err)
	}
	if publicKey, err = jose.MarshalJWK(key, ""); err != nil {
		return nil, "", fmt.Errorf("provisioning: %w", err)
	}
	proof, err = jose.Sign(signer, jose.Header{Type: enrollType}, proofClaims{
		Audience: strings.TrimSuffix(p.ServerURL, "/"), Subject: p.ID, Nonce: p.Challenge, IssuedAt: now.Unix(), Expires: now.Add(proofLife).Unix(),
	})
	return publicKey, proof, err
}

// provenKey checks that the owner of req's public key wants to be this runner.
func (h *Handler) provenKey(t *ticket, req EnrollRequest) (*boundKey, error) {
	if len(req.PublicKey) == 0 {
		return nil, badToken("an API key where a public key is wanted")
	}
	if len(req.PublicKey) > maxPublicKey {
		return nil, invalid("public_key: longer than %d bytes", maxPublicKey)
	}
	key, err := jose.ParseJWK(req.PublicKey)
	if err != nil {
		return nil, invalid("public_key: want the JWK of an Ed25519 or P-256 public key")
	}
	if alg := key.Algorithm(); alg != "EdDSA" && alg != "ES256" {
		return nil, invalid("public_key: want the JWK of an Ed25519 or P-256 public key")
	}
	claims, _, err := h.readProof(req.Proof, enrollType, req.ID, key)
	if err != nil {
		return nil, badToken("proof: %w", err)
	}
	nonce, err := claims.String("nonce")
	if err != nil || nonce != t.Challenge {
		return nil, badToken("proof: another challenge")
	}
	thumbprint, err := key.Thumbprint()
	if err == nil && !t.Spent.IsZero() && thumbprint != t.Thumb {
		return nil, badToken("another key pair has used token %s", t.Token.ID)
	}
	return &boundKey{key, thumbprint}, err
}

// readProof verifies a proof by key that it is runner id who speaks to this server.
func (h *Handler) readProof(proof, typ, id string, key jose.Key) (jose.Claims, jose.Times, error) {
	var none jose.Times
	token, err := jose.Parse(proof)
	if err != nil {
		return jose.Claims{}, none, err
	}
	if token.Type() != typ {
		return jose.Claims{}, none, errors.New("a token of another type")
	}
	claims, err := token.Verify(key)
	if err != nil {
		return jose.Claims{}, none, err
	}
	times, err := claims.Times(h.host.Hooks.Now(), proofSkew, maxProofLife)
	if err != nil {
		return jose.Claims{}, none, err
	}
	audience, err := claims.Audience()
	if err == nil {
		audience, err = serverURL(audience) // in the spelling of h.servers
	}
	if err != nil || !slices.Contains(h.servers, audience) {
		return jose.Claims{}, none, errors.New("for another audience")
	}
	if sub, err := claims.String("sub"); err != nil || sub != id {
		return jose.Claims{}, none, errors.New("about another runner")
	}
	return claims, times, nil
}

// bind makes r's public key that of proof, and an agent of it. Whoever has a
// copy of the key pair that r had has none of this one, so it ends a lock.
func (h *Handler) bind(ctx context.Context, t *ticket, r *storedRunner, proof *boundKey) ([]store.Op, error) {
	jwk, err := jose.MarshalJWK(proof.key, "")
	if err != nil {
		return nil, err
	}
	taken, err := h.host.Store.Get(ctx, agent.Key(proof.thumbprint))
	if err != nil {
		return nil, err
	}
	if taken[0].Exists() {
		// Perhaps by the same request, which was sent again and is faster.
		now, err := h.host.Store.Get(ctx, ticketKey(t.Token.ID))
		switch {
		case err != nil:
			return nil, err
		case now[0].Version != t.version:
			return nil, store.ErrConflict
		}
		return nil, keywright.Errorf(keywright.CodeConflict, "public_key: it is in use, each enrollment needs a new one")
	}
	r.Thumbprint = proof.thumbprint
	if r.Locked {
		r.Locked, r.Disabled = false, false
	}
	a := agent.Record{Name: r.ID, JWK: jwk, Scopes: r.Scopes, Attrs: r.attrs(), Created: r.Updated, Parents: []keywright.Parent{r.parent()}}
	record, err := a.Store(proof.thumbprint, 0)
	return []store.Op{store.Insert(record)}, err
}
