package agentauth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/apicall"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/keystore"
)

// ErrLost says that a request was sent and its answer did not come back: the agent
// may be enrolled or not. It is safe to call [Enroll] again.
var ErrLost = errors.New("agentauth: the answer was lost: enrol again, with the same key")

// EnrollConfig is what [Enroll] needs. Keys and one of Provider and Endpoint are
// required.
type EnrollConfig struct {
	// Provider is the agent provider, https://host. It must be who issues the token.
	// "": whoever is at Endpoint.
	Provider string

	// Endpoint is where it enrols, such as https://ap.example/enrol; "": as its
	// metadata say, or /enrol. With one, no metadata are asked for.
	Endpoint string

	// AgentID is the identifier to have, aauth:name@host; "": the provider chooses.
	// It must be in the domain of Provider, where that is said.
	AgentID string

	// PersonServer is that of the person for whom the agent acts, https://host; "":
	// none, or what the provider chooses.
	PersonServer string

	// Keys is where the agent's key is, or is made: a [keystore.Generator] then.
	Keys keystore.KeyStore

	// Secret is what the provider's admission wants; nil: nothing.
	Secret SecretSource

	Options EnrollOptions // for the few who need them

	HTTP        *http.Client     // nil: one that gives up after 30 seconds; redirects are never followed
	Now         func() time.Time // nil: time.Now
	Development bool             // admits servers on this machine, by http and with ports
}

// EnrollOptions are what most agents leave as it is.
type EnrollOptions struct {
	// Key says under which handle the key is, and for which algorithm a new one is
	// made. No handle: a name made of the provider and EnrollConfig.AgentID, so that
	// whoever tries again finds the key that the first attempt made. After [RotateKey]
	// it is the handle of the next key.
	Key keystore.KeyOptions

	// Attest returns what the platform says of the key, for providers that want it;
	// nil: nothing. No error of this package holds it.
	Attest func(ctx context.Context, key keystore.Key) (string, error)

	// Waiting is told once that a person must approve, before Enroll waits for it;
	// nil: nobody is.
	Waiting func(ctx context.Context, w Waiting)
}

// Enroll makes the agent of a key known to its provider (AAuth Bootstrap): it sends
// the public key, signed by the private one, and gets the first agent token. It is a
// step of its own, for an installer or a pipeline: what a program needs later is the
// handle of the key.
//
// The key is made inside the key store before anything is asked for, and found there
// by whoever tries again, other processes too. So Enroll may be repeated after any
// failure or crash, and by an agent that is enrolled already, which gets another
// token. Where the key cannot be read for another reason than that there is none, that
// is the error, and no other key is made. A handle without a key, in a store that
// makes none, is [keystore.ErrKeyNotFound].
//
// Where a person must approve, Enroll waits until ctx ends; called again, by another
// process too, it goes on waiting for the same approval.
//
// An answer other than success is a [*StatusError]: 403 says that the provider does
// not admit the agent or that a person has refused it, 409 that another key has the
// identifier, or this key another one, 408 that no person has decided in time. After
// 429 and 503 it asks again itself, twice at most, if that is due within 30 seconds.
// [ErrLost] says that the way back has failed. A token that is not what was asked for
// is an error that names the claim; its signature is not checked.
func Enroll(ctx context.Context, c EnrollConfig) (Enrollment, error) {
	if err := c.check(); err != nil {
		return Enrollment{}, err
	}
	rem := newRemote(c.HTTP, c.Development, c.Now)
	endpoint, err := insist(ctx, func() (string, error) {
		return rem.providerEndpoint(ctx, c.Provider, c.Endpoint, "enrol_endpoint", "/enrol")
	})
	if err != nil {
		return Enrollment{}, err
	}
	key, err := c.key(ctx)
	if err != nil {
		return Enrollment{}, err
	}
	call, err := c.call(ctx, key)
	if err != nil {
		return Enrollment{}, err
	}
	r, err := c.ask(ctx, rem, endpoint, call, Credential{Key: key})
	if err != nil {
		return Enrollment{}, err
	}
	return c.enrollment(r, key, rem.now())
}

// check refuses what could only be refused later.
func (c EnrollConfig) check() error {
	switch {
	case c.Provider == "" && c.Endpoint == "":
		return errors.New("agentauth: EnrollConfig.Provider or Endpoint is required")
	case c.Keys == nil:
		return errors.New("agentauth: EnrollConfig.Keys is required")
	}
	for _, f := range []struct {
		name, value string
		check       func(string) error
	}{
		{"Provider", c.Provider, c.checkServer}, {"Endpoint", c.Endpoint, newRemote(nil, c.Development, nil).checkURL},
		{"AgentID", c.AgentID, c.checkAgentID}, {"PersonServer", c.PersonServer, c.checkServer},
		{"Options.Key.Handle", c.Options.Key.Handle, keystore.CheckHandle},
	} {
		if f.value == "" {
			continue
		}
		if err := f.check(f.value); err != nil {
			return within("EnrollConfig."+f.name, err)
		}
	}
	return nil
}

