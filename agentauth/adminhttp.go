package agentauth

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
)

const (
	maxAdminPage     = 1000
	defaultAdminPage = 100
)

// adminRoutes are the admin API, where somebody may use it.
func (p *Provider) adminRoutes() []keywright.Route {
	if p.admin == nil {
		return nil
	}
	all := p.paths.AdminAPI
	one, pending := all+"/{agent}", all+"/pending"
	return append(append(p.secretRoutes(all+"/secrets"), p.signingKeyRoutes(all+"/signing-keys")...),
		keywright.Route{Pattern: all, Handler: endpoint.New(p.adminSpec(http.MethodGet), readAdminPage, p.serveAgents)},
		keywright.Route{Pattern: one, Handler: endpoint.Methods(keywright.Text, map[string]http.Handler{
			http.MethodGet:    endpoint.New(p.adminSpec(http.MethodGet), readAdminID(one, "agent"), p.serveAgent),
			http.MethodDelete: p.serveActions(http.MethodDelete, one, "agent", map[string]adminAction{"": {"deleted", p.DeleteAgent}}),
		})},
		keywright.Route{Pattern: one + "/{action}", Handler: p.serveActions(http.MethodPost, one+"/{action}", "agent", map[string]adminAction{
			"disable": {"disabled", p.DisableAgent}, "enable": {"enabled", p.EnableAgent}, "ban": {"banned", p.BanAgent}, "revoke": {"revoked", p.RevokeTokens},
		})},
		keywright.Route{Pattern: pending, Handler: endpoint.New(p.adminSpec(http.MethodGet), endpoint.Nothing, p.servePending)},
		keywright.Route{Pattern: pending + "/{application}/{action}", Handler: p.serveActions(http.MethodPost, pending+"/{application}/{action}", "application", map[string]adminAction{
			"approve": {decidedYes, p.approve}, "deny": {decidedNo, p.Deny},
		})},
	)
}

// secretRoutes are those of enrolment secrets, which all providers of the host share.
func (p *Provider) secretRoutes(path string) []keywright.Route {
	one := path + "/{secret}"
	create := p.adminSpec(http.MethodPost)
	create.Status = http.StatusCreated
	return []keywright.Route{
		{Pattern: path, Handler: endpoint.Methods(keywright.Text, map[string]http.Handler{
			http.MethodGet:  endpoint.New(p.adminSpec(http.MethodGet), readAdminPage, p.serveSecrets),
			http.MethodPost: endpoint.New(create, p.readSecret, p.serveCreateSecret),
		})},
		{Pattern: one, Handler: p.serveActions(http.MethodDelete, one, "secret", map[string]adminAction{"": {"deleted", p.secrets.Delete}})},
	}
}

func (p *Provider) adminSpec(method string) endpoint.Spec {
	return endpoint.Spec{Name: "agent.admin", Method: method, Auth: administrator{p}, Dialect: keywright.Text, Hooks: p.host.Hooks}
}

// administrator is the host's Authenticator of the admin API, for those with the
// permission, and not for agents, whatever the host lets in.
type administrator struct{ p *Provider }

func (a administrator) Authenticate(r *http.Request) (keywright.Principal, error) {
	caller, err := a.p.admin.Authenticate(r)
	if err != nil {
		return keywright.Principal{}, err
	}
	if err := a.refuse(r, caller); err != nil {
		a.p.host.Hooks.Refused(keywright.WithRequestAddr(r), "agent.admin_refused", err)
		return keywright.Principal{}, err
	}
	return caller, nil
}

func (a administrator) refuse(r *http.Request, caller keywright.Principal) error {
	switch {
	case caller.Method == keywright.MethodAgent:
		return keywright.Errorf(keywright.CodeInsufficientScope, "an agent does not manage agents")
	case a.p.permission != "" && !caller.HasScope(a.p.permission):
		return keywright.Errorf(keywright.CodeInsufficientScope, "Permission denied: %s permission required", a.p.permission)
	case endpoint.ByItself(r):
		return nil
	}
	if err := new(http.CrossOriginProtection).Check(r); err != nil {
		return &keywright.Error{Code: keywright.CodeInsufficientScope, Detail: "cross-origin request", Err: err}
	}
	return nil
}

// Challenge is the host's.
func (a administrator) Challenge() string {
	if c, ok := a.p.admin.(keywright.Challenger); ok {
		return c.Challenge()
	}
	return ""
}

// ChallengeFields are the host's.
func (a administrator) ChallengeFields() http.Header {
	if c, ok := a.p.admin.(keywright.FieldChallenger); ok {
		return c.ChallengeFields()
	}
	return nil
}

