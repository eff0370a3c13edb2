package agentauth

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

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

// The requirements that this package meets. Others are the caller's.
const (
	wantsAgent         = "agent-token"
	wantsPerson        = "person-token"
	wantsAuth          = "auth-token"
	wantsInteraction   = "interaction"
	wantsClarification = "clarification"
)

// A Requirement is what a server wants before it serves a request, or goes on with
// it (AAuth, section "Requirement Responses"). Printed, it shows its name alone.
type Requirement struct {
	Name string // such as "person-token", "auth-token", "interaction"; "": none

	ResourceToken string // of auth-token; a secret
	URL, Code     string // of interaction: see [Interaction]; the code is a secret
}

// RequirementOf reads that of an answer, of which nothing is checked yet.
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

// String returns the name, made printable and cut to a length: it is the server's.
func (q Requirement) String() string {
	const most = 40
	name := strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return -1
		}
		return r
	}, q.Name)
	if len(name) > most {
		name = name[:most] + "..."
	}
	return "requirement=" + name
}

// Format keeps the secrets out of whatever prints q.
func (q Requirement) Format(s fmt.State, _ rune) { io.WriteString(s, q.String()) }

// MarshalText does so in JSON.
func (q Requirement) MarshalText() ([]byte, error) { return []byte(q.String()), nil }

// LogValue does so in logs.
func (q Requirement) LogValue() slog.Value { return slog.StringValue(q.String()) }

// A ChallengeError says that a server wants something that could not be had. A
// [Transport] returns it where it has tried; [RefusalOf] makes one of an answer that
// was left to the caller.
type ChallengeError struct {
	Origin      string // of the server that wants it, such as https://resource.example
	Requirement Requirement

	// Err is why: a [*StatusError] of the person server, a [*CallbackError], or
	// what is wrong with a token. nil: nothing was tried.
	Err error
}

// Error tells all of it. It holds no token and no code.
func (e *ChallengeError) Error() string {
	text := "agentauth: " + e.Origin + " has refused the request"
	if e.Requirement.Name != "" {
		text = "agentauth: " + e.Origin + " wants " + strings.TrimPrefix(e.Requirement.String(), "requirement=")
	}
	if e.Err != nil {
		text += ": " + strings.TrimPrefix(e.Err.Error(), "agentauth: ")
	}
	return text
}

// Unwrap returns e.Err.
func (e *ChallengeError) Unwrap() error { return e.Err }

// A CallbackError says that a server wants to ask a person, or the agent, and that
// the program has not set the callback for it.
type CallbackError struct {
	Requirement string // "interaction" or "clarification"
}

// Error names the field.
func (e *CallbackError) Error() string {
	field := "Interact"
	if e.Requirement == wantsClarification {
		field = "Clarify"
	}
	return "agentauth: " + e.Requirement + " is wanted, and PersonServerConfig." + field + " is not set"
}

// RefusalOf returns a [*ChallengeError] for an answer of 401 or 402 that tells what
// it requires, and nil for any other. A Transport leaves such an answer to the
// caller where it cannot do anything: the agent has no person server, or the
// requirement is none that it knows, or was met and is made again.
func RefusalOf(resp *http.Response) error {
	need := RequirementOf(resp.Header)
	if need.Name == "" || resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusPaymentRequired {
		return nil
	}
	e := &ChallengeError{Requirement: need}
	if resp.Request != nil && resp.Request.URL != nil {
		e.Origin = originOfURL(resp.Request.URL)
	}
	return e
}
