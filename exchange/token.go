package exchange

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/internal/limit"
)

// A tokenRequest is what RFC 8693, section 2.1, lets a client ask for.
type tokenRequest struct {
	subjectToken  string
	requestedType string
	scopes        []string // none: all that the publisher may have
	targets       []string // audience and resource; none: all
}

func (h *Handler) tokenEndpoint() http.Handler {
	return endpoint.New(endpoint.Spec{Name: "exchange", Method: http.MethodPost, Dialect: keywright.OAuth, Hooks: h.host.Hooks},
		limited(h, readTokenRequest), counted(h, h.exchange))
}

// limited keeps addresses out that fail too often, before anything is read.
func limited[Req any](h *Handler, decode func(*http.Request) (Req, error)) func(*http.Request) (Req, error) {
	return func(r *http.Request) (req Req, err error) {
		if wait := h.failures.Wait(keywright.RemoteAddr(keywright.WithRequestAddr(r))); wait > 0 {
			return req, &keywright.Error{Code: keywright.CodeRateLimited, Detail: "too many requests from this address were refused", Header: limit.RetryAfter(wait)}
		}
		req, err = decode(r)
		h.count(keywright.WithRequestAddr(r), err)
		return req, err
	}
}

// counted counts the failures of do against the address.
func counted[Req, Resp any](h *Handler, do func(context.Context, keywright.Principal, Req) (Resp, error)) func(context.Context, keywright.Principal, Req) (Resp, error) {
	return func(ctx context.Context, caller keywright.Principal, req Req) (Resp, error) {
		resp, err := do(ctx, caller, req)
		h.count(ctx, err)
		return resp, err
	}
}

func (h *Handler) count(ctx context.Context, err error) {
	if err != nil && keywright.AsError(err).Code.Status() < 500 {
		h.failures.Fail(keywright.RemoteAddr(ctx))
	}
}

// readTokenRequest reads the parameters. Whoever sends one that is not
// understood would take the key for something else than it is.
func readTokenRequest(r *http.Request) (tokenRequest, error) {
	form, err := endpoint.Form(r, "resource", "audience")
	if err != nil {
		return tokenRequest{}, err
	}
	invalid := func(detail string) (tokenRequest, error) {
		return tokenRequest{}, keywright.Errorf(keywright.CodeInvalidRequest, "%s", detail)
	}
	switch form.Get("grant_type") {
	case "":
		return invalid("grant_type is missing")
	case grantType:
	default:
		return tokenRequest{}, keywright.Errorf(keywright.CodeUnsupportedGrantType, "the only grant type is %s", grantType)
	}
	req := tokenRequest{subjectToken: form.Get("subject_token"), requestedType: form.Get("requested_token_type")}
	switch {
	case req.subjectToken == "":
		return invalid("subject_token is missing")
	case form.Get("actor_token") != "" || form.Get("actor_token_type") != "":
		return invalid("delegation is not supported: leave out actor_token and actor_token_type")
	}
	switch form.Get("subject_token_type") {
	case typeIDToken, typeJWT:
	case "":
		return invalid("subject_token_type is missing")
	default:
		return invalid("subject_token_type must be " + typeIDToken + " or " + typeJWT)
	}
	switch req.requestedType {
	case "":
		req.requestedType = typeAccessToken
	case typeAccessToken, typeConnectKey:
	default:
		return invalid("requested_token_type must be " + typeAccessToken)
	}
	return req, req.readLimits(form)
}

// readLimits reads the parameters that ask for less than there is.
func (req *tokenRequest) readLimits(form url.Values) error {
	req.targets = append(form["audience"], form["resource"]...)
	if len(req.targets) > maxScopes || strings.Count(form.Get("scope"), " ") >= maxScopes {
		return keywright.Errorf(keywright.CodeInvalidRequest, "more than %d targets or scopes", maxScopes)
	}
	for _, s := range strings.Split(form.Get("scope"), " ") {
		switch {
		case s == "" && form.Get("scope") == "":
		case !isScope(s):
			return keywright.Errorf(keywright.CodeInvalidScope, "scope is not a list of scopes with single spaces between")
		default:
			req.scopes = append(req.scopes, s)
		}
	}
	for _, resource := range form["resource"] {
		if u, err := url.Parse(resource); err != nil || !u.IsAbs() || strings.Contains(resource, "#") {
			return keywright.Errorf(keywright.CodeInvalidTarget, "resource must be an absolute URI without a fragment")
		}
	}
	return nil
}

// exchange answers a request with a new key.
func (h *Handler) exchange(ctx context.Context, _ keywright.Principal, req tokenRequest) (tokenResponse, error) {
	id, err := h.verify(ctx, req.subjectToken)
	if err != nil {
		return tokenResponse{}, err
	}
	var resp tokenResponse
	err = endpoint.Retry(func() error {
		resp, err = h.trade(ctx, id, req)
		return err
	})
	return resp, err
}
