package agentauth

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/keywright/keywright"
)

// ResourceMetadataPath is where a resource describes itself, at the root of its
// origin.
const ResourceMetadataPath = "/.well-known/" + string(RoleResource)

// Routes are the endpoints of the resource. The one at [ResourceMetadataPath]
// belongs at the root whatever the prefix of the others.
func (s *Resource) Routes() []keywright.Route {
	routes := []keywright.Route{
		{Pattern: ResourceMetadataPath, Handler: document(s.describe)},
		{Pattern: s.endpoints.Revoke, Handler: s.revocationEndpoint()},
	}
	if s.keys != nil {
		routes = append(routes, keywright.Route{Pattern: s.endpoints.JWKS, Handler: s.keys.Handler()})
	}
	return routes
}

// Register mounts the endpoints on mux: the metadata at the root, the others
// below prefix.
func (s *Resource) Register(mux *http.ServeMux, prefix string) {
	routes := s.Routes()
	keywright.Register(mux, "", routes[0])
	keywright.Register(mux, prefix, routes[1:]...)
}

func (s *Resource) describe(context.Context) (json.RawMessage, error) {
	doc := wireResource{
		Issuer: s.issuer, AccessMode: s.metadata.AccessMode, Scopes: s.scopes, SignatureWindow: int64(s.verifier.profile.Window / time.Second),
		Components: s.metadata.Components, RevocationEndpoint: s.base + s.endpoints.Revoke,
		Algorithms: strings.Split(acceptedAlgorithms, ", "), wireAbout: wireAbout(s.metadata.About),
	}
	if s.keys != nil {
		doc.JWKSURI = s.base + s.endpoints.JWKS
	}
	return json.Marshal(doc)
}
