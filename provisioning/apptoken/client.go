package apptoken

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ErrLost says that a token may have been made and that its secret is lost: List
// shows it by its name, and Delete ends it. It comes with the cause, which is a
// [*StatusError] where a gateway answered.
var ErrLost = errors.New("apptoken: the token may have been made, and is lost")

// A StatusError is an answer other than success. Code and Detail are the
// server's words, made printable and cut to a length; either may be empty.
type StatusError struct {
	Status     int
	Code       string // such as "invalid_scope"
	Detail     string
	RetryAfter time.Duration // how long to wait; 0: the server did not say
}

// Error tells all of it.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("apptoken: the server answers %d %s", e.Status, http.StatusText(e.Status))
	for _, more := range []string{e.Code, e.Detail} {
		if more != "" {
			text += ": " + more
		}
	}
	return text
}

// A Client manages application tokens of a server: of this package, or Quay. It
// is safe for concurrent use if its Authorization and HTTP are.
//
// It speaks as Quay does, which this package's servers understand: the path has
// "applications", and Create sends scope, a string, and expiration in seconds.
// Quay knows neither the guide's scopes and "30d" nor a token without an end.
// Nothing is tried again by itself. Errors are a [*StatusError], wrap ErrLost, or
// tell what is wrong with the arguments or the connection; none holds a secret.
type Client struct {
	// URL is that of the server, with its path prefix if it has one: https, or
	// http to this machine.
	URL string

	// Authorization is how requests are authenticated: [Bearer], [Basic] or the
	// host's own. Required.
	Authorization AuthorizationSource

	// HTTP sends the requests; nil: a client that gives up after 30 seconds.
	// Redirects are never followed.
	HTTP *http.Client
}

// An AuthorizationSource returns the value of the Authorization field. It is
// asked for every request.
type AuthorizationSource func(ctx context.Context) (string, error)

// Bearer authenticates by a token or another key of the server.
func Bearer(token string) AuthorizationSource {
	return func(context.Context) (string, error) { return "Bearer " + token, nil }
}

// Basic authenticates as a super user, for zero-touch bootstrap.
func Basic(user, password string) AuthorizationSource {
	return func(context.Context) (string, error) {
		if strings.Contains(user, ":") {
			return "", errors.New("apptoken: Basic: a user name cannot have a colon (RFC 7617, section 2)")
		}
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)), nil
	}
}

// Create makes a token.
func (c Client) Create(ctx context.Context, org, clientID string, s Spec) (NewToken, error) {
	body := clientRequest{Name: s.Name, Scope: strings.Join(s.Scopes, " ")}
	switch {
	case s.Lifetime < 0 || s.Lifetime%time.Second != 0 || s.Never && s.Lifetime != 0:
		return NewToken{}, errors.New("apptoken: Spec: want whole seconds, or Never")
	case s.Never:
		body.Expiration = "never"
	case s.Lifetime > 0:
		body.Expiration = int64(s.Lifetime / time.Second)
	}
	a, err := c.send(ctx, call{method: http.MethodPost, segments: []string{org, clientID}, body: body})
	switch {
	case err != nil && a.Unsent:
		return NewToken{}, err
	case err != nil:
		return NewToken{}, fmt.Errorf("%w: %w", ErrLost, err)
	case gateway(a.Status):
		return NewToken{}, fmt.Errorf("%w: %w", ErrLost, statusError(a))
	case !a.OK():
		return NewToken{}, statusError(a)
	}
	m, err := a.Members()
	if err == nil {
		var made NewToken
		if made, err = readMade(m); err == nil {
			return made, nil
		}
	}
	return NewToken{}, fmt.Errorf("%w: an answer of success that cannot be read: %w", ErrLost, err)
}

// List yields the tokens of an application that have not expired, newest first.
// It asks for the next page when the loop gets there. An error ends it.
func (c Client) List(ctx context.Context, org, clientID string) iter.Seq2[Token, error] {
	return func(yield func(Token, error) bool) {
		cursor := ""
		for {
			page, err := c.page(ctx, org, clientID, cursor)
			if err == nil && page.Next != "" && page.Next == cursor {
				err = errors.New("apptoken: the server gives the same page again and again")
			}
			if err != nil {
				yield(Token{}, err)
				return
			}
			for _, t := range page.Tokens {
				if !yield(t, nil) {
					return
				}
			}
			if cursor = page.Next; cursor == "" {
				return
			}
		}
	}
}

func (c Client) page(ctx context.Context, org, clientID, cursor string) (Tokens, error) {
	query := ""
	if cursor != "" {
		query = "?" + url.Values{"next_page": {cursor}}.Encode()
	}
	a, err := c.send(ctx, call{method: http.MethodGet, segments: []string{org, clientID}, query: query})
	switch {
	case err != nil:
		return Tokens{}, err
	case a.Status != http.StatusOK:
		return Tokens{}, statusError(a)
	}
	m, err := a.Members()
	if err == nil {
		var page Tokens
		if page, err = readPageView(m); err == nil {
			return page, nil
		}
	}
	return Tokens{}, fmt.Errorf("apptoken: the answer cannot be read: %w", err)
}

// Delete ends a token. One that is not there is a [*StatusError] of 404.
func (c Client) Delete(ctx context.Context, org, clientID, id string) error {
	a, err := c.send(ctx, call{method: http.MethodDelete, segments: []string{org, clientID, id}})
	switch {
	case err != nil:
		return err
	case !a.OK():
		return statusError(a)
	}
	return nil
}
