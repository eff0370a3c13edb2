// Package chikw mounts keywright's endpoints on a chi router.
//
// That is all chi needs: [keywright.Require] and [keywright.RequireScope] are
// middleware for [chi.Router.Use] and With as they are, and chi redirects
// nothing of its own accord. [keywright.NoRedirect] around the router still
// makes "//" count as one slash, and answers for middleware that redirects.
package chikw

import (
	"github.com/go-chi/chi/v5"

	"github.com/keywright/keywright"
)

// Mount mounts routes on r, for every method, so that each Handler answers
// wrong methods itself. For a path prefix give it the router of [chi.Router.Route].
func Mount(r chi.Router, routes ...keywright.Route) {
	for _, route := range routes {
		r.Handle(route.Pattern, route.Handler)
	}
}
