package agentauth

import "encoding/json"

// A wireJWK is a public key as it is published.
type wireJWK struct {
	Type      string `json:"kty"`
	Curve     string `json:"crv"`
	X         string `json:"x"`
	Y         string `json:"y,omitempty"`
	Algorithm string `json:"alg,omitempty"`
	KeyID     string `json:"kid,omitempty"`
	Use       string `json:"use,omitempty"`
}

type jwkSet struct {
	Keys []json.RawMessage `json:"keys"`
}

// confirmation is cnf (RFC 7800).
type confirmation struct {
	JWK json.RawMessage `json:"jwk"`
}

type enrollRequest struct {
	AgentID      string          `json:"agent_id"`
	JWK          json.RawMessage `json:"jwk"`
	PersonServer string          `json:"ps"`
	Attestation  string          `json:"attestation"`
}

type enrollResponse struct {
	AgentToken string `json:"agent_token"`
	KeyID      string `json:"key_id"`
	JWKSURI    string `json:"jwks_uri,omitempty"`
	AgentID    string `json:"agent_id"`
	ExpiresIn  int64  `json:"expires_in"`
}

type refreshResponse struct {
	AgentToken string `json:"agent_token"`
	ExpiresIn  int64  `json:"expires_in"`
}

// A wireAbout has the members that all metadata documents share.
type wireAbout struct {
	Name              string `json:"name,omitempty"`
	Description       string `json:"description,omitempty"`
	LogoURI           string `json:"logo_uri,omitempty"`
	LogoDarkURI       string `json:"logo_dark_uri,omitempty"`
	DocumentationURI  string `json:"documentation_uri,omitempty"`
	TermsOfServiceURI string `json:"tos_uri,omitempty"`
	PolicyURI         string `json:"policy_uri,omitempty"`
}

type providerMetadata struct {
	Issuer           string   `json:"issuer"`
	JWKSURI          string   `json:"jwks_uri"`
	EnrollEndpoint   string   `json:"enrol_endpoint"`
	RefreshEndpoint  string   `json:"refresh_endpoint"`
	RekeyEndpoint    string   `json:"rekey_endpoint"` // of our own: no draft has it
	SubAgentEndpoint string   `json:"subagent_endpoint,omitempty"`
	Algorithms       []string `json:"accept_signature_algs"`
	wireAbout
}

type namingClaims struct {
	Issuer       string       `json:"iss"`
	IssuedAt     int64        `json:"iat"`
	Expires      int64        `json:"exp"`
	ID           string       `json:"jti"`
	Confirmation confirmation `json:"cnf"`
	Rekey        bool         `json:"rekey,omitempty"` // the key of cnf is to take the place of the one that signs
}

// subAgentRequest asks for a token of a sub-agent.
type subAgentRequest struct {
	JWK           json.RawMessage `json:"jwk"`
	Discriminator string          `json:"discriminator"`
}

type subAgentResponse struct {
	AgentToken string `json:"agent_token"`
	ExpiresIn  int64  `json:"expires_in"`
	AgentID    string `json:"agent_id"`
}

// A revocable is the record of an agent token that a person server may have to
// be told about.
type revocable struct {
	ID           string `json:"jti"`
	PersonServer string `json:"ps"`
}

// A revokeMessage is what a server sends to a revocation endpoint.
type revokeMessage struct {
	ID      string `json:"jti"`
	Expires int64  `json:"exp"`
}

// selfMetadata describes a service that issues its own agent tokens.
type selfMetadata struct {
	Issuer  string `json:"issuer"`
	JWKSURI string `json:"jwks_uri"`
	wireAbout
}

// wireEnroll is an enrollRequest as our own clients send it.
type wireEnroll struct {
	AgentID      string          `json:"agent_id,omitempty"`
	JWK          json.RawMessage `json:"jwk,omitempty"`
	PersonServer string          `json:"ps,omitempty"`
	Attestation  string          `json:"attestation,omitempty"`
}