func (c EnrollConfig) checkServer(id string) error { return checkServerID(id, c.Development) }

func (c EnrollConfig) checkAgentID(text string) error {
	id, err := parseAgentID(text, c.Development)
	switch {
	case err != nil:
		return err
	case strings.Contains(id.Local, "+"):
		return errors.New(`a "+" is for sub-agents`)
	case c.Provider != "" && id.Domain != domainOf(c.Provider):
		return errors.New("its domain is not that of Provider")
	}
	return nil
}

// key finds the agent's key, or makes it.
func (c EnrollConfig) key(ctx context.Context) (keystore.Key, error) {
	o := c.Options.Key
	if o.Handle == "" {
		sum := sha256.Sum256([]byte(cmp.Or(c.Provider, originOf(c.Endpoint)) + "\x00" + c.AgentID))
		o.Handle = "agent-" + base64.RawURLEncoding.EncodeToString(sum[:16])
	}
	key, err := c.Keys.Load(ctx, o.Handle)
	if !errors.Is(err, keystore.ErrKeyNotFound) {
		return key, err
	}
	g, ok := c.Keys.(keystore.Generator)
	if !ok {
		return nil, fmt.Errorf("agentauth: key %q not found, and its store makes none: %w", o.Handle, err)
	}
	key, err = g.Generate(ctx, o)
	if errors.Is(err, keystore.ErrKeyExists) { // made by another process meanwhile
		return c.Keys.Load(ctx, o.Handle)
	}
	return key, err
}

// call is the request, but for its signature.
func (c EnrollConfig) call(ctx context.Context, key keystore.Key) (apicall.Call, error) {
	public, err := jose.PublicKey(key.Public())
	if err != nil || checkName(algorithmOf(public), false) != nil {
		return apicall.Call{}, fmt.Errorf("agentauth: key %q is neither Ed25519 nor P-256", key.Handle())
	}
	jwk, err := jose.MarshalJWK(public, algorithmOf(public))
	if err != nil {
		return apicall.Call{}, err
	}
	body := wireEnroll{AgentID: c.AgentID, JWK: jwk, PersonServer: c.PersonServer}
	if c.Options.Attest != nil {
		if body.Attestation, err = c.Options.Attest(ctx, key); err != nil {
			return apicall.Call{}, within("attestation", err)
		}
	}
	call := apicall.Call{Method: http.MethodPost, Body: body, Secrets: []string{body.Attestation}}
	if c.Secret == nil {
		return call, nil
	}
	secret, err := c.Secret(ctx)
	if err == nil && (secret == "" || strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' })) {
		err = errors.New("want one word of ASCII")
	}
	if err != nil {
		return apicall.Call{}, within("enrolment secret", err)
	}
	call.Authorization = "Bearer " + secret
	return call, nil
}

// ask sends the request, and waits where a person must approve.
func (c EnrollConfig) ask(ctx context.Context, rem remote, endpoint string, call apicall.Call, cred Credential) (apicall.Reply, error) {
	told := false
	notice := func(ctx context.Context, need Requirement, w Waiting) {
		if c.Options.Waiting == nil || told {
			return
		}
		told = true
		w.Interaction, _ = rem.interaction(need, "")
		c.Options.Waiting(ctx, w)
	}
	for again := false; ; again = true {
		r, err := insist(ctx, func() (apicall.Reply, error) { return rem.signed(ctx, endpoint, call, cred) })
		if err == nil && r.Status == http.StatusAccepted {
			r, err = rem.await(ctx, endpoint, r, cred, notice)
		}
		// What a person has decided is told once: to another process perhaps, or on a
		// way that was cut. Who asks for the same again hears it again.
		if e, ok := errors.AsType[*StatusError](err); ok && e.Status == http.StatusGone && !again {
			continue
		}
		if errors.Is(err, apicall.ErrConnection) && !r.Unsent {
			err = detailed{ErrLost, err}
		}
		return r, err
	}
}

// providerEndpoint returns the URL of an endpoint: the one given, else that of the
// metadata, else the usual one.
func (c remote) providerEndpoint(ctx context.Context, provider, given, member, usual string) (string, error) {
	if given != "" {
		if err := c.checkURL(given); err != nil {
			return "", within("Endpoint", err)
		}
		return given, nil
	}
	m, err := c.metadata(ctx, provider, RoleAgentProvider)
	if err != nil {
		return "", err
	}
	found, err := c.endpoint(m, member)
	return cmp.Or(found, provider+usual), err
}
