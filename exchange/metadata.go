package exchange

import (
	"encoding/json"
	"net/http"

	"github.com/keywright/keywright"
)

// serveMetadata tells clients where to go. Every URL in it comes from the
// configuration: a client sends its identity token wherever this says, so a
// Host header must have no part in it.
func (h *Handler) serveMetadata(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		keywright.OAuth.WriteError(w, &keywright.Error{Code: keywright.CodeMethodNotAllowed, Header: http.Header{"Allow": {"GET, HEAD"}}})
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=300")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	// The client may be gone: nothing to do about it.
	json.NewEncoder(w).Encode(metadata{
		Issuer: h.base, TokenEndpoint: h.base + TokenPath, RevocationEndpoint: h.base + RevokePath,
		GrantTypes: []string{grantType}, ResponseTypes: []string{"none"},
		TokenAuthMethods: []string{"none"}, RevocationAuthMethods: []string{"none"},
		IdentityTokenAudience: h.audience,
	})
}
