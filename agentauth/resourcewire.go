package agentauth

// wireResource is the metadata document of a resource (AAuth, section "Resource
// Metadata").
type wireResource struct {
	Issuer             string            `json:"issuer"`
	JWKSURI            string            `json:"jwks_uri,omitempty"`
	AccessMode         AccessMode        `json:"access_mode"`
	Scopes             map[string]string `json:"scope_descriptions,omitempty"`
	SignatureWindow    int64             `json:"signature_window"`
	Components         []string          `json:"additional_signature_components,omitempty"`
	RevocationEndpoint string            `json:"revocation_endpoint"`
	Algorithms         []string          `json:"accept_signature_algs"`
	wireAbout
}

// resourceClaims are those of a resource token.
type resourceClaims struct {
	Issuer       string `json:"iss"`
	Document     Role   `json:"dwk"`
	Audience     string `json:"aud"`
	PersonServer string `json:"ps"`
	Subject      string `json:"sub"`
	PresentedID  string `json:"presented_jti"`
	Thumbprint   string `json:"agent_jkt"`
	Scope        string `json:"scope"`
	Mission      string `json:"mission_s256,omitempty"`
	Tenant       string `json:"tenant,omitempty"`
	ID           string `json:"jti"`
	IssuedAt     int64  `json:"iat"`
	Expires      int64  `json:"exp"`

	PersonTokenID string `json:"person_token_jti,omitempty"` // of Compat.EmitPersonTokenJTI
}

type revocationRequest struct {
	ID      string `json:"jti"`
	Expires *int64 `json:"exp"`
}

// A revocationResponse is empty: nobody is told whether there was such a token.
type revocationResponse struct{}
