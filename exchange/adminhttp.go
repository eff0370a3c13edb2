package exchange

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
)

const publisherPattern = AdminPath + "/publishers/{id}"

// adminRoutes serves the admin API, with RFC 9457 problems for errors.
func (h *Handler) adminRoutes() []keywright.Route {
	spec := func(method string, status int) endpoint.Spec {
		return endpoint.Spec{Name: "exchange.admin", Method: method, Auth: notIssued{h.admin}, Status: status, Hooks: h.host.Hooks}
	}
	both := func(handlers map[string]http.Handler) http.Handler {
		return endpoint.Methods(keywright.Problem, handlers)
	}
	post := spec(http.MethodPost, 0)
	return []keywright.Route{
		{Pattern: AdminPath + "/publishers", Handler: both(map[string]http.Handler{
			http.MethodGet:  endpoint.New(spec(http.MethodGet, 0), readPage, h.servePublishers),
			http.MethodPost: endpoint.New(spec(http.MethodPost, http.StatusCreated), endpoint.JSON[Publisher], h.serveCreate),
		})},
		{Pattern: publisherPattern, Handler: both(map[string]http.Handler{
			http.MethodGet:    endpoint.New(spec(http.MethodGet, 0), readID(publisherPattern), h.servePublisher),
			http.MethodPut:    endpoint.New(spec(http.MethodPut, 0), readReplacement, h.serveReplace),
			http.MethodDelete: endpoint.New(spec(http.MethodDelete, http.StatusNoContent), readID(publisherPattern), h.serveDelete),
		})},
		{Pattern: publisherPattern + "/disable", Handler: endpoint.New(post, readID(publisherPattern+"/disable"), h.serveSwitch(h.Disable))},
		{Pattern: publisherPattern + "/enable", Handler: endpoint.New(post, readID(publisherPattern+"/enable"), h.serveSwitch(h.Enable))},
		{Pattern: AdminPath + "/issuers", Handler: endpoint.New(spec(http.MethodGet, 0), endpoint.Nothing, h.serveIssuers)},
		{Pattern: AdminPath + "/issuers/disable", Handler: endpoint.New(post, endpoint.JSON[issuerRequest], h.serveIssuerSwitch(h.DisableIssuer))},
		{Pattern: AdminPath + "/issuers/enable", Handler: endpoint.New(post, endpoint.JSON[issuerRequest], h.serveIssuerSwitch(h.EnableIssuer))},
		{Pattern: AdminPath + "/explain", Handler: endpoint.New(post, endpoint.JSON[explainRequest], h.serveExplain)},
	}
}

// notIssued keeps the keys of this package out, even where the host has given
// them the kind of its administrators: a job must not make itself publishers.
type notIssued struct{ keywright.Authenticator }

func (a notIssued) Authenticate(r *http.Request) (keywright.Principal, error) {
	p, err := a.Authenticator.Authenticate(r)
	if err == nil && p.Method == keywright.MethodExchange {
		return keywright.Principal{}, keywright.Errorf(keywright.CodeInsufficientScope, "an exchanged key does not manage publishers")
	}
	return p, err
}

// Challenge is the host's.
func (a notIssued) Challenge() string {
	if c, ok := a.Authenticator.(keywright.Challenger); ok {
		return c.Challenge()
	}
	return ""
}

func readID(pattern string) func(*http.Request) (string, error) {
	return func(r *http.Request) (string, error) {
		id, err := endpoint.Segment(r, pattern, "id")
		if err != nil || !validID(id) {
			return "", &keywright.Error{Code: keywright.CodeNotFound, Err: err}
		}
		return id, nil
	}
}

// A page is what a list is asked for.
type page struct {
	after string
	limit int
}

const maxPage = 1000

