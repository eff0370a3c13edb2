package exchange

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// What keeps a [Client] from its key; test for them with errors.Is. ErrAmbiguous,
// ErrVerification and ErrNoMatch are told apart as Posit Connect's client does.
var (
	// ErrUnsupported: no metadata, or none that name the grant and an endpoint.
	ErrUnsupported = errors.New("exchange: the server does not exchange identity tokens")

	// ErrConnection: network or TLS. It comes with the cause.
	ErrConnection = errors.New("exchange: no connection")

	ErrAmbiguous    = errors.New("exchange: the identity token matches more than one publisher")
	ErrVerification = errors.New("exchange: the server cannot verify the identity token: check its clock and the issuer")
	ErrNoMatch      = errors.New("exchange: nothing is granted to the identity token: check its claims and its audience")

	// ErrLost: the token was sent and no key came back. It comes with
	// ErrConnection where that was the reason.
	ErrLost = errors.New("exchange: the key may have been made and lost: try again with another identity token")

	ErrKeyRefused = errors.New("exchange: the server refuses the key")
)

// A StatusError is an answer that no other error stands for. Code and
// Description are the server's words, made printable and cut to a length.
type StatusError struct {
	Status      int
	Code        string // such as "invalid_request"; may be empty
	Description string // may be empty
}

// Error tells all three.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("exchange: unexpected answer: %d %s", e.Status, http.StatusText(e.Status))
	for _, more := range []string{e.Code, e.Description} {
		if more != "" {
			text += ": " + more
		}
	}
	return text
}

// A Client turns a CI job's identity token into a short-lived key of a server:
// of this package, or Posit Connect. It is safe for concurrent use if its Token
// and HTTP are.
type Client struct {
	// URL is that of the server, with its path prefix if it has one. It must be
	// the issuer that the server's metadata name, a slash at the end aside.
	URL string

	// Token is where the identity token comes from. Nil: TokenFromEnv, chosen
	// before any request is sent.
	Token TokenSource

	// HTTP sends the requests; nil: a client that gives up after 30 seconds.
	// Redirects of a POST are never followed, and others only on the same host.
	HTTP *http.Client

	// Audience is what the identity token is asked for. Empty: what the
	// server's metadata ask for, else URL.
	Audience string

	// Scopes and Targets narrow the key, to what the server understands by
	// them. Empty: what the server grants.
	Scopes, Targets []string

	// CheckPath is what Check asks for, below URL. Empty: "/__api__/v1/user".
	CheckPath string
}

// Metadata is what a server says about itself (RFC 8414, section 2).
type Metadata struct {
	Issuer             string
	TokenEndpoint      string
	RevocationEndpoint string // empty: it revokes no keys
	Audience           string // which the identity token needs (identity_token_audience); empty: it does not say
}

// An IssuedKey is a new key. Text is its only copy, and is left out wherever
// the struct is printed or encoded: to hand the key out, write Text.
type IssuedKey struct {
	Text      string    // secret
	TokenType string    // as the server names it, such as "Bearer"
	Scopes    []string  // granted: as the server says, else what was asked for
	Targets   []string  // granted, where the server granted fewer than asked for; else nil
	Expires   time.Time // by this machine's clock; zero: the server did not say
}

// String tells nothing of the key's text.
func (k IssuedKey) String() string { return "issued key" }

// Format keeps the secret out of errors, whichever verb prints it.
func (k IssuedKey) Format(s fmt.State, _ rune) { io.WriteString(s, k.String()) }

