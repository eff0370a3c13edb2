package exchange

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/keywright/keywright/internal/apicall"
	"github.com/keywright/keywright/internal/strictjson"
)

// A clientRequest is a POST if it has a form, else a GET.
type clientRequest struct {
	target        string
	form          []string // names and values
	authorization string
	secret        string // what no error may hold
}

// A clientAnswer is a response with its body read whole.
type clientAnswer struct {
	asked  time.Time // before the server saw the request, so that what it says lasts is not counted too long
	status int
	header http.Header
	body   []byte // nil if longer than clientMaxBody, or if an answer of failure was cut short
	secret string
	unsent bool // no connection was had, so the server cannot have acted
}

const (
	clientMaxBody  = 64 << 10
	clientRetries  = 2
	clientMaxPause = 30 * time.Second
	clientMaxHops  = 5
)

// send sends the request, and again where the server says when.
func (c Client) send(ctx context.Context, r clientRequest) (clientAnswer, error) {
	h := http.Client{Timeout: 30 * time.Second}
	if c.HTTP != nil {
		h = *c.HTTP
	}
	h.CheckRedirect = clientRedirect
	for n := 0; ; n++ {
		a, err := r.send(ctx, &h)
		pause, again := a.retryAfter()
		if err != nil || !again || n == clientRetries || !clientWait(ctx, pause) {
			return a, err
		}
	}
}

// clientRedirect follows a GET on its own host. A redirected POST would come as
// a GET, or take its secret elsewhere.
func clientRedirect(req *http.Request, via []*http.Request) error {
	from, to := via[0].URL, req.URL
	if via[0].Method != http.MethodGet || len(via) > clientMaxHops || to.Scheme != from.Scheme || !strings.EqualFold(to.Host, from.Host) {
		return http.ErrUseLastResponse
	}
	return nil
}

// clientWait reports whether ctx lasted for d, and does not begin if it cannot.
func clientWait(ctx context.Context, d time.Duration) bool {
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (r clientRequest) send(ctx context.Context, h *http.Client) (clientAnswer, error) {
	var wanted, had atomic.Bool // a connection; neither where HTTP does not tell
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { wanted.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { had.Store(true) },
	})
	req, err := r.request(ctx)
	if err != nil {
		return clientAnswer{unsent: true}, err
	}
	asked := time.Now()
	res, err := h.Do(req)
	if err != nil {
		return clientAnswer{unsent: wanted.Load() && !had.Load()}, r.connectionError(err)
	}
	defer res.Body.Close()
	a := clientAnswer{asked: asked, status: res.StatusCode, header: res.Header, secret: r.secret}
	switch body, err := io.ReadAll(io.LimitReader(res.Body, clientMaxBody+1)); {
	case err == nil && len(body) <= clientMaxBody:
		a.body = body
	case err != nil && a.status >= 200 && a.status <= 299:
		return clientAnswer{}, r.connectionError(err)
	}
	return a, nil
}

func (r clientRequest) request(ctx context.Context) (*http.Request, error) {
	method, form := http.MethodGet, ""
	if r.form != nil {
		method = http.MethodPost
	}
	for i := 0; i < len(r.form); i += 2 {
		form += "&" + r.form[i] + "=" + url.QueryEscape(r.form[i+1])
	}
	req, err := http.NewRequestWithContext(ctx, method, r.target, strings.NewReader(strings.TrimPrefix(form, "&")))
	if err != nil {
		return nil, errors.New("exchange: not a URL that requests can be sent to")
	}
	req.Header.Set("Accept", "application/json")
	if r.form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if r.authorization != "" {
		req.Header.Set("Authorization", r.authorization)
	}
	return req, nil
}

// connectionError keeps the cause, unless it quotes an answer that quotes the secret.
func (r clientRequest) connectionError(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if clientReveals(err.Error(), r.secret) {
		return fmt.Errorf("%w: the answer is not HTTP", ErrConnection)
	}
	return fmt.Errorf("%w: %w", ErrConnection, err)
}

