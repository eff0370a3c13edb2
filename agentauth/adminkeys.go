package agentauth

import (
	"context"
	"net/http"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
)

// signingKeyRoutes let an operator rotate the keys that sign tokens.
func (p *Provider) signingKeyRoutes(path string) []keywright.Route {
	one := path + "/{key}/{action}"
	add := p.adminSpec(http.MethodPost)
	add.Status = http.StatusCreated
	return []keywright.Route{
		{Pattern: path, Handler: endpoint.Methods(keywright.Text, map[string]http.Handler{
			http.MethodGet:  endpoint.New(p.adminSpec(http.MethodGet), endpoint.Nothing, p.serveSigningKeys),
			http.MethodPost: endpoint.New(add, endpoint.OptionalJSON[addKeyRequest], p.serveAddKey),
		})},
		{Pattern: one, Handler: p.serveActions(http.MethodPost, one, "key", map[string]adminAction{
			"activate": {"active", p.keys.Activate}, "activate-now": {"active", p.keys.ActivateNow},
			"retire": {"retired", p.keys.Retire}, "withdraw": {"withdrawn", p.keys.Withdraw},
		})},
	}
}

func (p *Provider) serveSigningKeys(ctx context.Context, _ keywright.Principal, _ endpoint.Empty) (signingKeysResponse, error) {
	list, err := p.keys.List(ctx)
	resp := signingKeysResponse{Keys: make([]signingKeyView, len(list))}
	for i, k := range list {
		resp.Keys[i] = signingKeyView{ID: k.ID, Handle: k.Handle, State: k.State, Added: k.Added}
		if !k.Ended.IsZero() {
			resp.Keys[i].Ended = &list[i].Ended
		}
	}
	return resp, err
}

// serveAddKey adds the key of a handle, or without one has a key generated.
func (p *Provider) serveAddKey(ctx context.Context, actor keywright.Principal, req addKeyRequest) (addKeyResponse, error) {
	kid, err := p.keys.Add(ctx, actor, req.Handle)
	return addKeyResponse{ID: kid, ActivateAfter: p.host.Hooks.Now().Add(PublishedFor).UTC().Truncate(time.Second)}, err
}
