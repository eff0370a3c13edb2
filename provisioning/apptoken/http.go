package apptoken

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/authorization"
	"github.com/keywright/keywright/internal/endpoint"
)

func (h *Handler) spec(method string, status int) endpoint.Spec {
	return endpoint.Spec{Name: "apptoken", Method: method, Auth: admittedAlready{}, Status: status, Dialect: keywright.Quay, Hooks: h.host.Hooks}
}

func (h *Handler) tokensEndpoint() http.Handler {
	return endpoint.Methods(keywright.Quay, map[string]http.Handler{
		http.MethodGet:  h.guard(endpoint.New(h.spec(http.MethodGet, 0), h.readList, h.serveList)),
		http.MethodPost: h.guard(endpoint.New(h.spec(http.MethodPost, 0), h.readCreate, h.serveCreate)),
	})
}

func (h *Handler) tokenEndpoint() http.Handler {
	return endpoint.Methods(keywright.Quay, map[string]http.Handler{
		http.MethodDelete: h.guard(endpoint.New(h.spec(http.MethodDelete, http.StatusNoContent), h.readDelete, h.serveDelete)),
	})
}

// enter admits the caller of a request to the application in its path, before
// anything else of it is read.
func (h *Handler) enter(r *http.Request, pattern string, need right) (admitted, error) {
	caller, _ := keywright.FromContext(r.Context())
	org, err := endpoint.Segment(r, pattern, "org")
	if err != nil {
		return admitted{}, notFound(err)
	}
	clientID, err := endpoint.Segment(r, pattern, "client_id")
	if err != nil {
		return admitted{}, notFound(err)
	}
	return h.admit(keywright.WithRequestAddr(r), caller, org, clientID, need)
}

type createCall struct {
	admitted
	spec Spec
}

func (h *Handler) readCreate(r *http.Request) (createCall, error) {
	a, err := h.enter(r, TokensPath, toAdminister)
	if err != nil {
		return createCall{}, err
	}
	s, err := readSpec(r)
	if err != nil {
		return createCall{}, refusal(err, a.caller, a.app.Organization, a.app.ClientID)
	}
	return createCall{a, s}, nil
}

// readSpec reads a body of any type from those who send a key: no browser does
// that by itself, as it does send cookies and passwords along with a form of
// another site.
func readSpec(r *http.Request) (Spec, error) {
	read := endpoint.JSON[createRequest]
	if scheme, _, _ := authorization.Parse(r.Header); authorization.Is(scheme, "Bearer") || authorization.Is(scheme, "Key") {
		read = endpoint.AnyJSON[createRequest]
	}
	req, err := read(r)
	if err != nil {
		return Spec{}, err
	}
	return req.spec()
}

func (h *Handler) serveCreate(ctx context.Context, _ keywright.Principal, c createCall) (newTokenView, error) {
	made, err := h.create(ctx, c.admitted, c.spec, h.mint)
	return newTokenView{view(made.Token), made.Text, made.Text}, err
}

type listCall struct {
	admitted
	page Page
}

func (h *Handler) readList(r *http.Request) (listCall, error) {
	a, err := h.enter(r, TokensPath, toRead)
	if err != nil {
		return listCall{}, err
	}
	p, err := readPage(r.URL.RawQuery)
	return listCall{a, p}, err
}

// readPage reads next_page and limit. A cursor that is empty or damaged is not
// taken for none: whoever goes by it would begin again without knowing.
func readPage(query string) (p Page, err error) {
	values, err := url.ParseQuery(query)
	if err != nil || len(values["next_page"]) > 1 || len(values["limit"]) > 1 {
		return Page{}, keywright.Errorf(keywright.CodeInvalidRequest, "the query is malformed, or has a parameter twice")
	}
	if values.Has("next_page") {
		p.Cursor = values.Get("next_page")
		if _, err := parseCursor(p.Cursor); err != nil {
			return Page{}, err
		}
	}
	if values.Has("limit") {
		n, _ := strconv.ParseUint(values.Get("limit"), 10, 16) // 0 for what is no number
		if n == 0 {
			return Page{}, errLimit()
		}
		p.Limit = int(n)
	}
	return p, nil
}

func (h *Handler) serveList(ctx context.Context, _ keywright.Principal, c listCall) (tokensView, error) {
	list, err := h.list(ctx, c.admitted, c.page)
	if err != nil {
		return tokensView{}, err
	}
	v := tokensView{Tokens: make([]tokenView, len(list.Tokens)), NextPage: list.Next}
	for i, t := range list.Tokens {
		v.Tokens[i] = view(t)
	}
	return v, nil
}

type deleteCall struct {
	admitted
	id string
}

func (h *Handler) readDelete(r *http.Request) (deleteCall, error) {
	const pattern = TokensPath + "/{token_id}"
	a, err := h.enter(r, pattern, toAdminister)
	if err != nil {
		return deleteCall{}, err
	}
	id, err := endpoint.Segment(r, pattern, "token_id")
	if err != nil {
		return deleteCall{}, notFound(err)
	}
	return deleteCall{a, id}, nil
}

func (h *Handler) serveDelete(ctx context.Context, _ keywright.Principal, c deleteCall) (endpoint.Empty, error) {
	return endpoint.Empty{}, h.delete(ctx, c.admitted, c.id)
}
