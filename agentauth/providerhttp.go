package agentauth

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/internal/httpsig"
)

// MetadataPath is where an agent provider describes itself, at the root of its origin.
const MetadataPath = "/.well-known/" + string(RoleAgentProvider)

// Routes are the endpoints of the provider.
func (p *Provider) Routes() []keywright.Route {
	routes := []keywright.Route{
		{Pattern: MetadataPath, Handler: document(p.metadata)},
		{Pattern: p.paths.JWKS, Handler: p.keys.Handler()},
		{Pattern: p.paths.Enroll, Handler: signedEndpoint(p, "enroll", p.readEnroll, p.enroll)},
		{Pattern: p.paths.Refresh, Handler: signedEndpoint(p, "refresh", p.readRefresh, p.refresh)},
		{Pattern: p.paths.Rekey, Handler: signedEndpoint(p, "rekey", p.readRekey, p.rekey)},
	}
	return slices.Concat(routes, p.approvalRoutes(), p.subAgentRoutes(), p.agentKeyRoutes(), p.adminRoutes())
}

// signedEndpoint is one whose decode verifies the signature, once the body is
// there: see [endpoint.Whole]. Nobody waits for the body of a request without one.
func signedEndpoint[Req, Resp any](p *Provider, name string, decode func(*http.Request) (Req, error), do func(context.Context, keywright.Principal, Req) (Resp, error)) http.Handler {
	h := endpoint.New(endpoint.Spec{
		Name: "agent." + name, Method: http.MethodPost, Dialect: keywright.AAuth, Hooks: p.host.Hooks,
	}, counted(p, decode), do)
	whole := endpoint.Whole(h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if httpsig.Signed(r.Header) {
			whole.ServeHTTP(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// document serves JSON that may be kept for some minutes.
func document(read func(context.Context) (json.RawMessage, error)) http.Handler {
	get := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := read(r.Context())
		if err != nil {
			keywright.AAuth.WriteError(w, err)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "max-age=300")
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("X-Content-Type-Options", "nosniff")
		w.Write(text)
	})
	return endpoint.Methods(keywright.AAuth, map[string]http.Handler{http.MethodGet: get, http.MethodHead: get})
}

// Handler serves the public keys as a JWK Set.
func (s *SigningKeys) Handler() http.Handler {
	return document(func(ctx context.Context) (json.RawMessage, error) {
		ring, err := s.ring(ctx)
		if err != nil {
			return nil, err
		}
		return ring.jwks, nil
	})
}

func (p *Provider) metadata(context.Context) (json.RawMessage, error) {
	return json.Marshal(providerMetadata{
		Issuer: p.issuer, JWKSURI: p.base + p.paths.JWKS, EnrollEndpoint: p.base + p.paths.Enroll,
		RefreshEndpoint: p.base + p.paths.Refresh, RekeyEndpoint: p.base + p.paths.Rekey, SubAgentEndpoint: p.base + p.paths.SubAgent,
		Algorithms: strings.Split(acceptedAlgorithms, ", "), wireAbout: wireAbout(p.about),
	})
}

// agentURL is where the key of an agent is published.
func (p *Provider) agentURL(id string) string {
	return p.base + p.paths.Agents + "/" + id + "/jwks.json"
}

// agentOfURL is the reverse of agentURL. An identifier may be escaped.
func (p *Provider) agentOfURL(text string) (id string, ok bool) {
	rest, ok := strings.CutPrefix(text, p.base+p.paths.Agents+"/")
	if !ok || p.hideAgents {
		return "", false
	}
	if rest, ok = strings.CutSuffix(rest, "/jwks.json"); !ok {
		return "", false
	}
	id, err := url.PathUnescape(rest)
	return id, err == nil
}
