package bootstrap

// Path is where Posit Connect's clients expect the endpoint.
const Path = "/__api__/v1/experimental/bootstrap"

// scheme is spelled as rsconnect-python spells it.
const scheme = "Connect-Bootstrap"

// response is all that the client reads: a 2xx with this member.
type response struct {
	APIKey string `json:"api_key"`
}

// tokenClaims is the token that rsconnect-python makes, and a jti.
type tokenClaims struct {
	Issuer   string `json:"iss"`
	Audience string `json:"aud"`
	Scope    string `json:"scope"`
	IssuedAt int64  `json:"iat"`
	Expires  int64  `json:"exp"`
	ID       string `json:"jti,omitempty"`
}
