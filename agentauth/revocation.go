package agentauth

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/internal/httpsig"
	"github.com/keywright/keywright/internal/limit"
	"github.com/keywright/keywright/store"
)

// revocationPolicy is that of the endpoint at which servers withdraw tokens (AAuth,
// section "Token Revocation"). The marker of a request is written with what the
// request changes.
func revocationPolicy() (policy, error) {
	c, err := Policy{Schemes: []Scheme{SchemeJWKSURI}, Components: bodyComponents, Replay: ReplayAll, MaxBody: maxEndpointBody}.compile()
	c.deferred = true
	return c, err
}

// A revocationCall is a signed request to withdraw a token.
type revocationCall struct {
	proof   *proof
	jti     string
	expires int64 // of the token, in seconds
}

func (s *Resource) revocationEndpoint() http.Handler {
	return endpoint.New(endpoint.Spec{
		Name: "agent.revocation", Method: http.MethodPost, Dialect: keywright.AAuth, Hooks: s.host.Hooks,
	}, s.readRevocation, s.revoke)
}

// readRevocation verifies the caller before it reads what it wants.
func (s *Resource) readRevocation(r *http.Request) (revocationCall, error) {
	if !httpsig.Signed(r.Header) {
		return revocationCall{}, s.revocations.refuseUnsigned(r)
	}
	proof, err := s.verifier.verify(r, s.revocations)
	if _, untrusted := errors.AsType[untrustedError](err); untrusted {
		return revocationCall{}, keywright.Wrap(keywright.CodeUnsupportedIss, err)
	}
	if err != nil {
		return revocationCall{}, s.revocations.challenged(err)
	}
	if proof.role != RolePersonServer && proof.role != RoleAccessServer {
		return revocationCall{}, keywright.Errorf(keywright.CodeUnsupportedIss, "%s revokes nothing here", proof.role)
	}
	req, err := endpoint.LooseJSON[revocationRequest](r)
	switch {
	case err != nil:
		return revocationCall{}, err
	case req.ID == "" || len(req.ID) > maxClaim:
		return revocationCall{}, keywright.Errorf(keywright.CodeInvalidRequest, "jti: want 1 to %d bytes", maxClaim)
	case req.Expires == nil || *req.Expires < 0:
		return revocationCall{}, keywright.Errorf(keywright.CodeInvalidRequest, "exp: want a time in seconds")
	}
	return revocationCall{proof, req.ID, *req.Expires}, nil
}

// revoke withdraws a token of the caller, whether or not it was ever seen.
func (s *Resource) revoke(ctx context.Context, _ keywright.Principal, c revocationCall) (revocationResponse, error) {
	records, err := s.host.Store.Get(ctx, c.proof.seen.Key(), revokedKey(c.proof.id, c.jti))
	switch {
	case err != nil:
		return revocationResponse{}, keywright.Wrap(keywright.CodeUnavailable, err)
	case records[0].Exists(): // which must not count against the caller
		return revocationResponse{}, s.revocations.challenged(refuse(keywright.CodeInvalidSignature, "the request was seen before", nil))
	}
	if wait := s.callers.Take(c.proof.id); wait > 0 {
		return revocationResponse{}, &keywright.Error{Code: keywright.CodeRateLimited, Header: limit.RetryAfter(wait)}
	}
	now := s.host.Hooks.Now()
	// No token that is accepted here lives longer, whatever the caller says.
	expires := time.Unix(min(c.expires, now.Add(maxPersonLife+maxWindow).Unix()), 0)
	revoked := revocation(c.proof.id, c.jti, expires)
	if !now.Before(expires.Add(s.verifier.profile.Compat.ExpSkew)) || records[1].Exists() && !records[1].Expires.Before(revoked.Record.Expires) {
		err = s.host.Store.Commit(ctx, store.Insert(c.proof.seen))
	} else {
		e := keywright.Event{Name: "agent.token_revoked", Actor: c.proof.id, Target: c.jti}
		err = s.host.Commit(ctx, e, store.Insert(c.proof.seen), revoked)
	}
	if err != nil {
		return revocationResponse{}, s.revocations.challenged(replayed(err))
	}
	return revocationResponse{}, nil
}
