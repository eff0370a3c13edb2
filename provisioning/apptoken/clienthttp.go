package apptoken

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/keywright/keywright/internal/apicall"
)

// A call is a request about the tokens of an application.
type call struct {
	method   string
	segments []string // organisation, client id and, for one token, its id
	query    string
	body     any // sent as JSON; nil: none
}

func (c Client) send(ctx context.Context, k call) (apicall.Reply, error) {
	unsent := apicall.Reply{Unsent: true}
	path, err := k.path()
	if err != nil {
		return unsent, err
	}
	if c.Authorization == nil {
		return unsent, errors.New("apptoken: Client.Authorization is required")
	}
	authorization, err := c.Authorization(ctx)
	switch {
	case err != nil:
		return unsent, err
	case !isHeaderText(authorization):
		return unsent, errors.New("apptoken: Client.Authorization: not the value of a header field")
	}
	return apicall.Server{Package: "apptoken", URL: c.URL, HTTP: c.HTTP}.Do(ctx, apicall.Call{
		Method: k.method, Path: path + k.query, Authorization: authorization, Body: k.body,
	})
}

// path spells the path as Quay does.
func (k call) path() (string, error) {
	for _, s := range k.segments {
		if s == "" || s == "." || s == ".." {
			return "", errors.New("apptoken: organisation, client id and token id must be names")
		}
	}
	path := "/api/v1/organization/" + url.PathEscape(k.segments[0]) + "/applications/" + url.PathEscape(k.segments[1]) + "/tokens"
	if len(k.segments) > 2 {
		path += "/" + url.PathEscape(k.segments[2])
	}
	return path, nil
}

// statusError reads Quay's three shapes of errors, one of which says that it is
// HTML, and those of others that have members of these names.
func statusError(a apicall.Reply) *StatusError {
	return &StatusError{
		Status: a.Status, Code: a.Text("error_type"), Detail: a.Text("detail", "error_message", "message", "error"), RetryAfter: a.RetryAfter(),
	}
}

// gateway reports whether the answer may be one about a server that has acted.
func gateway(status int) bool {
	switch status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// isHeaderText reports whether s can stand in a header, as a token must.
func isHeaderText(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
