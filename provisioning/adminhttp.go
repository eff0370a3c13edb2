package provisioning

import (
	"context"
	"errors"
	"net/http"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
)

const (
	tokenPattern    = TokenPath + "/{token}"
	reEnrollPattern = ReEnrollPath + "/{runner_id}"
)

// enrollmentRoutes are the admin API of enrolment tokens.
func (h *Handler) enrollmentRoutes() []keywright.Route {
	admin := func(method string, status int) endpoint.Spec { return h.spec("admin", method, h.admin, status) }
	return []keywright.Route{
		{Pattern: TokenPath, Handler: endpoint.New(admin(http.MethodPost, http.StatusCreated), readIssueToken, h.serveIssueToken)},
		{Pattern: TokensPath, Handler: endpoint.New(admin(http.MethodGet, 0), readPage, h.serveTokens)},
		{Pattern: tokenPattern, Handler: endpoint.New(admin(http.MethodDelete, 0), readSegment(tokenPattern, "token", errTokenNotFound), h.serveDeleteToken)},
		{Pattern: reEnrollPattern, Handler: endpoint.New(admin(http.MethodPost, http.StatusCreated), readReEnroll, h.serveReEnroll)},
	}
}

func readIssueToken(r *http.Request) (ProvisionRequest, error) {
	req, err := endpoint.AdminJSON[issueTokenRequest](r)
	if err == nil && req.Name == "" {
		err = invalid("Missing runner_name")
	}
	return ProvisionRequest{Name: req.Name, ID: req.ID, Hours: req.Hours, PublicKey: req.PublicKey}, err
}

func (h *Handler) serveIssueToken(ctx context.Context, caller keywright.Principal, req ProvisionRequest) (issueTokenResponse, error) {
	p, err := h.IssueToken(ctx, caller, req)
	return h.issued(p, req.Hours), err
}

func (h *Handler) issued(p Provisioned, hours *float64) issueTokenResponse {
	resp := issueTokenResponse{Token: p.Token, APIKey: p.APIKey, Challenge: p.Challenge, Name: p.Name, ID: p.ID, ExpiresAt: p.ExpiresAt, Hours: h.limits.Lifetime.Hours()}
	if hours != nil {
		resp.Hours = *hours
	}
	return resp
}

func (h *Handler) serveTokens(ctx context.Context, _ keywright.Principal, p page) (tokensResponse, error) {
	tokens, err := h.Tokens(ctx, p.after, p.limit+1)
	if err != nil {
		return tokensResponse{}, err
	}
	resp := tokensResponse{Tokens: tokens}
	if len(tokens) > p.limit {
		resp.Tokens = tokens[:p.limit]
		id, _ := h.tokenID(tokens[p.limit-1].Prefix)
		resp.Next = id
	}
	if resp.Tokens == nil {
		resp.Tokens = []EnrollmentToken{}
	}
	return resp, nil
}

func (h *Handler) serveDeleteToken(ctx context.Context, caller keywright.Principal, token string) (statusResponse, error) {
	return statusResponse{"deleted"}, h.DeleteToken(ctx, caller, token)
}

type reEnroll struct {
	id    string
	hours *float64
}

func readReEnroll(r *http.Request) (reEnroll, error) {
	id, err := readSegment(reEnrollPattern, "runner_id", runnerNotFound())(r)
	if err != nil {
		return reEnroll{}, err
	}
	req, err := endpoint.OptionalJSON[reEnrollRequest](r)
	return reEnroll{id, req.Hours}, err
}

func (h *Handler) serveReEnroll(ctx context.Context, caller keywright.Principal, r reEnroll) (issueTokenResponse, error) {
	p, err := h.ReEnroll(ctx, caller, r.id, r.hours)
	return h.issued(p, r.hours), err
}

// adminRunnerRoutes are the admin API of runners, under their old name and
// their new one.
func (h *Handler) adminRunnerRoutes() []keywright.Route {
	return append(h.runnerRoutesAt(RunnersPath, "Runner not found"), h.runnerRoutesAt(AgentsPath, "Agent not found")...)
}

func (h *Handler) runnerRoutesAt(path, absent string) []keywright.Route {
	admin := func(method string) endpoint.Spec { return h.spec("admin", method, h.admin, 0) }
	one := path + "/{runner_id}"
	do := func(method, pattern, status string, act func(context.Context, keywright.Principal, string) error) http.Handler {
		read := readSegment(pattern, "runner_id", keywright.Errorf(keywright.CodeNotFound, "%s", absent))
		return endpoint.New(admin(method), read, func(ctx context.Context, caller keywright.Principal, id string) (statusResponse, error) {
			return statusResponse{status}, named(absent, act(ctx, caller, id))
		})
	}
	return []keywright.Route{
		{Pattern: path, Handler: endpoint.New(admin(http.MethodGet), readPage, h.serveRunners(path == AgentsPath))},
		{Pattern: one, Handler: methods(map[string]http.Handler{
			http.MethodGet: endpoint.New(admin(http.MethodGet), readSegment(one, "runner_id", runnerNotFound()), func(ctx context.Context, _ keywright.Principal, id string) (Runner, error) {
				r, err := h.Runner(ctx, id)
				return r, named(absent, err)
			}),
			http.MethodDelete: do(http.MethodDelete, one, "deleted", h.DeleteRunner),
		})},
		{Pattern: one + "/enable", Handler: do(http.MethodPost, one+"/enable", "enabled", h.EnableRunner)},
		{Pattern: one + "/disable", Handler: do(http.MethodPost, one+"/disable", "disabled", h.DisableRunner)},
	}
}

// named says that it is an agent that was not found, where it was asked for as one.
func named(absent string, err error) error {
	if err != nil && keywright.AsError(err).Code == keywright.CodeNotFound {
		return &keywright.Error{Code: keywright.CodeNotFound, Detail: absent, Err: errors.Unwrap(keywright.AsError(err))}
	}
	return err
}

func (h *Handler) serveRunners(asAgents bool) func(context.Context, keywright.Principal, page) (runnersResponse, error) {
	return func(ctx context.Context, _ keywright.Principal, p page) (runnersResponse, error) {
		runners, err := h.Runners(ctx, p.after, p.limit+1)
		if err != nil {
			return runnersResponse{}, err
		}
		var resp runnersResponse
		if len(runners) > p.limit {
			runners = runners[:p.limit]
			resp.Next = runners[p.limit-1].ID
		}
		if asAgents {
			resp.Agents = runners
		} else {
			resp.Runners = runners
		}
		return resp, nil
	}
}
