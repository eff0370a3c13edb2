package agentauth

// wireHints are the members that requests for person and auth tokens share.
type wireHints struct {
	Capabilities  []string `json:"capabilities"`
	Justification string   `json:"justification,omitempty"`
	LoginHint     string   `json:"login_hint,omitempty"`
	Tenant        string   `json:"tenant,omitempty"`
	DomainHint    string   `json:"domain_hint,omitempty"`
	Prompt        string   `json:"prompt,omitempty"`
	Platform      string   `json:"platform,omitempty"`
	Device        string   `json:"device,omitempty"`
}

type personTokenRequest struct {
	Resource string `json:"resource"`
	Mission  string `json:"mission_s256,omitempty"`
	wireHints
}

type authTokenRequest struct {
	ResourceToken  string `json:"resource_token"`
	PresentedToken string `json:"presented_token,omitempty"` // "": servers of older drafts know none
	wireHints
}

// grantResponse is the answer to either.
type grantResponse struct {
	PersonToken string `json:"person_token"`
	AuthToken   string `json:"auth_token"`
	ExpiresIn   int64  `json:"expires_in"`
}

// relayRequest asks a person server to show somebody where to go.
type relayRequest struct {
	Type string `json:"type"`
	URL  string `json:"url"`
	Code string `json:"code"`
}

// clarificationResponse answers what a server has asked.
type clarificationResponse struct {
	Action         string `json:"action"`
	Response       string `json:"clarification_response,omitempty"`
	ResourceToken  string `json:"resource_token,omitempty"`
	PresentedToken string `json:"presented_token,omitempty"`
}
