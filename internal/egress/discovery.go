package egress

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/internal/strictjson"
)

const (
	wellKnown   = "/.well-known/openid-configuration"
	maxMetadata = 64 << 10
)

// Discover returns the address of an issuer's keys (OpenID Connect Discovery
// 1.0, section 4). The metadata must name the issuer byte for byte as it is
// named here. The address may be on any host, and is one that [Client.CheckURL]
// accepts.
func (c *Client) Discover(ctx context.Context, issuer string) (jwksURI string, err error) {
	u, err := c.parse(issuer)
	if err != nil {
		return "", err
	}
	if strings.Contains(issuer, "?") { // Discovery, section 3: no query
		return "", fmt.Errorf("egress: %s: issuer with a query: %w", u.Host, ErrRefused)
	}
	text, err := c.Get(ctx, strings.TrimSuffix(issuer, "/")+wellKnown, maxMetadata)
	if err != nil {
		return "", err
	}
	uri, err := readMetadata(text, issuer)
	if err == nil {
		err = c.CheckURL(uri)
	}
	if err != nil {
		return "", fmt.Errorf("egress: %s: metadata: %w", u.Host, err)
	}
	return uri, nil
}

func readMetadata(text []byte, issuer string) (jwksURI string, err error) {
	m, err := strictjson.Object(text)
	if err != nil {
		return "", err
	}
	switch name, err := m.String("issuer"); {
	case err != nil:
		return "", err
	case name != issuer:
		return "", errors.New("of another issuer")
	}
	return m.String("jwks_uri")
}

// JWKS fetches the text of a JWK Set, as [NewKeySet] wants it.
func (c *Client) JWKS(ctx context.Context, jwksURI string) ([]byte, error) {
	return c.Get(ctx, jwksURI, jose.MaxSet)
}
