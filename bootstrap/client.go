package bootstrap

import (
	"context"
	"crypto"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/jose"
)

// What a server answers instead of a key. [Client.Bootstrap] wraps them.
var (
	ErrUnauthorized = errors.New("bootstrap: the server does not accept the token: check the secret and both clocks") // 401
	ErrClaimed      = errors.New("bootstrap: the server has its first admin key already")                             // 403
	ErrNotFound     = errors.New("bootstrap: no such endpoint: check the URL, or bootstrap is turned off")            // 404
)

// A StatusError is any other answer than 200, 401, 403 and 404.
type StatusError struct{ Status int }

func (e *StatusError) Error() string {
	return fmt.Sprintf("bootstrap: unexpected answer: %d %s", e.Status, http.StatusText(e.Status))
}

// A Client obtains the first admin key of a server: of this package, or Posit
// Connect. Take the secret from [SecretFromEnv] or [SecretFromFile], never from
// the command line, which other users of the machine can read. It is safe for
// concurrent use.
type Client struct {
	URL string // of the server, with its path prefix if it has one

	// Secret is the server's; or Signer holds the private key of one of its
	// public keys: Ed25519, P-256 or RSA. One of them is required.
	Secret string
	Signer crypto.Signer

	// Expect is what the server expects; the token lives for MaxLifetime.
	Expect Expect

	// HTTP sends the requests; nil: a client that gives up after 30 seconds.
	// Redirects are never followed.
	HTTP *http.Client
}

// Token makes a token as of now. Its jti is random.
func (c Client) Token(now time.Time) (string, error) {
	expect, err := c.Expect.withDefaults()
	if err != nil {
		return "", err
	}
	claims := tokenClaims{
		Issuer: expect.Issuer, Audience: expect.Audience, Scope: expect.Scope,
		IssuedAt: now.Unix(), Expires: now.Unix() + int64(expect.MaxLifetime/time.Second), ID: rand.Text(),
	}
	if c.Signer != nil {
		return jose.Sign(c.Signer, jose.Header{}, claims)
	}
	secret, err := decodeSecret(c.Secret)
	if err != nil {
		return "", fmt.Errorf("bootstrap: Client.Secret: %w", err)
	}
	return jose.SignHS256(secret, claims)
}

// A token is sent up to maxAttempts times, with a pause that grows from firstPause.
const (
	maxAttempts = 3
	firstPause  = 500 * time.Millisecond
)

// Bootstrap makes a token and turns it into the first admin key. It is the only
// time that the key is shown.
//
// When no answer comes back, or one that says nothing of what was done (5xx),
// it sends the same token again, twice at most, which a server with
// redelivery answers with the same key. Errors wrap ErrUnauthorized,
// ErrClaimed, ErrNotFound, a [*StatusError] or what went wrong on the way.
func (c Client) Bootstrap(ctx context.Context) (key string, err error) {
	base, err := url.Parse(c.URL)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return "", errors.New("bootstrap: Client.URL: want http(s)://host[:port][/prefix]")
	}
	token, err := c.Token(time.Now())
	if err != nil {
		return "", err
	}
	target := base.JoinPath(Path).String()
	key, answered, err := c.post(ctx, target, token)
	var lost error
	for n := 1; !answered && n < maxAttempts && wait(ctx, time.Duration(n)*firstPause); n++ {
		lost = err
		key, answered, err = c.post(ctx, target, token)
	}
	if lost != nil && errors.Is(err, ErrClaimed) {
		return "", fmt.Errorf("%w; an earlier try brought no answer (%w), so the key may have been made and lost: the operator must reset", err, lost)
	}
	return key, err
}

// wait reports whether ctx lasted for d.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// post sends the token once. answered is false when nothing is known of what
// the server did.
func (c Client) post(ctx context.Context, target, token string) (key string, answered bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, nil)
	if err != nil {
		return "", true, err
	}
	req.Header.Set("Authorization", scheme+" "+token)
	res, err := c.client().Do(req)
	if err != nil {
		return "", false, fmt.Errorf("bootstrap: %w", err)
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusUnauthorized:
		return "", true, ErrUnauthorized
	case res.StatusCode == http.StatusForbidden:
		return "", true, ErrClaimed
	case res.StatusCode == http.StatusNotFound:
		return "", true, ErrNotFound
	case res.StatusCode < 200 || res.StatusCode > 299:
		return "", res.StatusCode < 500, &StatusError{res.StatusCode}
	}
	key, err = readKey(res)
	return key, err == nil, err
}

// readKey reads a successful answer. An error means that it did not arrive whole.
func readKey(res *http.Response) (string, error) {
	media, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return "", fmt.Errorf("bootstrap: answer cut short: %w", err)
	}
	var r response
	if media != "application/json" || json.Unmarshal(body, &r) != nil || r.APIKey == "" || strings.ContainsAny(r.APIKey, " \r\n") {
		return "", errors.New("bootstrap: the server answered with success but no API key")
	}
	return r.APIKey, nil
}

func (c Client) client() *http.Client {
	h := http.Client{Timeout: 30 * time.Second}
	if c.HTTP != nil {
		h = *c.HTTP
	}
	h.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &h
}
