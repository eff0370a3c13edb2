package apptoken

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/keywright/keywright/internal/strictjson"
)

// A call is a request about the tokens of an application.
type call struct {
	method   string
	segments []string // organisation, client id and, for one token, its id
	query    string
	body     []byte // JSON; nil: none
}

// A reply is a response with its body read whole.
type reply struct {
	status  int
	header  http.Header
	body    []byte
	secrets []string // what no error may hold
	unsent  bool     // the server cannot have acted
}

// maxReply bounds an answer: a page of Quay's has 50 tokens.
const maxReply = 1 << 20

func (c Client) send(ctx context.Context, k call) (reply, error) {
	target, err := c.target(k)
	if err != nil {
		return reply{unsent: true}, err
	}
	if c.Authorization == nil {
		return reply{unsent: true}, errors.New("apptoken: Client.Authorization is required")
	}
	authorization, err := c.Authorization(ctx)
	switch {
	case err != nil:
		return reply{unsent: true}, err
	case !isHeaderText(authorization):
		return reply{unsent: true}, errors.New("apptoken: Client.Authorization: not the value of a header field")
	}
	h := http.Client{Timeout: 30 * time.Second}
	if c.HTTP != nil {
		h = *c.HTTP
	}
	// It would take the credential, or the body, somewhere else.
	h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return k.send(ctx, &h, target, authorization)
}

func (k call) send(ctx context.Context, h *http.Client, target, authorization string) (reply, error) {
	var wanted, had atomic.Bool // a connection; neither where HTTP does not tell
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { wanted.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { had.Store(true) },
	})
	req, err := http.NewRequestWithContext(ctx, k.method, target, bytes.NewReader(k.body))
	if err != nil {
		return reply{unsent: true}, errors.New("apptoken: Client.URL: not one that requests can be sent to")
	}
	req.Header.Set("Authorization", authorization)
	req.Header.Set("Accept", "application/json, application/problem+json")
	if k.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	a := reply{secrets: secretsOf(authorization)}
	if err := ctx.Err(); err != nil {
		a.unsent = true
		return a, a.connectionError(err)
	}
	res, err := h.Do(req)
	if err != nil {
		a.unsent = wanted.Load() && !had.Load()
		return a, a.connectionError(err)
	}
	defer res.Body.Close()
	a.status, a.header = res.StatusCode, res.Header
	switch a.body, err = io.ReadAll(io.LimitReader(res.Body, maxReply+1)); {
	case len(a.body) > maxReply && a.succeeded():
		return a, fmt.Errorf("apptoken: the answer is longer than %d bytes", maxReply)
	case err != nil && a.succeeded():
		return a, a.connectionError(err)
	}
	return a, nil
}

func (a reply) succeeded() bool { return a.status >= 200 && a.status <= 299 }

// target is where a call goes.
func (c Client) target(k call) (string, error) {
	u, err := url.Parse(c.URL)
	switch {
	case err != nil, u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "", u.User != nil, strings.ContainsAny(c.URL, "?#"):
		return "", errors.New("apptoken: Client.URL: want https://host[:port][/prefix]")
	case u.Scheme != "https" && !isLoopback(u.Hostname()):
		return "", errors.New("apptoken: Client.URL: want https: credentials and tokens travel there (http only to this machine)")
	}
	for _, s := range k.segments {
		if s == "" || s == "." || s == ".." {
			return "", errors.New("apptoken: organisation, client id and token id must be names")
		}
	}
	path := "/api/v1/organization/" + url.PathEscape(k.segments[0]) + "/applications/" + url.PathEscape(k.segments[1]) + "/tokens"
	if len(k.segments) > 2 {
		path += "/" + url.PathEscape(k.segments[2])
	}
	return strings.TrimRight(c.URL, "/") + path + k.query, nil
}

// isHeaderText reports whether s can be the value of a header field.
func isHeaderText(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// secretsOf returns the parts of an Authorization that are secret.
func secretsOf(authorization string) []string {
	_, credential, ok := strings.Cut(authorization, " ")
	if !ok {
		credential = authorization
	}
	secrets := strings.FieldsFunc(credential, func(r rune) bool { return r == ' ' || r == '.' }) // a JWT has parts
	if plain, err := base64.StdEncoding.DecodeString(credential); err == nil {
		if _, password, ok := strings.Cut(string(plain), ":"); ok {
			secrets = append(secrets, password)
		}
	}
	return secrets
}

// reveals reports whether text repeats a secret.
func (a reply) reveals(text string) bool {
	for _, s := range a.secrets {
		if s != "" && strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// connectionError keeps the cause, unless it quotes an answer that quotes a secret.
func (a reply) connectionError(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if a.reveals(err.Error()) {
		return errors.New("apptoken: no connection: the answer is not HTTP")
	}
	return fmt.Errorf("apptoken: no connection: %w", err)
}

func (a reply) object() (strictjson.Members, error) {
	m, err := strictjson.Object(a.body)
	if err != nil {
		return m, errors.New("no JSON object") // its own error may quote a name
	}
	return m, nil
}

// statusError reads Quay's three shapes of errors, one of which says that it is
// HTML, and those of others that have members of these names.
func (a reply) statusError() *StatusError {
	e := &StatusError{Status: a.status}
	if m, err := a.object(); err == nil {
		e.Code, _ = m.String("error_type")
		for _, name := range []string{"detail", "error_message", "message", "error"} {
			if e.Detail, _ = m.String(name); e.Detail != "" {
				break
			}
		}
	}
	e.Code, e.Detail = a.printable(e.Code), a.printable(e.Detail)
	const longest = 365 * 24 * 3600
	if seconds, err := strconv.ParseInt(a.header.Get("Retry-After"), 10, 64); err == nil && seconds > 0 {
		e.RetryAfter = time.Duration(min(seconds, longest)) * time.Second
	}
	return e
}

// printable makes words of the server fit for an error.
func (a reply) printable(text string) string {
	const most = 200
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
	if a.reveals(text) {
		return "(withheld, for it repeats a secret)"
	}
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return text
}
