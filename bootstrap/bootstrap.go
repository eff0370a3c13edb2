// Package bootstrap mints the first admin key of a fresh installation, once.
//
// A server without users has nobody who could hold a key, so nobody can make
// the first one. [Handler] accepts a short-lived signed token (RFC 7519) in its
// place, exactly as Posit Connect does, so that "rsconnect bootstrap" and the
// curl of its documentation work unmodified:
//
//	curl -X POST -H "Authorization: Connect-Bootstrap $TOKEN" \
//	    https://example.com/__api__/v1/experimental/bootstrap
//
// The first good token is answered with {"api_key":"..."}; from then on the
// endpoint is closed, even after that key has been deleted. One Commit writes
// the claim, the key and the audit event, so that of any number of requests to
// any number of replicas one obtains a key, and a crash leaves either nothing
// or everything.
//
// An answer can get lost on its way. With [Config.Redelivery] the same token
// obtains the same key again until that key is first used; without it, or
// later, [Reset] opens the installation again for an operator on the machine.
// [Provision] delivers the first key to a file at start-up instead.
package bootstrap

import (
	"context"
	"crypto"
	"errors"
	"net/http"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
)

// Config configures a [Handler]. Secret or PublicKeys are required, unless
// Disabled; everything else may stay zero.
type Config struct {
	Host keywright.Host

	// Secret is shared with the clients, who sign with HS256: at least 32
	// bytes in standard base64. See [NewSecret].
	Secret string

	// PublicKeys are an alternative that leaves no secret on the server, or
	// stand beside it: ed25519.PublicKey, *ecdsa.PublicKey on P-256 (ES256),
	// *rsa.PublicKey of 2048 to 4096 bits (RS256).
	PublicKeys []crypto.PublicKey

	// Expect is what tokens must say. Zero means what rsconnect-python writes.
	Expect Expect

	// Key describes the key that is issued. Its Scopes are required.
	Key AdminKey

	// Admin creates, or finds, the one user that the key belongs to, and
	// returns its identifier. It runs before the key exists, perhaps several
	// times at once, and must be idempotent; when it fails, nothing has been
	// claimed. Nil: the key belongs to DefaultSubject.
	Admin func(ctx context.Context) (subject string, err error)

	// Claimed reports whether the host has administrators already, for
	// servers that are older than their use of this package. While it does,
	// an installation without a claim is closed. It must not count the user
	// that Admin makes, and is not asked after a reset. Nil: only the claim
	// counts.
	Claimed func(ctx context.Context) (bool, error)

	// Redelivery is how long after the claim the same token obtains the same
	// key again, as long as that key is unused; 0: never. Whoever has the
	// token can then fetch the key as well, up to its first use. Without a
	// Secret, so can until then whoever has the token and reads the store.
	Redelivery time.Duration

	// Disabled answers 404 to everything, as if the endpoint were not there.
	Disabled bool

	// Dialect is the form of errors. Clients look at the status alone.
	Dialect keywright.Dialect
}

// DefaultSubject is the user that Posit Connect creates.
const DefaultSubject = "__bootstrap_admin__"

// An AdminKey describes the first key.
type AdminKey struct {
	Kind   string        // of keywright.HostConfig.Kinds; empty: "admin"
	Scopes []string      // of its Principal; required
	TTL    time.Duration // 0: it does not expire. Otherwise events tell while it is still in use
}

// A Handler serves the bootstrap endpoint. It is safe for concurrent use.
type Handler struct {
	first      first
	verifier   *Verifier
	secret     []byte // decoded; nil: public keys only
	redelivery time.Duration
	serve      http.Handler
}

// New checks c. It does no I/O.
func New(c Config) (*Handler, error) {
	if c.Disabled {
		return &Handler{serve: http.NotFoundHandler()}, nil
	}
	f, err := newFirst(c.Host, c.Key, c.Admin, c.Claimed)
	if err != nil {
		return nil, err
	}
	v, err := NewVerifier(VerifierConfig{Secret: c.Secret, PublicKeys: c.PublicKeys, Expect: c.Expect, Hooks: c.Host.Hooks})
	if err != nil {
		return nil, err
	}
	if c.Redelivery < 0 {
		return nil, errors.New("bootstrap: Config.Redelivery is negative")
	}
	h := &Handler{first: f, verifier: v, redelivery: c.Redelivery}
	if c.Secret != "" {
		if h.secret, err = decodeSecret(c.Secret); err != nil {
			return nil, err
		}
	}
	spec := endpoint.Spec{Name: "bootstrap", Method: http.MethodPost, Auth: v, Unread: true, Dialect: c.Dialect, Hooks: f.host.Hooks}
	h.serve = endpoint.New(spec, bearer, h.bootstrap)
	return h, nil
}

// ServeHTTP serves the endpoint, whatever the path.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.serve.ServeHTTP(w, r) }

// Routes returns the endpoint for routers other than ServeMux.
func (h *Handler) Routes() []keywright.Route {
	return []keywright.Route{{Pattern: Path, Handler: h}}
}

// Register mounts the endpoint on mux below prefix: "" or a path such as "/connect".
func (h *Handler) Register(mux *http.ServeMux, prefix string) {
	keywright.Register(mux, prefix, h.Routes()...)
}