// retryAfter reads when to try again (RFC 9110, section 10.2.3).
func (a clientAnswer) retryAfter() (pause time.Duration, again bool) {
	if a.status != http.StatusTooManyRequests && a.status != http.StatusServiceUnavailable {
		return 0, false
	}
	text := a.header.Get("Retry-After")
	seconds, err := strconv.ParseUint(text, 10, 31)
	pause = time.Duration(seconds) * time.Second
	if err != nil {
		at, err := http.ParseTime(text)
		if err != nil {
			return 0, false
		}
		pause = time.Until(at)
	}
	return pause, pause <= clientMaxPause
}

func (a clientAnswer) json() (strictjson.Members, bool) {
	media, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil || media != "application/json" {
		return strictjson.Members{}, false
	}
	m, err := strictjson.Object(a.body)
	return m, err == nil
}

// refusal tells an answer to the identity token apart as Connect's client does:
// by words in the description.
func (a clientAnswer) refusal() error {
	e := a.statusError()
	if e.Status != http.StatusBadRequest || e.Code != "invalid_grant" {
		return e
	}
	m, _ := a.json()
	description, _ := m.String("error_description")
	class, description := ErrNoMatch, strings.ToLower(description)
	switch {
	case strings.Contains(description, "ambiguous"):
		class = ErrAmbiguous
	case strings.Contains(description, "verif"):
		class = ErrVerification
	}
	if e.Description == "" {
		return class
	}
	return fmt.Errorf("%w (the server: %s)", class, e.Description)
}

// statusError reads both the errors of RFC 6749, section 5.2, and Connect's.
func (a clientAnswer) statusError() *StatusError {
	m, _ := a.json()
	code, _ := m.String("error")
	description, _ := m.String("error_description")
	if number, err := m.Int("code"); err == nil {
		code, description = strconv.FormatInt(number, 10), code
	}
	return &StatusError{Status: a.status, Code: a.printable(code), Description: a.printable(description)}
}

// printable makes words of the server fit for an error.
func (a clientAnswer) printable(text string) string {
	const most = 200
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
	if clientReveals(text, a.secret) {
		return "(withheld, for it repeats a secret)"
	}
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return text
}

// clientReveals reports whether text repeats a secret, or a part of a token.
func clientReveals(text, secret string) bool {
	for part := range strings.SplitSeq(secret, ".") {
		if len(part) >= 16 && strings.Contains(text, part) {
			return true
		}
	}
	return secret != "" && strings.Contains(text, secret)
}

// clientURL reads an absolute URL that can be sent to exactly as it is written.
func clientURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "",
		u.User != nil, strings.Contains(text, "#"),
		strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }),
		u.Path != "" && !strings.HasSuffix(text, u.RequestURI()):
		return nil, errors.New("not an absolute http(s) URL without user and fragment")
	}
	return u, nil
}

// base returns URL in parts, if it is one that paths can be appended to.
func (c Client) base() (*url.URL, error) {
	u, err := clientURL(c.URL)
	if err != nil || strings.Contains(c.URL, "?") {
		return nil, errors.New("exchange: Client.URL: want https://host[:port][/prefix]")
	}
	if u.Scheme != "https" && !apicall.IsLoopback(u.Hostname()) {
		return nil, errors.New("exchange: Client.URL: want https: the identity token and the key travel there (http only to this machine)")
	}
	return u, nil
}

// checkEndpoint checks an address in the metadata before a secret goes there.
func (c Client) checkEndpoint(text string) error {
	u, err := clientURL(text)
	switch {
	case err != nil:
		return err
	case u.Scheme != "https" && !strings.HasPrefix(c.URL, "http:"):
		return errors.New("not https, though Client.URL is")
	case u.Scheme != "https" && !apicall.IsLoopback(u.Hostname()):
		return errors.New("not https, and not on this machine")
	}
	return nil
}

// clientKeyLegal reports whether a key can stand in a header.
func clientKeyLegal(key string) bool {
	return key != "" && !strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' })
}
