// Package endpoint makes http.Handlers of functions that know nothing of HTTP.
package endpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/keywright/keywright"
)

// A Spec says how one function meets HTTP.
type Spec struct {
	Name    string                  // of its audit events: Name + ".refused"
	Method  string                  // the only one; others get 405
	Auth    keywright.Authenticator // tells Hooks of its own refusals; nil: anybody may call, and the caller is zero
	Status  int                     // of a success; 0: 200. With 204 there is no body
	Unread  bool                    // decode reads nothing of the body, so Auth need not wait for it: see Whole
	Dialect keywright.Dialect
	Hooks   keywright.Hooks // no field is nil
}

// New makes the handler: authenticate, decode, do, answer with JSON or with
// the error. A Resp with a method Header() http.Header has these fields sent
// too, and one with a method Status() int chooses its status. A body that decode leaves unread is discarded or cut off by net/http.
func New[Req, Resp any](s Spec, decode func(*http.Request) (Req, error), do func(ctx context.Context, caller keywright.Principal, req Req) (Resp, error)) http.Handler {
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := keywright.WithRequestAddr(r)
		caller, _ := keywright.FromContext(ctx)
		if s.Auth == nil {
			caller = keywright.Principal{} // not one of the host's middleware
		}
		resp, err := call(ctx, caller, r, decode, do)
		if err != nil {
			s.Hooks.Refused(ctx, s.Name+".refused", err)
			s.Dialect.WriteError(w, err)
			return
		}
		if h, ok := any(resp).(interface{ Header() http.Header }); ok {
			maps.Copy(w.Header(), h.Header())
		}
		status := s.Status
		if own, ok := any(resp).(interface{ Status() int }); ok {
			status = own.Status()
		}
		write(w, status, resp)
	})
	if s.Auth != nil {
		h = s.Dialect.Require(noticing{s})(h)
		if !s.Unread {
			h = Whole(h)
		}
	}
	return Methods(s.Dialect, map[string]http.Handler{s.Method: h})
}

// Whole lets next begin once the body is there, or so much of it as is read. A
// caller that is authenticated by next is so after that, and not before: else
// one could hold back the end of a body until its credential has been revoked.
func Whole(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Body != http.NoBody {
			body, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
			r2 := *r
			r2.Body = &arrived{bytes.NewReader(body), err, r.Body}
			r = &r2
		}
		next.ServeHTTP(w, r)
	})
}

// arrived is a body that has been read, with the error that ended it.
type arrived struct {
	*bytes.Reader
	err error
	io.Closer
}

func (a *arrived) Read(b []byte) (int, error) {
	n, err := a.Reader.Read(b)
	if err == io.EOF && a.err != nil {
		err = a.err
	}
	return n, err
}

// WriteTo is that of the reader without the error: io.Copy must not find it.
func (a *arrived) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, struct{ io.Reader }{a}) }

// Methods makes one handler of those for each method. Others get 405.
func Methods(d keywright.Dialect, handlers map[string]http.Handler) http.Handler {
	var names []string
	for name := range handlers {
		names = append(names, name)
	}
	slices.Sort(names)
	allow := http.Header{"Allow": {strings.Join(names, ", ")}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := handlers[r.Method]
		if h == nil {
			d.WriteError(w, &keywright.Error{Code: keywright.CodeMethodNotAllowed, Header: allow})
			return
		}
		h.ServeHTTP(w, r)
	})
}

// noticing also tells Hooks of requests without a credential: here, unlike on
// a host's routes, nobody comes by chance.
type noticing struct{ Spec }

func (n noticing) Authenticate(r *http.Request) (keywright.Principal, error) {
	p, err := n.Auth.Authenticate(r)
	if errors.Is(err, keywright.ErrNoCredential) {
		refusal := keywright.Wrap(keywright.CodeInvalidToken, err)
		n.Hooks.Refused(keywright.WithRequestAddr(r), n.Name+".refused", refusal)
	}
	return p, err
}

func (n noticing) Challenge() string {
	if c, ok := n.Auth.(keywright.Challenger); ok {
		return c.Challenge()
	}
	return ""
}

// ChallengeFields are those of Auth.
func (n noticing) ChallengeFields() http.Header {
	if c, ok := n.Auth.(keywright.FieldChallenger); ok {
		return c.ChallengeFields()
	}
	return nil
}

func call[Req, Resp any](ctx context.Context, caller keywright.Principal, r *http.Request, decode func(*http.Request) (Req, error), do func(context.Context, keywright.Principal, Req) (Resp, error)) (Resp, error) {
	req, err := decode(r)
	if err != nil {
		var none Resp
		return none, err
	}
	return do(ctx, caller, req)
}

func write(w http.ResponseWriter, status int, v any) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache") // RFC 6749, section 5.1, for caches of HTTP/1.0
	h.Set("X-Content-Type-Options", "nosniff")
	switch status {
	case http.StatusNoContent:
		w.WriteHeader(status)
		return
	case 0:
		status = http.StatusOK
	}
	h.Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) // the client may be gone: nothing to do about it
}