func readPage(r *http.Request) (page, error) {
	q := r.URL.Query()
	p := page{after: q.Get("after"), limit: 100}
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPage {
			return page{}, keywright.Errorf(keywright.CodeInvalidRequest, "limit: want 1 to %d", maxPage)
		}
		p.limit = n
	}
	return p, nil
}

func (h *Handler) servePublishers(ctx context.Context, _ keywright.Principal, p page) (publishersResponse, error) {
	infos, err := h.Publishers(ctx, p.after, p.limit+1)
	if err != nil {
		return publishersResponse{}, err
	}
	resp := publishersResponse{Publishers: make([]publisherView, 0, len(infos))}
	for i, info := range infos {
		if i == p.limit {
			resp.Next = infos[i-1].ID
			break
		}
		resp.Publishers = append(resp.Publishers, view(info))
	}
	return resp, nil
}

func (h *Handler) serveCreate(ctx context.Context, caller keywright.Principal, p Publisher) (publisherView, error) {
	info, err := h.Create(ctx, caller, p)
	return view(info), err
}

func (h *Handler) servePublisher(ctx context.Context, _ keywright.Principal, id string) (publisherView, error) {
	info, err := h.Publisher(ctx, id)
	return view(info), err
}

// A replacement is a publisher with the id of the path.
type replacement struct {
	publisher Publisher
	version   string
}

func readReplacement(r *http.Request) (replacement, error) {
	id, err := readID(publisherPattern)(r)
	if err != nil {
		return replacement{}, err
	}
	req, err := endpoint.JSON[replaceRequest](r)
	switch {
	case err != nil:
		return replacement{}, err
	case req.ID != "" && req.ID != id:
		return replacement{}, keywright.Errorf(keywright.CodeInvalidRequest, "id: not that of the path")
	}
	req.ID = id
	return replacement{req.publisher(), req.Version}, nil
}

func (h *Handler) serveReplace(ctx context.Context, caller keywright.Principal, r replacement) (publisherView, error) {
	info, err := h.Replace(ctx, caller, r.publisher, r.version)
	return view(info), err
}

func (h *Handler) serveDelete(ctx context.Context, caller keywright.Principal, id string) (endpoint.Empty, error) {
	return endpoint.Empty{}, h.Delete(ctx, caller, id)
}

func (h *Handler) serveSwitch(do func(context.Context, keywright.Principal, string) (PublisherInfo, error)) func(context.Context, keywright.Principal, string) (publisherView, error) {
	return func(ctx context.Context, caller keywright.Principal, id string) (publisherView, error) {
		info, err := do(ctx, caller, id)
		return view(info), err
	}
}

func (h *Handler) serveIssuers(ctx context.Context, _ keywright.Principal, _ endpoint.Empty) (issuersResponse, error) {
	infos, err := h.Issuers(ctx)
	return issuersResponse{infos}, err
}

func (h *Handler) serveIssuerSwitch(do func(context.Context, keywright.Principal, string) error) func(context.Context, keywright.Principal, issuerRequest) (issuersResponse, error) {
	return func(ctx context.Context, caller keywright.Principal, req issuerRequest) (issuersResponse, error) {
		if err := do(ctx, caller, req.Issuer); err != nil {
			return issuersResponse{}, err
		}
		return h.serveIssuers(ctx, caller, endpoint.Empty{})
	}
}

func (h *Handler) serveExplain(ctx context.Context, _ keywright.Principal, req explainRequest) (Report, error) {
	var report Report
	var err error
	switch {
	case (req.Token == "") == (len(req.Claims) == 0):
		return Report{}, keywright.Errorf(keywright.CodeInvalidRequest, "want either token or claims")
	case req.Token != "":
		report, err = h.ExplainToken(ctx, req.Token)
	default:
		report, err = h.Explain(ctx, json.RawMessage(req.Claims))
	}
	if err != nil && keywright.AsError(err).Code == keywright.CodeInternal {
		err = keywright.Errorf(keywright.CodeInvalidRequest, "%v", err)
	}
	return report, err
}
