package keywright

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Hooks are a host's way to watch and steer. Every field may be nil, and every
// function is called from many goroutines.
type Hooks struct {
	// Now is the clock that decides every expiry; nil: time.Now. Give the
	// Store the same one.
	Now func() time.Time

	// Logger gets what an operator must look at; nil: slog.Default(). No
	// secret is ever passed to it.
	Logger *slog.Logger

	// Audit is told of every credential that was refused, every request that a
	// mechanism refused and, after its Commit, every change. Requests that a
	// route refused for want of a credential or a scope are not among them. It
	// is called on the request's goroutine: it must not block and not panic.
	Audit func(ctx context.Context, e Event)
}

// WithDefaults returns h with no field nil.
func (h Hooks) WithDefaults() Hooks {
	if h.Now == nil {
		h.Now = time.Now
	}
	if h.Logger == nil {
		h.Logger = slog.Default()
	}
	if h.Audit == nil {
		h.Audit = func(context.Context, Event) {}
	}
	return h
}

// Refused tells Audit, and for trouble of our own also Logger, that a request
// was answered with err.
func (h Hooks) Refused(ctx context.Context, name string, err error) {
	h.refused(ctx, name, err, RemoteAddr(ctx))
}

func (h Hooks) refused(ctx context.Context, name string, err error, remote string) {
	e := AsError(err)
	hungUp := errors.Is(err, context.Canceled) && ctx.Err() != nil
	if e.Code.Status() >= 500 && !hungUp {
		h.Logger.LogAttrs(ctx, slog.LevelError, name, slog.Any("error", err))
	}
	h.Audit(ctx, Event{Time: h.Now(), Name: name, Remote: remote, Detail: e.Error(), Attrs: e.Attrs})
}

// WithRemoteAddr returns ctx with the client's network address, for audit
// events. A host whose middleware knows its proxies puts the address here;
// otherwise that of the connection is used.
func WithRemoteAddr(ctx context.Context, addr string) context.Context {
	return context.WithValue(ctx, remoteKey, addr)
}

// WithRequestAddr returns r's context with the address of the connection,
// unless one is there already.
func WithRequestAddr(r *http.Request) context.Context {
	return WithRemoteAddr(r.Context(), requestAddr(r))
}

// requestAddr is what RemoteAddr returns for WithRequestAddr(r).
func requestAddr(r *http.Request) string {
	if addr := RemoteAddr(r.Context()); addr != "" {
		return addr
	}
	// Who connects to a Unix socket may give its own end any name.
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && local.Network() == "unix" {
		return "127.0.0.1"
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// RemoteAddr returns the address in ctx, or "".
func RemoteAddr(ctx context.Context) string {
	addr, _ := ctx.Value(remoteKey).(string)
	return addr
}
