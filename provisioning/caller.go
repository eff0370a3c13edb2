package provisioning

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/authorization"
	"github.com/keywright/keywright/internal/limit"
)

// The texts that ChallengeCtl's clients know.
const (
	textNoHeader = "Missing or invalid authorization header"
	textBadKey   = "Invalid provisioning API key"
	textBadRun   = "Invalid API key"
	textBadToken = "Invalid or expired enrollment token"
)

// bearer admits keys of one kind. All others get one answer, good keys of
// another kind too.
type bearer struct {
	h    *Handler
	kind string
	text string
}

// Challenge is that of RFC 6750.
func (bearer) Challenge() string { return "Bearer" }

func (b bearer) Authenticate(r *http.Request) (keywright.Principal, error) {
	ctx := keywright.WithRequestAddr(r)
	scheme, _, err := authorization.Parse(r.Header)
	if !errors.Is(err, authorization.ErrMultiple) && (err != nil || !authorization.Is(scheme, "Bearer")) {
		return keywright.Principal{}, b.refuse(ctx, textNoHeader, err)
	}
	p, err := b.h.host.Keys.Of(b.kind).Authenticate(r)
	switch {
	case err == nil:
		return p, nil
	case errors.Is(err, keywright.ErrNoCredential): // which must not be the cause, or others would be asked
		return keywright.Principal{}, b.refuse(ctx, b.text, errors.New("not the text of a key of this host"))
	}
	// Keys has told Hooks of it.
	switch e := keywright.AsError(err); e.Code {
	case keywright.CodeInvalidToken, keywright.CodeInsufficientScope:
		return keywright.Principal{}, b.h.failed(ctx, unauthorized(b.text, err))
	default:
		return keywright.Principal{}, err
	}
}

func (b bearer) refuse(ctx context.Context, text string, cause error) error {
	err := unauthorized(text, cause)
	b.h.host.Hooks.Refused(ctx, "provisioning.key_refused", err)
	return b.h.failed(ctx, err)
}

func unauthorized(text string, cause error) error {
	return &keywright.Error{
		Code: keywright.CodeInvalidToken, Detail: text, Err: cause, Header: http.Header{"Www-Authenticate": {"Bearer"}},
	}
}

// failed counts a refusal of the client's address. Beyond the limit it says so:
// only those who fail are slowed down.
func (h *Handler) failed(ctx context.Context, err error) error {
	addr := keywright.RemoteAddr(ctx)
	wait := h.failures.Wait(addr)
	h.failures.Fail(addr)
	if wait == 0 {
		return err
	}
	return &keywright.Error{Code: keywright.CodeRateLimited, Detail: "Too many failed attempts", Err: err, Header: limit.RetryAfter(wait)}
}

// notIssued keeps the keys of this package out of its admin API, even where
// the host has let them in.
type notIssued struct {
	keywright.Authenticator
	hooks keywright.Hooks
}

func (a notIssued) Authenticate(r *http.Request) (keywright.Principal, error) {
	p, err := a.Authenticator.Authenticate(r)
	if err == nil && p.Method == keywright.MethodProvisioning {
		err = keywright.Errorf(keywright.CodeInsufficientScope, "a key of this kind does not manage runners")
		a.hooks.Refused(keywright.WithRequestAddr(r), "provisioning.admin_refused", err)
		return keywright.Principal{}, err
	}
	return p, err
}

// Challenge is the host's.
func (a notIssued) Challenge() string {
	if c, ok := a.Authenticator.(keywright.Challenger); ok {
		return c.Challenge()
	}
	return ""
}

// permit refuses an administrator without the permission.
func (h *Handler) permit(caller keywright.Principal) error {
	if h.permission != "" && !caller.HasScope(h.permission) {
		return keywright.Errorf(keywright.CodeInsufficientScope, "Permission denied: %s permission required", h.permission)
	}
	return nil
}

// from refuses a key that is used from elsewhere than it may be.
func (k storedKey) from(ctx context.Context) error {
	if len(k.Networks) == 0 {
		return nil
	}
	addr, err := netip.ParseAddr(keywright.RemoteAddr(ctx))
	if err == nil {
		addr = addr.Unmap().WithZone("")
		for _, n := range k.Networks {
			if n.Contains(addr) {
				return nil
			}
		}
	}
	return &keywright.Error{
		Code: keywright.CodeInsufficientScope, Detail: "this key may not be used from this address",
		Err: fmt.Errorf("key %s from %q", k.ID, keywright.RemoteAddr(ctx)),
	}
}
