package agentauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/keywright/keywright/internal/apicall"
	"github.com/keywright/keywright/internal/strictjson"
)

// A StatusError is an answer of a provider or person server other than success.
// Code and Text are the server's words, made printable and cut to a length; either
// may be empty.
type StatusError struct {
	Status     int
	Code       string // such as "denied"
	Text       string
	RetryAfter time.Duration // how long to wait; 0: the server did not say
}

// Error tells all of it.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("agentauth: the server answers %d %s", e.Status, http.StatusText(e.Status))
	for _, more := range []string{e.Code, e.Text} {
		if more != "" {
			text += ": " + more
		}
	}
	return text
}

// A remote is how an agent reaches its provider and its person server.
type remote struct {
	http        *http.Client // nil: one that gives up after 30 seconds
	development bool
	now         func() time.Time
	stamps      *stamps
}

func newRemote(h *http.Client, development bool, now func() time.Time) remote {
	if now == nil {
		now = time.Now
	}
	return remote{http: h, development: development, now: now, stamps: new(stamps)}
}

// metadata fetches the document in which a server describes itself.
func (c remote) metadata(ctx context.Context, id string, role Role) (strictjson.Members, error) {
	if err := checkServerID(id, c.development); err != nil {
		return strictjson.Members{}, err
	}
	r, err := c.do(ctx, id+"/.well-known/"+string(role), apicall.Call{Method: http.MethodGet})
	if err != nil {
		return strictjson.Members{}, err
	}
	m, err := r.Members()
	if err != nil {
		return strictjson.Members{}, fmt.Errorf("agentauth: metadata of %s: %w", id, err)
	}
	if issuer, err := m.String("issuer"); err != nil || issuer != id {
		return strictjson.Members{}, fmt.Errorf("agentauth: metadata of %s name another issuer", id)
	}
	return m, nil
}

// endpoint reads a URL of metadata; "" where there is none.
func (c remote) endpoint(m strictjson.Members, name string) (string, error) {
	text, err := m.String(name)
	if errors.Is(err, strictjson.ErrAbsent) {
		return "", nil
	}
	if err == nil {
		err = c.checkURL(text)
	}
	if err != nil {
		return "", fmt.Errorf("agentauth: metadata: %s: %w", name, err)
	}
	return text, nil
}

// checkURL wants a URL that a signed request may be sent to.
func (c remote) checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Host == "", u.User != nil, u.Fragment != "":
		return errors.New("want a URL, https://host/path")
	case u.Scheme == "https", u.Scheme == "http" && c.development && isLoopback(u.Hostname()):
		return nil
	}
	return errors.New("want https; http is for development on this machine")
}

// do sends a call to a URL that was checked. Any answer but success is a
// [*StatusError], which comes with it.
func (c remote) do(ctx context.Context, target string, call apicall.Call) (apicall.Reply, error) {
	u, err := url.Parse(target)
	if err != nil {
		return apicall.Reply{Unsent: true}, errors.New("agentauth: not a URL that requests can be sent to")
	}
	call.Path = u.RequestURI()
	r, err := apicall.Server{Package: "agentauth", URL: u.Scheme + "://" + u.Host, HTTP: c.http}.Do(ctx, call)
	if err == nil && !r.OK() {
		err = &StatusError{Status: r.Status, Code: r.Text("error"), Text: r.Text("detail", "error_description"), RetryAfter: r.RetryAfter()}
	}
	return r, err
}

// signed sends a call that s signs, and once more in the next second where its
// signature is refused: another process may have sent the same in this one.
func (c remote) signed(ctx context.Context, target string, call apicall.Call, cred Credential) (apicall.Reply, error) {
	key, err := cred.compile(c.now())
	if err != nil {
		return apicall.Reply{Unsent: true}, err
	}
	call.Sign = func(r *http.Request) error {
		components, err := prepare(r)
		if err != nil {
			return err
		}
		created, expires := c.stamps.next(stampOf(r, key), c.now())
		return key.sign(r, components, created, expires)
	}
	r, err := c.do(ctx, target, call)
	if r.Status == http.StatusUnauthorized && signatureError(r.Header).code == "invalid_signature" && nextSecond(ctx, c.now) {
		r, err = c.do(ctx, target, call)
	}
	return r, err
}

// nextSecond waits until another second has begun, and reports whether ctx lasted.
func nextSecond(ctx context.Context, now func() time.Time) bool {
	t := now()
	return pause(ctx, t.Truncate(time.Second).Add(time.Second).Sub(t))
}

// pause reports whether ctx lasted for d, and does not begin if it cannot.
func pause(ctx context.Context, d time.Duration) bool {
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
