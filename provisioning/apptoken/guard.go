package apptoken

import (
	"context"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

// A visit is what guard learns of a request while it is served.
type visit struct {
	http.ResponseWriter
	unknown  bool // all authenticators were asked, and one of them at most knew the caller
	admitted bool
	status   int
}

func (v *visit) WriteHeader(status int) {
	v.status = status
	v.ResponseWriter.WriteHeader(status)
}

// Unwrap gives http.ResponseController the rest.
func (v *visit) Unwrap() http.ResponseWriter { return v.ResponseWriter }

type visitKey struct{}

// guard admits the callers that one of the authenticators knows and counts what
// they do. Keywright's Require stands outside of the endpoint and not in it,
// since it alone makes one of those authenticators that read keys of one host.
func (h *Handler) guard(next http.Handler) http.Handler {
	admit := keywright.Quay.Require(h.auths...)(h.metered(next))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := keywright.WithRequestAddr(r)
		addr := keywright.RemoteAddr(ctx)
		if h.failures != nil {
			if wait := h.failures.Wait(addr); wait > 0 {
				h.answer(ctx, w, tooMany("too many requests from this address were refused", retryAfter(wait)))
				return
			}
		}
		v := &visit{ResponseWriter: w}
		admit.ServeHTTP(v, r.WithContext(context.WithValue(ctx, visitKey{}, v)))
		if v.admitted {
			return
		}
		if v.unknown { // nobody else has told of it
			h.host.Hooks.Refused(ctx, "apptoken.refused", keywright.Wrap(keywright.CodeInvalidToken, h.zero.unknown(r)))
		}
		if h.failures != nil && v.status < 500 {
			h.failures.Fail(addr)
		}
	})
}

// nobody stands behind the other authenticators to see whether all were asked.
type nobody struct{}

func (nobody) Authenticate(r *http.Request) (keywright.Principal, error) {
	if v, ok := r.Context().Value(visitKey{}).(*visit); ok {
		v.unknown = true
	}
	return keywright.Principal{}, keywright.ErrNoCredential
}

// guarded passes on the caller that guard has admitted.
type guarded struct{}

func (guarded) Authenticate(r *http.Request) (keywright.Principal, error) {
	p, ok := keywright.FromContext(r.Context())
	if _, ours := r.Context().Value(visitKey{}).(*visit); !ok || !ours {
		return keywright.Principal{}, keywright.ErrNoCredential
	}
	return p, nil
}

// metered counts the calls of each caller.
func (h *Handler) metered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if v, ok := r.Context().Value(visitKey{}).(*visit); ok {
			v.admitted = true
		}
		if h.window.Max == 0 {
			next.ServeHTTP(w, r)
			return
		}
		caller, _ := keywright.FromContext(r.Context())
		q, err := h.window.Take(r.Context(), callerName(caller), h.host.Hooks.Now())
		switch {
		case err != nil:
			h.answer(r.Context(), w, keywright.Wrap(keywright.CodeUnavailable, err))
		case q.Exceeded:
			err := tooMany("too many requests by this caller", q.Header())
			err.Attrs = map[string]string{"actor": actor(caller), "auth_method": authMethod(caller)}
			h.answer(r.Context(), w, err)
		default:
			maps.Copy(w.Header(), q.Header())
			next.ServeHTTP(w, r)
		}
	})
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

func retryAfter(d time.Duration) http.Header {
	seconds := (d + time.Second - 1) / time.Second
	return http.Header{"Retry-After": {strconv.FormatInt(int64(max(seconds, 1)), 10)}}
}

func (h *Handler) answer(ctx context.Context, w http.ResponseWriter, err error) {
	h.host.Hooks.Refused(ctx, "apptoken.refused", err)
	keywright.Quay.WriteError(w, err)
}
