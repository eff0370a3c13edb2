package agentauth

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"time"

	"github.com/keywright/keywright/internal/apicall"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/keystore"
)

// ErrNoRotation says that the provider has no endpoint for it. An agent with a new
// key is a new agent there: see [Enroll].
var ErrNoRotation = errors.New("agentauth: the provider rotates no keys: a new key is a new agent there, so enrol again")

// RotateConfig is what [RotateKey] needs. Provider or Endpoint, Keys and Handle are
// required.
type RotateConfig struct {
	// Provider is the agent provider, https://host.
	Provider string

	// Endpoint is where it takes another key; "": as its metadata say.
	Endpoint string

	// Keys is where the agent's key is, and where the next one is, or is made: a
	// [keystore.Generator] then.
	Keys keystore.KeyStore

	// Handle is that of the agent's key, which is enrolled.
	Handle string

	// Next says under which handle the next key is, and for which algorithm a new
	// one is made. No handle: a name made of the agent's key, so that whoever tries
	// again finds the key that the first attempt made.
	Next keystore.KeyOptions

	HTTP        *http.Client     // nil: one that gives up after 30 seconds; redirects are never followed
	Now         func() time.Time // nil: time.Now
	Development bool             // admits servers on this machine, by http and with ports
}

// RotateKey gives an agent its next key: publish, wait, switch, retire. The caller
// does these in this order, and may stop and try again at any point:
//
//  1. RotateKey. The provider publishes the next key beside the old one, and both are
//     good. The [Enrollment] is that of the next key, with a first token.
//  2. Save Enrollment.LocalKeyHandle in the place of the old handle.
//  3. Where others know the agent by its published key (scheme jwks), wait for
//     [PublishedFor], until they have seen the next one.
//  4. Refresh with the next key: an [Enrolled] agent without a Token does so with its
//     first request. From then on the old key gets no tokens, for good; those that it
//     has last until they end.
//  5. Delete the old key from the key store: see [keystore.Deleter].
//
// The next key is made inside the key store before anything is asked for. To repeat
// RotateKey is to get another token for the same key, after the fourth step too; with
// another key that one takes the place of the one before. The endpoint is no part of
// AAuth: for a provider without it the error is [ErrNoRotation]. A [*StatusError]
// with the code "denied" says that the agent is disabled, or has another key already:
// if nobody here has switched it, somebody has a copy of the old key.
func RotateKey(ctx context.Context, c RotateConfig) (Enrollment, error) {
	if err := c.check(); err != nil {
		return Enrollment{}, err
	}
	rem := newRemote(c.HTTP, c.Development, c.Now)
	endpoint, err := c.endpoint(ctx, rem)
	if err != nil {
		return Enrollment{}, err
	}
	old, err := c.Keys.Load(ctx, c.Handle)
	if err != nil {
		return Enrollment{}, err
	}
	as, err := c.successor(old)
	if err != nil {
		return Enrollment{}, err
	}
	next, err := as.key(ctx)
	if err != nil {
		return Enrollment{}, err
	}
	cred := Credential{Key: next, As: SignOptions{Durable: old, Rekey: true}}
	r, err := rem.signed(ctx, endpoint, apicall.Call{Method: http.MethodPost, Body: struct{}{}}, cred)
	if err != nil {
		return Enrollment{}, err
	}
	return as.enrollment(r, next, rem.now())
}

func (c RotateConfig) check() error {
	switch {
	case c.Provider == "" && c.Endpoint == "":
		return errors.New("agentauth: RotateConfig.Provider or Endpoint is required")
	case c.Keys == nil:
		return errors.New("agentauth: RotateConfig.Keys is required")
	case c.Handle == "":
		return errors.New("agentauth: RotateConfig.Handle is required")
	case c.Next.Handle == c.Handle:
		return errors.New("agentauth: RotateConfig.Next.Handle is that of the old key")
	}
	return nil
}

func (c RotateConfig) endpoint(ctx context.Context, rem remote) (string, error) {
	if c.Endpoint != "" {
		return c.Endpoint, rem.checkURL(c.Endpoint)
	}
	m, err := rem.metadata(ctx, c.Provider, RoleAgentProvider)
	if err != nil {
		return "", err
	}
	found, err := rem.endpoint(m, "rekey_endpoint")
	if err == nil && found == "" {
		err = ErrNoRotation
	}
	return found, err
}

// successor is the enrolment of the key that comes after old.
func (c RotateConfig) successor(old keystore.Key) (EnrollConfig, error) {
	as := EnrollConfig{Provider: c.Provider, Keys: c.Keys, Options: EnrollOptions{Key: c.Next}, Development: c.Development}
	if c.Next.Handle != "" {
		return as, nil
	}
	public, err := jose.PublicKey(old.Public())
	if err != nil {
		return as, err
	}
	jkt, err := public.Thumbprint()
	sum := sha256.Sum256([]byte("after\x00" + jkt))
	as.Options.Key.Handle = "agent-" + base64.RawURLEncoding.EncodeToString(sum[:16])
	return as, err
}
