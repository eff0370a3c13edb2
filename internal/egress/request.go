package egress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A Response is what a server answered.
type Response struct {
	Status int
	Header http.Header
	Body   []byte // nil or empty: it sent none
}

// Get fetches a document of at most max bytes, which is 1 MiB or less. Only
// status 200 is a success. It follows up to 3 redirects, within the scheme, host
// and port of rawURL. The time allowed is that of ctx, or 10 seconds if it has
// no deadline.
//
// Errors tell the host, never the path, the query or the document.
func (c *Client) Get(ctx context.Context, rawURL string, max int64) ([]byte, error) {
	r, err := c.get(ctx, rawURL, max, maxRedirects)
	return r.Body, err
}

func (c *Client) get(ctx context.Context, rawURL string, max int64, redirects int) (Response, error) {
	return c.bounded(ctx, rawURL, max, func(ctx context.Context, u *url.URL) (Response, error) {
		return c.follow(ctx, u, max, redirects)
	})
}

// A Message is what [Client.Post] sends.
type Message struct {
	URL    string
	Header http.Header // such as the Content-Type; nil: none but our own
	Body   []byte

	// Sign, if not nil, is called with the request before it is sent: method,
	// URL, Host, header and body are those that will be, and the context ends
	// with the call. What it does to the header is sent, and nothing else that it
	// changes.
	Sign func(*http.Request) error

	// MaxAnswer is the most bytes that the answer may have, up to 1 MiB.
	MaxAnswer int64
}

// Post sends a message, under the rules of [Client.Get] for URLs, addresses,
// sizes and times. It follows no redirect: one is an error that wraps
// [ErrRefused]. Any other status of 200 or more is an answer, which the caller
// must judge. User-Agent and Accept-Encoding are ours whatever the message says.
//
// Errors tell the host, and what Sign returned; never the path, the query, a
// value of the header or the body.
func (c *Client) Post(ctx context.Context, m Message) (Response, error) {
	return c.bounded(ctx, m.URL, m.MaxAnswer, func(ctx context.Context, u *url.URL) (Response, error) {
		return c.post(ctx, u, m)
	})
}

// bounded makes one call, redirects and all, in the time that there is.
func (c *Client) bounded(ctx context.Context, rawURL string, max int64, call func(context.Context, *url.URL) (Response, error)) (Response, error) {
	if max < 1 || max > maxBody {
		return Response{}, fmt.Errorf("egress: limit of %d bytes, want 1 to %d", max, maxBody)
	}
	u, err := c.parse(rawURL)
	if err != nil {
		return Response{}, err
	}
	timeout := defaultTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = time.Until(deadline)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r, err := call(ctx, u)
	switch {
	case err == nil:
		return r, nil
	case ctx.Err() != nil && !errors.Is(err, ErrRefused):
		// The connection was closed under the reader, which says only that.
		err = ctx.Err()
	}
	return Response{}, fmt.Errorf("egress: %s: %w", u.Host, clipped{err})
}

func (c *Client) follow(ctx context.Context, u *url.URL, max int64, redirects int) (Response, error) {
	for range 1 + redirects {
		r, next, err := c.fetch(ctx, u, max)
		if err != nil || next == nil {
			return r, err
		}
		u = next
	}
	return Response{}, fmt.Errorf("more than %d redirects: %w", redirects, ErrRefused)
}

// fetch makes one request. It returns the document or where it has moved to.
func (c *Client) fetch(ctx context.Context, u *url.URL, max int64) (Response, *url.URL, error) {
	resp, err := c.transport.RoundTrip(newRequest(ctx, http.MethodGet, u, nil))
	if err != nil {
		return Response{}, nil, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusOK:
		r, err := read(resp, max)
		return r, nil, err
	case isRedirect(resp.StatusCode):
		next, err := c.next(u, resp.Header.Get("Location"))
		return Response{}, next, err
	}
	return Response{}, nil, fmt.Errorf("status %d", resp.StatusCode)
}

func (c *Client) post(ctx context.Context, u *url.URL, m Message) (Response, error) {
	req := withBody(newRequest(ctx, http.MethodPost, u, m.Header), m.Body)
	if m.Sign != nil {
		shown := withBody(req.Clone(ctx), m.Body)
		if err := m.Sign(shown); err != nil {
			return Response{}, fmt.Errorf("sign: %w", err)
		}
		req.Header = shown.Header
	}
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return Response{}, err
	}
	defer resp.Body.Close()
	switch {
	case isRedirect(resp.StatusCode):
		return Response{}, fmt.Errorf("redirect of a POST: %w", ErrRefused)
	case resp.StatusCode < http.StatusOK: // switching to a protocol that is none of ours
		return Response{}, fmt.Errorf("status %d", resp.StatusCode)
	}
	return read(resp, m.MaxAnswer)
}

// newRequest makes a request for the Transport and not for an http.Client, whose
// errors hold whole URLs and which follows redirects by rules of its own.
func newRequest(ctx context.Context, method string, u *url.URL, header http.Header) *http.Request {
	h := header.Clone()
	if h == nil {
		h = make(http.Header)
	}
	if h.Get("Accept") == "" {
		h.Set("Accept", "application/json")
	}
	h.Set("Accept-Encoding", "identity")
	h.Set("User-Agent", "keywright")
	return (&http.Request{Method: method, URL: u, Host: u.Host, Header: h}).WithContext(withCall(ctx, u))
}

func withBody(req *http.Request, body []byte) *http.Request {
	if len(body) == 0 {
		req.Body = http.NoBody // any other of length 0 is one of unknown length
		return req
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	req.ContentLength = int64(len(body))
	return req
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// read reads max bytes and one more, to see that there is none.
func read(resp *http.Response, max int64) (Response, error) {
	for _, coding := range resp.Header.Values("Content-Encoding") {
		if !strings.EqualFold(coding, "identity") {
			return Response{}, errors.New("the answer is encoded, which was not asked for")
		}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, max+1))
	switch {
	case int64(len(body)) > max:
		return Response{}, fmt.Errorf("more than %d bytes", max)
	case err != nil:
		return Response{}, err
	}
	return Response{resp.StatusCode, resp.Header, body}, nil
}
