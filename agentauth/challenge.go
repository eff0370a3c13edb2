package agentauth

import (
	"net/http"

	"github.com/keywright/keywright/internal/httpsig"
)

// A sigError is what a server says of a signature (HTTP Signature Keys, section
// "Signature-Error"). Zero: nothing.
type sigError struct {
	code       string
	components []string // that it wants covered, of invalid_input
}

// signatureError reads the field Signature-Error.
func signatureError(h http.Header) sigError {
	f, err := httpsig.ReadField(h, "Signature-Error")
	if err != nil {
		return sigError{}
	}
	code, ok := f.Token("error")
	if !ok { // a bare token, of servers of older drafts
		return sigError{code: f.First()}
	}
	components, _ := f.Strings("required_input")
	return sigError{code, components}
}

// A Requirement is what a server wants before it serves a request, or goes on with
// it (AAuth, section "Requirement Responses").
type Requirement struct {
	Name string // such as "person-token", "auth-token", "interaction"; "": none

	ResourceToken string // of auth-token; a secret
	URL, Code     string // of interaction: where a person is to go, and what they say there
}

// RequirementOf reads that of an answer.
func RequirementOf(h http.Header) Requirement {
	f, err := httpsig.ReadField(h, requirementField)
	if err != nil {
		return Requirement{}
	}
	var need Requirement
	need.Name, _ = f.Token("requirement")
	param := func(name string) string {
		text, ok := f.Param("requirement", name)
		if !ok { // beside it, of older servers
			text, _ = f.Token(name)
		}
		return text
	}
	if need.ResourceToken = param("resource-token"); need.ResourceToken == "" {
		need.ResourceToken = param("resource_token")
	}
	need.URL, need.Code = param("url"), param("code")
	return need
}
