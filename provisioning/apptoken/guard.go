package apptoken

import (
	"context"
	"errors"
	"maps"
	"net/http"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/internal/limit"
	"github.com/keywright/keywright/store"
)

// guard admits the callers that one of the authenticators knows, and counts
// what they do. It stands outside of the endpoint, whose answers are to tell
// callers of their quota, whatever they say.
func (h *Handler) guard(next http.Handler) http.Handler {
	return endpoint.Whole(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := keywright.WithRequestAddr(r)
		caller, err := h.authenticate(ctx, r)
		if err != nil {
			keywright.Quay.WriteError(w, err)
			return
		}
		if quota, err := h.count(ctx, caller); err != nil {
			h.host.Hooks.Refused(ctx, "apptoken.refused", err)
			keywright.Quay.WriteError(w, err)
			return
		} else if quota != nil {
			maps.Copy(w.Header(), quota.Header())
		}
		next.ServeHTTP(w, r.WithContext(keywright.NewContext(ctx, caller)))
	}))
}

// authenticate finds out who sent r. It tells Hooks of what no authenticator has.
func (h *Handler) authenticate(ctx context.Context, r *http.Request) (keywright.Principal, error) {
	addr := keywright.RemoteAddr(ctx)
	if wait := h.failures.Wait(addr); wait > 0 {
		err := tooMany("too many requests from this address were refused", limit.RetryAfter(wait))
		h.host.Hooks.Refused(ctx, "apptoken.refused", err)
		return keywright.Principal{}, err
	}
	p, err := h.callers.Authenticate(r)
	if err == nil {
		return p, nil
	}
	if errors.Is(err, keywright.ErrNoCredential) {
		h.host.Hooks.Refused(ctx, "apptoken.refused", keywright.Wrap(keywright.CodeInvalidToken, h.zero.unknown(r)))
	}
	if keywright.AsError(err).Code.Status() < 500 {
		h.failures.Fail(addr)
	}
	return keywright.Principal{}, err
}

// admittedAlready passes on the caller that guard, always around it, has admitted.
type admittedAlready struct{}

func (admittedAlready) Authenticate(r *http.Request) (keywright.Principal, error) {
	if p, ok := keywright.FromContext(r.Context()); ok {
		return p, nil
	}
	return keywright.Principal{}, keywright.ErrNoCredential
}

// count counts a call, where there is a limit.
func (h *Handler) count(ctx context.Context, caller keywright.Principal) (*limit.Quota, error) {
	if h.window.Max == 0 {
		return nil, nil
	}
	q, err := h.window.Take(ctx, callerName(caller), h.host.Hooks.Now())
	switch {
	case err != nil:
		return nil, keywright.Wrap(keywright.CodeUnavailable, err)
	case q.Exceeded:
		err := tooMany("too many requests by this caller", q.Header())
		err.Attrs = map[string]string{"actor": actor(caller), "auth_method": authMethod(caller)}
		return nil, err
	}
	return &q, nil
}

// callerName is one for all logins of a super user, and else one for each key.
func callerName(p keywright.Principal) string {
	if isZeroTouch(p) || p.Credential == "" {
		return store.ID("subject", string(p.Method), p.Issuer, p.Subject)
	}
	return store.ID("credential", p.Credential)
}

func tooMany(detail string, header http.Header) *keywright.Error {
	return &keywright.Error{Code: keywright.CodeRateLimited, Detail: detail, Header: header}
}
