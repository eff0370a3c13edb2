package agentauth

import (
	"net/http"
	"slices"
	"strings"

	"github.com/keywright/keywright"
)

// OnlySigned returns middleware, to be used behind [Verifier.Require] or
// [keywright.Require], that takes all fields from a signed request's header that
// its signature does not cover, but for the three of the signature itself and
// those in keep. A handler behind it cannot go by something that a proxy, or who
// has caught the request, has added. Requests of callers that came with other
// credentials pass as they are. Of the URL, the path is covered always and the
// query where "@query" is: see [Policy.Components].
func OnlySigned(keep ...string) func(http.Handler) http.Handler {
	kept := []string{"Signature", "Signature-Input", "Signature-Key", "Content-Length"}
	for _, name := range keep {
		kept = append(kept, http.CanonicalHeaderKey(name))
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p, ok := keywright.FromContext(r.Context())
			covered, signed := p.Attrs[AttrComponents]
			if ok && signed && p.Method == keywright.MethodAgent {
				r = withFields(r, append(strings.Fields(covered), kept...))
			}
			next.ServeHTTP(w, r)
		})
	}
}

// withFields returns r with no fields but those named.
func withFields(r *http.Request, names []string) *http.Request {
	r2 := *r
	r2.Header = make(http.Header)
	r2.Trailer = nil // which no signature covers; the server fills that of r
	for name, values := range r.Header {
		if slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) }) {
			r2.Header[name] = values
		}
	}
	return &r2
}
