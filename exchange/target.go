package exchange

import (
	"net/http"
	"slices"
	"strings"

	"github.com/keywright/keywright"
)

// RequireTarget admits callers whose key was issued for one of targets, or is
// not limited to any. Put it behind keywright.Require. It is how a host keeps
// the promise that the parameters audience and resource make (RFC 8693, 2.1).
func RequireTarget(targets ...string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p, ok := keywright.FromContext(r.Context())
			if !ok || !isFor(p, targets) {
				keywright.WriteError(w, keywright.Errorf(keywright.CodeInsufficientScope, "the key is not for this target"))
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

func isFor(p keywright.Principal, targets []string) bool {
	granted, limited := p.Attrs[attrTargets]
	if !limited {
		return true
	}
	for _, g := range strings.Fields(granted) {
		for _, t := range targets {
			if g == t {
				return true
			}
		}
	}
	return false
}

// narrow returns which of the targets asked for a publisher may have, and
// whether those are all. Who asks for this server, or for nothing, asks for
// everything that the publisher may have.
func (h *Handler) narrow(may, asked []string) (targets []string, all, ok bool) {
	own := func(t string) bool { return t == h.audience || t == h.base || t == h.base+"/" }
	all = true
	for _, t := range asked {
		switch {
		case slices.Contains(may, t) && !slices.Contains(targets, t):
			targets = append(targets, t)
		case !slices.Contains(may, t) && !own(t):
			all = false
		}
	}
	if len(asked) == 0 || slices.ContainsFunc(asked, own) {
		return may, all, true
	}
	return targets, all, len(targets) > 0
}
