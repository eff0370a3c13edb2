package exchange

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/strictjson"
)

// Where the endpoints stand, below the prefix that they are mounted at. The
// first four are where Posit Connect's clients expect them.
const (
	TokenPath       = "/oauth/v1/token"
	RevokePath      = "/oauth/v1/revoke"
	MetadataPath    = "/.well-known/oauth-authorization-server"
	CredentialsPath = "/__api__/v1/oauth/integrations/credentials" // for R's rsconnect
	AdminPath       = "/api/exchange"                              // publishers, issuers and explain below it
)

// The names of RFC 8693 and of Posit Connect.
const (
	grantType = "urn:ietf:params:oauth:grant-type:token-exchange"

	typeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
	typeIDToken     = "urn:ietf:params:oauth:token-type:id_token"
	typeJWT         = "urn:ietf:params:oauth:token-type:jwt"
	typeConnectKey  = "urn:posit:connect:api-key"
)

// tokenResponse is the answer of RFC 8693, section 2.2.1.
type tokenResponse struct {
	AccessToken     string   `json:"access_token"`
	IssuedTokenType string   `json:"issued_token_type"`
	TokenType       string   `json:"token_type"`
	ExpiresIn       int64    `json:"expires_in"`
	Scope           string   `json:"scope,omitempty"`
	Audience        []string `json:"audience,omitempty"` // ours: which of the targets asked for were granted, where not all
}

// metadata is RFC 8414, section 2. response_types_supported is required there,
// yet an empty list must be left out: "none" satisfies both.
type metadata struct {
	Issuer                string   `json:"issuer"`
	TokenEndpoint         string   `json:"token_endpoint"`
	RevocationEndpoint    string   `json:"revocation_endpoint,omitempty"`
	GrantTypes            []string `json:"grant_types_supported"`
	ResponseTypes         []string `json:"response_types_supported"`
	TokenAuthMethods      []string `json:"token_endpoint_auth_methods_supported"`
	RevocationAuthMethods []string `json:"revocation_endpoint_auth_methods_supported,omitempty"`
	IdentityTokenAudience string   `json:"identity_token_audience"` // ours: the aud that identity tokens need
}

// publisherJSON is a [Publisher] in configuration files, in the admin API and
// in the store.
type publisherJSON struct {
	ID           string            `json:"id"`
	Provider     Provider          `json:"provider"`
	Issuer       string            `json:"issuer,omitempty"`
	Claims       map[string]Values `json:"claims,omitempty"`
	Patterns     map[string]Values `json:"patterns,omitempty"`
	Subject      string            `json:"subject,omitempty"`
	SubjectClaim string            `json:"subject_claim,omitempty"`
	Scopes       []string          `json:"scopes"`
	Targets      []string          `json:"targets,omitempty"`
	Lifetime     lifetime          `json:"lifetime,omitempty"`
	PendingUntil time.Time         `json:"pending_until,omitzero"`
	Disabled     bool              `json:"disabled,omitempty"`
	ReportOnly   bool              `json:"report_only,omitempty"`
	Description  string            `json:"description,omitempty"`
}

// publisherRecord is a stored publisher.
type publisherRecord struct {
	publisherJSON
	Instance string `json:"instance"` // see keywright.Parent
}

// MarshalJSON writes p as configuration files and the admin API have it.
func (p Publisher) MarshalJSON() ([]byte, error) { return json.Marshal(p.wire()) }

// UnmarshalJSON reads what MarshalJSON writes. It refuses members that it does
// not know, that come twice or that are in another case, so that a misspelt
// condition is not one less and none takes another's place.
func (p *Publisher) UnmarshalJSON(data []byte) error {
	members, err := strictjson.Object(data)
	if err != nil {
		return err
	}
	for name := range members.Names() {
		if strings.ContainsFunc(name, func(r rune) bool { return r != '_' && (r < 'a' || r > 'z') }) {
			return fmt.Errorf("unknown field %q", clip(name))
		}
	}
	var w publisherJSON
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&w); err != nil {
		return err
	}
	*p = w.publisher()
	return nil
}

func (p Publisher) wire() publisherJSON {
	return publisherJSON{
		ID: p.ID, Provider: p.Provider, Issuer: p.Issuer, Claims: p.Claims, Patterns: p.Patterns,
		Subject: p.Subject, SubjectClaim: p.SubjectClaim, Scopes: p.Scopes, Targets: p.Targets,
		Lifetime: lifetime(p.Lifetime), PendingUntil: p.PendingUntil, Disabled: p.Disabled,
		ReportOnly: p.ReportOnly, Description: p.Description,
	}
}

func (w publisherJSON) publisher() Publisher {
	return Publisher{
		ID: w.ID, Provider: w.Provider, Issuer: w.Issuer, Claims: w.Claims, Patterns: w.Patterns,
		Subject: w.Subject, SubjectClaim: w.SubjectClaim, Scopes: w.Scopes, Targets: w.Targets,
		Lifetime: time.Duration(w.Lifetime), PendingUntil: w.PendingUntil, Disabled: w.Disabled,
		ReportOnly: w.ReportOnly, Description: w.Description,
	}
}

// UnmarshalJSON reads one string, or a list of them.
func (v *Values) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*v = Values{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(data, &many); err != nil {
		return errors.New("want a string or a list of strings")
	}
	*v = many
	return nil
}

// A lifetime is written like "15m".
type lifetime time.Duration

func (l lifetime) MarshalText() ([]byte, error) { return []byte(time.Duration(l).String()), nil }

func (l *lifetime) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("lifetime: want a duration like \"15m\"")
	}
	*l = lifetime(d)
	return nil
}

// publisherView is a publisher in answers of the admin API.
type publisherView struct {
	publisherJSON
	Static   bool     `json:"static,omitempty"`
	Version  string   `json:"version"`
	Overlaps []string `json:"overlaps,omitempty"`
}

func view(i PublisherInfo) publisherView {
	return publisherView{publisherJSON: i.wire(), Static: i.Static, Version: i.Version, Overlaps: i.Overlaps}
}

type publishersResponse struct {
	Publishers []publisherView `json:"publishers"`
	Next       string          `json:"next,omitempty"` // for the parameter after; absent: that was all
}

// replaceRequest is what a publisherView leaves, sent back changed.
type replaceRequest struct {
	publisherJSON
	Version  string   `json:"version,omitempty"`
	Static   bool     `json:"static,omitempty"`
	Overlaps []string `json:"overlaps,omitempty"`
}

type issuersResponse struct {
	Issuers []IssuerInfo `json:"issuers"`
}

type issuerRequest struct {
	Issuer string `json:"issuer"`
}

type explainRequest struct {
	Token  string          `json:"token,omitempty"`
	Claims json.RawMessage `json:"claims,omitempty"`
}
