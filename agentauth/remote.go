package agentauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/apicall"
	"github.com/keywright/keywright/internal/strictjson"
)

// A StatusError is an answer of a provider or person server other than success.
// Code and Text are the server's words, made printable and cut to a length; either
// may be empty.
type StatusError struct {
	Server     string // its origin, such as https://ap.example; may be empty
	Status     int
	Code       string // such as "denied"
	Text       string
	RetryAfter time.Duration // how long to wait; 0: the server did not say
}

// Error tells all of it.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("agentauth: %s answers %d", cmp.Or(e.Server, "the server"), e.Status)
	if name := http.StatusText(e.Status); name != "" {
		text += " " + name
	}
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

// maxMetadata is in bytes.
const maxMetadata = 64 << 10

// metadata fetches the document in which a server describes itself.
func (c remote) metadata(ctx context.Context, id string, role Role) (strictjson.Members, error) {
	if err := checkServerID(id, c.development); err != nil {
		return strictjson.Members{}, err
	}
	r, err := c.do(ctx, id+"/.well-known/"+string(role), apicall.Call{Method: http.MethodGet, MaxReply: maxMetadata})
	if err != nil {
		return strictjson.Members{}, within("metadata of "+id, err)
	}
	m, err := r.Members()
	if err != nil {
		return strictjson.Members{}, within("metadata of "+id, err)
	}
	if issuer, err := m.String("issuer"); err != nil || issuer != id {
		return strictjson.Members{}, fmt.Errorf("agentauth: metadata of %s name another issuer", id)
	}
	return m, nil
}

// endpoint reads a URL of metadata, which may be on another host; "" where there is
// none.
func (c remote) endpoint(m strictjson.Members, name string) (string, error) {
	text, err := m.String(name)
	if errors.Is(err, strictjson.ErrAbsent) {
		return "", nil
	}
	if err == nil {
		err = c.checkURL(text)
	}
	if err != nil {
		return "", within("metadata: "+name, err)
	}
	return text, nil
}

// checkURL wants a URL that a signed request may be sent to.
func (c remote) checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Hostname() == "", u.User != nil, u.Fragment != "":
		return errors.New("want a URL, https://host/path")
	case u.Scheme == "https", u.Scheme == "http" && c.development && isLoopback(u.Hostname()):
		return nil
	}
	return errors.New("want https; http is for development on this machine")
}

// do sends a call to a URL that was checked. Any answer but success is a
// [*StatusError], which comes with it; a redirect is one.
func (c remote) do(ctx context.Context, target string, call apicall.Call) (apicall.Reply, error) {
	u, err := url.Parse(target)
	if err != nil {
		return apicall.Reply{Unsent: true}, errors.New("agentauth: not a URL that requests can be sent to")
	}
	call.Path = u.RequestURI()
	origin := u.Scheme + "://" + u.Host
	r, err := apicall.Server{Package: "agentauth", URL: origin, HTTP: c.http}.Do(ctx, call)
	if err == nil && !r.OK() {
		err = &StatusError{
			Server: origin, Status: r.Status, RetryAfter: r.RetryAfter(),
			Code: cmp.Or(r.Text("error"), r.Printable(signatureError(r.Header).code)), Text: r.Text("detail", "error_description"),
		}
	}
	return r, err
}

// signed sends a call that cred signs, and once more in the next second where its
// signature is refused: another process may have sent the same in this one.
func (c remote) signed(ctx context.Context, target string, call apicall.Call, cred Credential) (apicall.Reply, error) {
	call.Sign = func(r *http.Request) error {
		key, err := cred.compile(ctx, c.now()) // each time: a naming JWT is good once
		if err != nil {
			return err
		}
		components, err := prepare(r)
		if err != nil {
			return err
		}
		return key.sign(r, components, c.stamps.at(c.now()))
	}
	r, err := c.do(ctx, target, call)
	if r.Status == http.StatusUnauthorized && signatureError(r.Header).code == "invalid_signature" && nextSecond(ctx, c.now) {
		c.stamps.shared()
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

const (
	maxAsked   = 3                // times in all, of a server that has no time
	shortBreak = time.Second      // before the next, at least
	longBreak  = 30 * time.Second // at most: a server that wants more is left alone
)

// insist asks again, some few times, where a server says that it has no time now.
func insist[T any](ctx context.Context, ask func() (T, error)) (T, error) {
	for n := 1; ; n++ {
		answer, err := ask()
		wait, ok := comeBack(err)
		if !ok || n == maxAsked || !pause(ctx, wait) {
			return answer, err
		}
	}
}

// comeBack reads when a server that has no time wants to be asked again.
func comeBack(err error) (time.Duration, bool) {
	e, ok := errors.AsType[*StatusError](err)
	if !ok {
		return 0, false
	}
	switch {
	case e.Status == http.StatusTooManyRequests && e.RetryAfter > 0, e.Status == http.StatusServiceUnavailable:
		return max(e.RetryAfter, shortBreak), e.RetryAfter <= longBreak
	}
	return 0, false
}

// A detailed error says more of another. Both begin with the name of the package,
// and together they say it once.
type detailed struct{ err, detail error }

func (d detailed) Error() string {
	return d.err.Error() + ": " + strings.TrimPrefix(d.detail.Error(), "agentauth: ")
}

func (d detailed) Unwrap() []error { return []error{d.err, d.detail} }

// within tells what err is about.
func within(what string, err error) error {
	return detailed{errors.New("agentauth: " + what), err}
}