// readAdminID reads a segment of the path. An identifier may be escaped or not.
func readAdminID(pattern, name string) func(*http.Request) (string, error) {
	return func(r *http.Request) (string, error) {
		id, err := endpoint.Segment(r, pattern, name)
		if err != nil || id == "" {
			return "", &keywright.Error{Code: keywright.CodeNotFound, Err: err}
		}
		return id, nil
	}
}

// An adminAction is what can be done to what a path names.
type adminAction struct {
	done string // what it is then
	do   func(ctx context.Context, actor keywright.Principal, id string) error
}

// serveActions does that which the segment "{action}" of pattern names, or the one
// named "" where there is no such segment, to what its segment name says.
func (p *Provider) serveActions(method, pattern, name string, actions map[string]adminAction) http.Handler {
	type call struct {
		adminAction
		id string
	}
	read := func(r *http.Request) (call, error) {
		action := ""
		if _, ok := actions[""]; !ok {
			action, _ = endpoint.Segment(r, pattern, "action")
		}
		a, ok := actions[action]
		if !ok {
			return call{}, keywright.Wrap(keywright.CodeNotFound, nil)
		}
		id, err := readAdminID(pattern, name)(r)
		return call{a, id}, err
	}
	return endpoint.New(p.adminSpec(method), read, func(ctx context.Context, caller keywright.Principal, c call) (adminResponse, error) {
		return adminResponse{c.done}, c.do(ctx, caller, c.id)
	})
}

// A pageCall is what a list is asked for.
type pageCall struct {
	after string
	limit int
}

func readAdminPage(r *http.Request) (pageCall, error) {
	q := r.URL.Query()
	c := pageCall{after: q.Get("after"), limit: defaultAdminPage}
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxAdminPage {
			return c, keywright.Errorf(keywright.CodeInvalidRequest, "limit: want 1 to %d", maxAdminPage)
		}
		c.limit = n
	}
	return c, nil
}

func (p *Provider) serveAgents(ctx context.Context, _ keywright.Principal, c pageCall) (agentsResponse, error) {
	list, err := p.Agents(ctx, c.after, c.limit+1)
	if err != nil {
		return agentsResponse{}, err
	}
	resp := agentsResponse{Agents: append([]Agent{}, list...)}
	if len(list) > c.limit {
		resp.Agents, resp.Next = resp.Agents[:c.limit], list[c.limit-1].ID
	}
	return resp, nil
}

func (p *Provider) serveAgent(ctx context.Context, _ keywright.Principal, id string) (Agent, error) {
	return p.Agent(ctx, id)
}

func (p *Provider) servePending(ctx context.Context, _ keywright.Principal, _ endpoint.Empty) (applicationsResponse, error) {
	list, err := p.Pending(ctx)
	return applicationsResponse{append([]Application{}, list...)}, err
}

func (p *Provider) approve(ctx context.Context, actor keywright.Principal, id string) error {
	_, err := p.Approve(ctx, actor, id)
	return err
}

// readSecret also checks what depends on the provider.
func (p *Provider) readSecret(r *http.Request) (SecretSettings, error) {
	req, err := endpoint.AdminJSON[secretRequest](r)
	if err != nil {
		return SecretSettings{}, err
	}
	return SecretSettings{
		Description: req.Description, Uses: req.Uses, Life: secondsOf(req.ExpiresIn), AgentID: req.AgentID,
		PersonServer: req.PersonServer, Scopes: req.Scopes, TokenLife: secondsOf(req.TokenLife),
	}, p.checkApplicant(req.AgentID, req.PersonServer)
}

// secondsOf keeps a number that is too large from becoming a small one.
func secondsOf(n int64) time.Duration {
	const most = int64(math.MaxInt64 / time.Second)
	return time.Duration(max(-most, min(n, most))) * time.Second
}

func (p *Provider) serveCreateSecret(ctx context.Context, actor keywright.Principal, s SecretSettings) (secretView, error) {
	made, err := p.secrets.Create(ctx, actor, s)
	view := made.view()
	view.Text = made.Text
	return view, err
}

func (p *Provider) serveSecrets(ctx context.Context, _ keywright.Principal, c pageCall) (secretsResponse, error) {
	list, err := p.secrets.List(ctx, c.after, c.limit+1)
	if err != nil {
		return secretsResponse{}, err
	}
	resp := secretsResponse{Secrets: []secretView{}}
	for i, s := range list {
		if i == c.limit {
			resp.Next = list[i-1].ID
			break
		}
		resp.Secrets = append(resp.Secrets, s.view())
	}
	return resp, nil
}

func (s Secret) view() secretView {
	return secretView{
		ID: s.ID, Description: s.Description, Uses: s.Uses, Used: s.Used, Expires: s.Expires, AgentID: s.AgentID, PersonServer: s.PersonServer,
		Scopes: s.Scopes, TokenLife: int64(s.TokenLife / time.Second), Created: s.Created, CreatedBy: s.CreatedBy,
	}
}
