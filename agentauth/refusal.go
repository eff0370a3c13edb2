package agentauth

import (
	"errors"
	"maps"
	"net/http"
	"slices"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/httpsig"
	"github.com/keywright/keywright/internal/jose"
)

// acceptedAlgorithms are those of keys, by their names of RFC 9864 and RFC 7518.
const acceptedAlgorithms = nameEd25519 + ", " + nameES256

const (
	nameEd25519 = "Ed25519"
	nameES256   = "ES256"
)

// refuse makes the answer to a signature that is not accepted (HTTP Signature
// Keys, section "Signature-Error").
func refuse(code keywright.Code, detail string, err error) *keywright.Error {
	return &keywright.Error{Code: code, Detail: detail, Err: err, Header: http.Header{"Signature-Error": {"error=" + string(code)}}}
}

// refuseInput tells all that must be covered, not what is missing alone.
func refuseInput(required []string, err error) *keywright.Error {
	e := refuse(keywright.CodeInvalidInput, "", err)
	e.Header.Set("Signature-Error", "error=invalid_input, required_input="+httpsig.List(required))
	e.Header[acceptSignature] = acceptComponents(required)
	return e
}

// challenged adds how to do better to a refusal, where that would help.
func (c policy) challenged(err error) error {
	e, ok := errors.AsType[*keywright.Error](err)
	if !ok {
		return err
	}
	switch e.Code {
	case keywright.CodeUnsupportedAlgorithm:
		e.Header["Accept-Signature-Alg"] = c.accept["Accept-Signature-Alg"]
	case keywright.CodeUnsupportedScheme:
		e.Header["Accept-Signature-Scheme"] = c.accept["Accept-Signature-Scheme"]
	case keywright.CodeInvalidSignature, keywright.CodeInvalidInput:
		for name, values := range c.accept {
			if e.Header[name] == nil {
				e.Header[name] = values
			}
		}
	}
	return err
}

// refuseUnsigned is the answer to a request that is not signed.
func (c policy) refuseUnsigned(r *http.Request) *keywright.Error {
	e := refuse(keywright.CodeInvalidSignature, "the request is not signed", nil)
	maps.Copy(e.Header, c.wanted())
	e.Header[acceptSignature] = acceptComponents(c.requiredFor(r))
	return e
}

// wanted tells what to come with: how to sign and, where a token is the way in,
// with which (AAuth, section "Requirement Responses").
func (c policy) wanted() http.Header {
	h := c.accept.Clone()
	if slices.Contains(c.Schemes, SchemeJWT) && slices.Contains(c.tokens, AgentToken) {
		h.Set(requirementField, needsAgentToken)
	}
	return h
}

const acceptSignature = "Accept-Signature"

// acceptComponents is the value of Accept-Signature (RFC 9421, section 5.1).
func acceptComponents(required []string) []string {
	return []string{"sig=" + httpsig.List(required) + ";created"}
}

// malformed tells of a request what httpsig has found.
func malformed(err error) error { return refuse(keywright.CodeInvalidSignature, "", err) }

// badKey is for keys that jose has refused.
func badKey(err error) error {
	if errors.Is(err, jose.ErrUnsupportedAlgorithm) {
		return refuse(keywright.CodeUnsupportedAlgorithm, "", err)
	}
	return refuse(keywright.CodeInvalidKey, "", err)
}

// badToken is for tokens that jose has refused.
func badToken(err error) error {
	if errors.Is(err, jose.ErrUnsupportedAlgorithm) {
		return refuse(keywright.CodeUnsupportedAlgorithm, "", err)
	}
	return refuse(keywright.CodeInvalidJWT, "", err)
}

func badClaim(why string) error { return refuse(keywright.CodeInvalidJWT, why, nil) }
