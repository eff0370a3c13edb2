package egress

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/internal/strictjson"
)

const (
	wellKnown    = "/.well-known/"
	openIDConfig = "openid-configuration"
	maxMetadata  = 64 << 10
)

// Why metadata is not that of the issuer asked for.
var (
	ErrIssuerMissing  = errors.New("metadata without an issuer")
	ErrIssuerMismatch = errors.New("metadata of another issuer")
)

// Metadata is the document in which an issuer describes itself. It does not
// change.
type Metadata struct {
	Issuer  string             // as it was asked for, and as the document has it
	Members strictjson.Members // all of the document, in the issuer's words

	origin *url.URL // of the document
	keys   *url.URL // the member jwks_uri; nil: none
}

// Metadata fetches issuer/.well-known/document, such as "aauth-agent.json". It
// follows no redirect. The document names the issuer byte for byte as it is
// named here; the error wraps [ErrIssuerMissing] if no string is there and
// [ErrIssuerMismatch] if another is. A jwks_uri may be absent, and is otherwise
// one that [Client.CheckURL] accepts. Endpoints are not checked before they are
// fetched.
//
// document is one name, of letters, digits, "-", "_" and dots that neither begin
// it nor follow each other; anything else is [ErrRefused]. Callers admit only
// those that they know: any name may be served by somebody else on that host.
func (c *Client) Metadata(ctx context.Context, issuer, document string) (Metadata, error) {
	return c.metadata(ctx, issuer, document, 0)
}

// Discover returns the address of an issuer's keys (OpenID Connect Discovery
// 1.0, section 4). It is [Client.Metadata] of openid-configuration, but follows
// redirects as [Client.Get] does, and the keys may be on any host.
func (c *Client) Discover(ctx context.Context, issuer string) (jwksURI string, err error) {
	m, err := c.metadata(ctx, issuer, openIDConfig, maxRedirects)
	if err != nil {
		return "", err
	}
	return m.JWKSURI(func(*url.URL) bool { return true })
}

func (c *Client) metadata(ctx context.Context, issuer, document string, redirects int) (Metadata, error) {
	u, err := c.parse(issuer)
	switch {
	case err != nil:
		return Metadata{}, err
	case strings.Contains(issuer, "?"): // Discovery, section 3: no query
		return Metadata{}, fmt.Errorf("egress: %s: issuer with a query: %w", u.Host, ErrRefused)
	case !isDocument(document):
		return Metadata{}, fmt.Errorf("egress: %s: not the name of a document: %w", u.Host, ErrRefused)
	}
	r, err := c.get(ctx, strings.TrimSuffix(issuer, "/")+wellKnown+document, maxMetadata, redirects)
	if err != nil {
		return Metadata{}, err
	}
	m, err := c.readMetadata(r.Body, issuer)
	if err != nil {
		return Metadata{}, fmt.Errorf("egress: %s: metadata: %w", u.Host, err)
	}
	m.origin = u // which redirects do not leave
	return m, nil
}

func isDocument(name string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."
	return name != "" && strings.Trim(name, letters) == "" && name[0] != '.' // two dots are in no URL of ours
}

func (c *Client) readMetadata(text []byte, issuer string) (Metadata, error) {
	members, err := strictjson.Object(text)
	if err != nil {
		return Metadata{}, err
	}
	switch name, err := members.String("issuer"); {
	case err != nil:
		return Metadata{}, fmt.Errorf("%w: %w", ErrIssuerMissing, err)
	case name != issuer:
		return Metadata{}, ErrIssuerMismatch
	}
	m := Metadata{Issuer: issuer, Members: members}
	switch uri, err := members.String("jwks_uri"); {
	case errors.Is(err, strictjson.ErrAbsent):
		return m, nil
	case err != nil:
		return Metadata{}, err
	default:
		m.keys, err = c.parse(uri)
		return m, err
	}
}

// JWKSURI returns the address of the issuer's keys. It must have the scheme,
// host and port of the issuer, or one of which elsewhere, which may not modify
// it, says that it is admitted; nil admits none. The error wraps [ErrRefused],
// or strictjson.ErrAbsent if the metadata has no such address.
func (m Metadata) JWKSURI(elsewhere func(*url.URL) bool) (string, error) {
	uri, err := m.Members.String("jwks_uri")
	switch {
	case err != nil:
		return "", fmt.Errorf("egress: metadata: %w", err)
	case sameOrigin(m.keys, m.origin), elsewhere != nil && elsewhere(m.keys):
		return uri, nil
	}
	return "", fmt.Errorf("egress: %s: keys on another host, port or scheme: %w", m.origin.Host, ErrRefused)
}

// JWKS fetches a JWK Set, as [NewKeySet] wants it.
func (c *Client) JWKS(ctx context.Context, jwksURI string) (Document, error) {
	r, err := c.get(ctx, jwksURI, jose.MaxSet, maxRedirects)
	if err != nil {
		return Document{}, err
	}
	return Document{Text: r.Body, FreshFor: freshness(r.Header)}, nil
}
