// Package apicall is how the clients of keywright call a server's JSON API:
// over TLS, without following redirects, with bounded answers, and without a
// secret in any error.
package apicall

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/keywright/keywright/internal/strictjson"
)

// maxReply bounds an answer, unless the call says less.
const maxReply = 1 << 20

// ErrConnection is what all errors wrap that come of the way to the server and back,
// and not of the call. Unless the Reply is Unsent, the server may have acted.
var ErrConnection = errors.New("no connection")

// A Server is where calls go.
type Server struct {
	Package string       // begins every error
	URL     string       // with its path prefix if it has one: https, or http to this machine
	HTTP    *http.Client // nil: one that gives up after 30 seconds
}

// A Call is one request.
type Call struct {
	Method        string
	Path          string      // escaped, begins with "/"
	Authorization string      // the header's value; empty: none
	Header        http.Header // further fields; may be nil
	Body          any         // sent as JSON; nil: none
	Secrets       []string    // in Body, that no error may hold; that of Authorization is known

	// Sign, if not nil, is called with the request when all else of it is set.
	Sign func(*http.Request) error

	// Wait is how much longer than usual the server may take to answer.
	Wait time.Duration

	// MaxReply is the most bytes of an answer of success, up to 1 MiB; 0: that.
	MaxReply int64
}

// usualTimeout is that of clients that have none of their own.
const usualTimeout = 30 * time.Second

// A Reply is a response with its body read whole.
type Reply struct {
	Status int
	Header http.Header
	Unsent bool // the server cannot have acted

	body    []byte
	secrets []string
}

// Do sends the call, once. A Reply of any status is no error.
func (s Server) Do(ctx context.Context, c Call) (Reply, error) {
	req, err := s.request(ctx, c)
	if err == nil && c.Sign != nil {
		err = c.Sign(req)
	}
	if err != nil {
		return Reply{Unsent: true}, fmt.Errorf("%s: %w", s.Package, err)
	}
	var wanted, had atomic.Bool // a connection; neither where HTTP does not tell
	trace := &httptrace.ClientTrace{
		GetConn: func(string) { wanted.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { had.Store(true) },
	}
	h := http.Client{Timeout: usualTimeout}
	if s.HTTP != nil {
		h = *s.HTTP
	}
	if h.Timeout > 0 {
		h.Timeout += c.Wait
	}
	// It would take the credential, or the body, somewhere else.
	h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	ended := ctx.Err() != nil // before it was sent
	r := Reply{secrets: append(secretsOf(c.Authorization), c.Secrets...)}
	res, err := h.Do(req.WithContext(httptrace.WithClientTrace(ctx, trace)))
	if err != nil {
		r.Unsent = ended || wanted.Load() && !had.Load()
		return r, s.connectionError(r, err)
	}
	defer res.Body.Close()
	r.Status, r.Header = res.StatusCode, res.Header
	most := int64(maxReply)
	if c.MaxReply > 0 {
		most = min(most, c.MaxReply)
	}
	switch r.body, err = io.ReadAll(io.LimitReader(res.Body, most+1)); {
	case int64(len(r.body)) > most && r.OK():
		return r, fmt.Errorf("%s: the answer is longer than %d bytes", s.Package, most)
	case err != nil && r.OK():
		return r, s.connectionError(r, err)
	}
	return r, nil
}

func (s Server) request(ctx context.Context, c Call) (*http.Request, error) {
	base, err := s.base()
	if err != nil {
		return nil, err
	}
	if strings.ContainsFunc(c.Authorization, func(r rune) bool { return r < ' ' || r > '~' }) {
		return nil, errors.New("the credential cannot stand in a header")
	}
	var body io.Reader
	if c.Body != nil {
		data, err := json.Marshal(c.Body)
		if err != nil {
			return nil, errors.New("the request cannot be written as JSON")
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, c.Method, base+c.Path, body)
	if err != nil {
		return nil, errors.New("not a URL that requests can be sent to")
	}
	maps.Copy(req.Header, c.Header)
	req.Header.Set("Accept", "application/json, application/problem+json")
	if c.Authorization != "" {
		req.Header.Set("Authorization", c.Authorization)
	}
	if c.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// base is the URL without a slash at its end.
func (s Server) base() (string, error) {
	u, err := url.Parse(s.URL)
	switch {
	case err != nil, u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "", u.User != nil, strings.ContainsAny(s.URL, "?#"):
		return "", errors.New("Client.URL: want https://host[:port][/prefix]")
	case u.Scheme != "https" && !IsLoopback(u.Hostname()):
		return "", errors.New("Client.URL: want https: secrets travel there (http only to this machine)")
	}
	return strings.TrimRight(s.URL, "/"), nil
}

// IsLoopback reports whether a URL's host name is this machine, to which secrets
// may go without TLS.
func IsLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
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
func (r Reply) reveals(text string) bool {
	for _, s := range r.secrets {
		if s != "" && strings.Contains(text, s) {
			return true
		}
	}
	return false
}

// connectionError keeps the cause, unless it quotes an answer that quotes a secret.
func (s Server) connectionError(r Reply, err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if r.reveals(err.Error()) {
		return fmt.Errorf("%s: %w: the answer is not HTTP", s.Package, ErrConnection)
	}
	return fmt.Errorf("%s: %w: %w", s.Package, ErrConnection, err)
}

// OK reports whether the status is one of success.
func (r Reply) OK() bool { return r.Status >= 200 && r.Status <= 299 }

// Members reads the body as one JSON object.
func (r Reply) Members() (strictjson.Members, error) {
	m, err := strictjson.Object(r.body)
	if err != nil {
		return m, errors.New("no JSON object") // its own error may quote a name
	}
	return m, nil
}

// Decode reads the body into v, passing over members that v does not have.
func (r Reply) Decode(v any) error {
	if _, err := r.Members(); err != nil {
		return err
	}
	if err := json.Unmarshal(r.body, v); err != nil {
		return errors.New("members of another type") // its own error may quote a value
	}
	return nil
}

// Text returns the first of the members with these names that is a text, made
// printable and cut to a length: the server's words, fit for an error.
func (r Reply) Text(names ...string) string {
	m, err := r.Members()
	if err != nil {
		return ""
	}
	for _, name := range names {
		if text, err := m.String(name); err == nil && text != "" {
			return r.Printable(text)
		}
	}
	return ""
}

// Printable returns words of the server's as Text does.
func (r Reply) Printable(text string) string {
	const most = 200
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
	if r.reveals(text) {
		return "(withheld, for it repeats a secret)"
	}
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return text
}

// RetryAfter is how long the server asks to wait; 0: it does not.
func (r Reply) RetryAfter() time.Duration {
	const longest = 365 * 24 * 3600
	seconds, err := strconv.ParseInt(r.Header.Get("Retry-After"), 10, 64)
	if err != nil || seconds <= 0 {
		return 0
	}
	return time.Duration(min(seconds, longest)) * time.Second
}