// MarshalText keeps the secret out of logs and JSON.
func (k IssuedKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Discover reads the server's metadata: at the place where Connect's clients
// look, which is URL with the well-known path appended, and when there is none,
// where RFC 8414, section 3.1 has it. It refuses metadata of another issuer
// than URL, and a token endpoint that is not https while URL is.
func (c Client) Discover(ctx context.Context) (Metadata, error) {
	base, err := c.base()
	if err != nil {
		return Metadata{}, err
	}
	a, err := c.send(ctx, clientRequest{target: base.JoinPath(MetadataPath).String()})
	if prefix := strings.TrimSuffix(base.EscapedPath(), "/"); a.status == http.StatusNotFound && prefix != "" {
		a, err = c.send(ctx, clientRequest{target: base.Scheme + "://" + base.Host + MetadataPath + prefix})
	}
	switch {
	case err != nil:
		return Metadata{}, err
	case a.status == http.StatusNotFound:
		return Metadata{}, fmt.Errorf("%w: no metadata", ErrUnsupported)
	case a.status != http.StatusOK:
		return Metadata{}, a.statusError()
	}
	return c.readMetadata(a)
}

func (c Client) readMetadata(a clientAnswer) (md Metadata, err error) {
	m, ok := a.json()
	if !ok {
		return Metadata{}, fmt.Errorf("%w: its metadata are no JSON", ErrUnsupported)
	}
	if md.Issuer, err = m.String("issuer"); err != nil || strings.TrimSuffix(md.Issuer, "/") != strings.TrimSuffix(c.URL, "/") {
		return Metadata{}, errors.New("exchange: the metadata name another issuer than Client.URL")
	}
	// Without a list RFC 8414 says no, and Connect's own client yes.
	grants, err := m.Array("grant_types_supported")
	if err == nil && !slices.ContainsFunc(grants, func(g json.RawMessage) bool { return string(g) == `"`+grantType+`"` }) {
		return Metadata{}, fmt.Errorf("%w: its metadata do not list the grant", ErrUnsupported)
	}
	if md.TokenEndpoint, err = m.String("token_endpoint"); err != nil {
		return Metadata{}, fmt.Errorf("%w: its metadata have no token endpoint", ErrUnsupported)
	}
	if err := c.checkEndpoint(md.TokenEndpoint); err != nil {
		return Metadata{}, fmt.Errorf("exchange: token endpoint of the metadata: %w", err)
	}
	md.RevocationEndpoint, _ = m.String("revocation_endpoint")
	md.Audience, _ = m.String("identity_token_audience")
	return md, nil
}

// Exchange discovers the endpoint, gets an identity token and turns it into a
// key (RFC 8693). A token is good for one key: where the answer was lost, it is
// not sent again, and the error wraps ErrLost. 429 and 503 with a Retry-After
// of up to 30 seconds are tried again, twice at most. Errors wrap one of the
// package's, a [*StatusError] or what Token returned; those of the package hold
// no token and no key.
func (c Client) Exchange(ctx context.Context) (IssuedKey, error) {
	source := c.Token
	if source == nil {
		var err error
		if source, err = clientEnvSource(); err != nil {
			return IssuedKey{}, err
		}
	}
	for _, one := range slices.Concat(c.Scopes, c.Targets) {
		// To the server an empty parameter is an absent one: the widest key.
		if one == "" || strings.ContainsAny(one, " \t\r\n") {
			return IssuedKey{}, errors.New("exchange: Client.Scopes and Targets: one is empty or holds white space")
		}
	}
	md, err := c.Discover(ctx)
	if err != nil {
		return IssuedKey{}, err
	}
	token, err := source(ctx, cmp.Or(c.Audience, md.Audience, c.URL))
	if err == nil {
		token, err = clientCheckToken(token)
	}
	if err != nil {
		return IssuedKey{}, err
	}
	return c.post(ctx, md.TokenEndpoint, token)
}

func (c Client) post(ctx context.Context, endpoint, token string) (IssuedKey, error) {
	// What Connect's client sends, in its order, and what narrows it.
	pairs := []string{"grant_type", grantType, "subject_token_type", typeIDToken, "requested_token_type", typeAccessToken, "subject_token", token}
	if len(c.Scopes) > 0 {
		pairs = append(pairs, "scope", strings.Join(c.Scopes, " "))
	}
	for _, target := range c.Targets {
		pairs = append(pairs, "audience", target)
	}
	a, err := c.send(ctx, clientRequest{target: endpoint, form: pairs, secret: token})
	switch {
	case err != nil && a.unsent:
		return IssuedKey{}, err
	case err != nil:
		return IssuedKey{}, fmt.Errorf("%w: %w", ErrLost, err)
	case a.status < 200 || a.status > 299:
		return IssuedKey{}, a.refusal()
	}
	m, _ := a.json()
	key := IssuedKey{Scopes: slices.Clone(c.Scopes)}
	if key.Text, err = m.String("access_token"); err != nil || !clientKeyLegal(key.Text) {
		return IssuedKey{}, fmt.Errorf("%w: an answer of success without a key", ErrLost)
	}
	key.TokenType, _ = m.String("token_type")
	if scope, err := m.String("scope"); err == nil {
		key.Scopes = strings.Fields(scope)
	}
	key.Targets, _ = m.List("audience")
	if seconds, err := m.Int("expires_in"); err == nil && seconds > 0 {
		key.Expires = a.asked.Add(time.Duration(min(seconds, clientMaxLife)) * time.Second)
	}
	return key, nil
}

// clientMaxLife is a century in seconds, which a time.Duration holds.
const clientMaxLife = 100 * 365 * 24 * 3600

// Revoke ends a key before its time (RFC 7009). A server counts a key that it
// does not know as revoked. It wraps ErrUnsupported where the server revokes none.
func (c Client) Revoke(ctx context.Context, key string) error {
	if !clientKeyLegal(key) {
		return errors.New("exchange: revoke: not a key")
	}
	md, err := c.Discover(ctx)
	switch {
	case err != nil:
		return err
	case md.RevocationEndpoint == "":
		return fmt.Errorf("%w: at least it revokes no keys", ErrUnsupported)
	}
	if err := c.checkEndpoint(md.RevocationEndpoint); err != nil {
		return fmt.Errorf("exchange: revocation endpoint of the metadata: %w", err)
	}
	a, err := c.send(ctx, clientRequest{target: md.RevocationEndpoint, form: []string{"token", key, "token_type_hint", "access_token"}, secret: key})
	if err == nil && (a.status < 200 || a.status > 299) {
		return a.statusError()
	}
	return err
}

// Check asks the server whether a key is good, as Connect's client does: it is
// where the answer is 200 with JSON, or 403 with code 22, as for a key of no
// user. It returns ErrKeyRefused on 401 and on code 30.
func (c Client) Check(ctx context.Context, key string) error {
	base, err := c.base()
	switch {
	case err != nil:
		return err
	case !clientKeyLegal(key):
		return ErrKeyRefused
	}
	path := cmp.Or(c.CheckPath, "/__api__/v1/user")
	a, err := c.send(ctx, clientRequest{target: base.JoinPath(path).String(), authorization: "Key " + key, secret: key})
	if err != nil {
		return err
	}
	m, ok := a.json()
	code, _ := m.Int("code")
	switch {
	case a.status == http.StatusUnauthorized, code == 30:
		return ErrKeyRefused
	case a.status == http.StatusOK && ok, a.status == http.StatusForbidden && code == 22:
		return nil
	}
	return a.statusError()
}
