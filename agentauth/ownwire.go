package agentauth

import "encoding/json"

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
