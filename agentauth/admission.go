package agentauth

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/keywright/keywright"
	keytext "github.com/keywright/keywright/internal/token"
	"github.com/keywright/keywright/store"
)

// An Applicant is who wants to be enrolled and has proven to have the key.
type Applicant struct {
	AgentID      string           // that was asked for, well-formed and of the provider's domain; "": none
	Thumbprint   string           // of Key (RFC 7638)
	Key          crypto.PublicKey // an ed25519.PublicKey or *ecdsa.PublicKey
	PersonServer string           // that was asked for, well-formed; "": none
	Attestation  string           // of the platform, as it was sent; "": none
	Secret       string           // of the field Authorization, scheme Bearer, which the signature covers; "": none

	// Request is the whole request, but for its body, which has been read. Nobody
	// vouches for fields that the signature need not cover, which is all but
	// Authorization, Content-Type and Content-Digest.
	Request *http.Request
	Body    []byte

	covered []string // components of the signature; nil: there is none
}

// An Admission decides whether an applicant becomes an agent. It may be asked
// again for the same request and must change nothing itself: what is to be written
// goes into [Admitted.Ops]. An error other than a [*keywright.Error] is
// [keywright.CodeDenied], with nothing said of why. It is asked on many goroutines,
// and not for agents that are enrolled already.
type Admission func(ctx context.Context, a Applicant) (Admitted, error)

// An Admitted is what becomes of an applicant.
type Admitted struct {
	AgentID      string                     // in place of the one asked for, with no other key's thumbprint for a name; "": that, or else one of the key's thumbprint
	PersonServer string                     // in place of the one asked for
	TokenLife    time.Duration              // of its tokens; 0: the provider's
	Claims       map[string]json.RawMessage // further ones of its tokens
	Scopes       []string                   // of its Principal on this server
	By           string                     // public id of what has admitted it, for the audit
	Pending      bool                       // a person has to decide: see Provider.Approve
	CallerKey    string                     // public id of a key of the host that must stand when this is written, or the applicant is denied; "": none

	// Ops are written with the agent, or with its application if it is Pending, or
	// nothing is. store.ErrLimit denies; after store.ErrExists and ErrConflict the
	// admission is asked again, a few times.
	Ops []store.Op
}

var errNobody = errors.New("agentauth: the provider admits nobody")

func nobody(context.Context, Applicant) (Admitted, error) { return Admitted{}, errNobody }

// AdmitAnybody admits every applicant under any identifier that is free. It is for
// development.
func AdmitAnybody(context.Context, Applicant) (Admitted, error) {
	return Admitted{By: "anybody"}, nil
}

// AdmitAfterApproval admits those that a person approves: see [Provider.Approve].
// Of one day, and one provider, 1,000 wait at most, and 20 of one network address.
// A server behind a proxy has to know the addresses of its clients for that: see
// [keywright.WithRemoteAddr].
func AdmitAfterApproval(context.Context, Applicant) (Admitted, error) {
	return Admitted{Pending: true}, nil
}

// AdmitFirst asks each of list in turn and admits whom one of them admits. An
// error that is a [*keywright.Error] with another code than CodeDenied ends the
// search.
func AdmitFirst(list ...Admission) Admission {
	return func(ctx context.Context, a Applicant) (Admitted, error) {
		err := errNobody
		for _, admit := range list {
			var to Admitted
			to, err = admit(ctx, a)
			if err == nil {
				return to, nil
			}
			if e, ok := errors.AsType[*keywright.Error](err); ok && e.Code != keywright.CodeDenied {
				return Admitted{}, err
			}
		}
		return Admitted{}, err
	}
}

// AdmitCallers admits applicants that bring a credential of the provider's host
// too: a provisioning key, or the key of a CI job that
// [github.com/keywright/keywright/exchange] has issued. as tells what becomes of
// them; nil: an agent with the identifier that it asks for, and the scopes of no
// one.
//
// auth sees of the request the fields alone that the signature covers, and its
// query where "@query" is covered; of an enrolment without a signature, see
// [Compat], the field Authorization alone. Who brings no credential, or one that is
// refused with status 401 or 403, is denied. Any other error of auth is the answer.
// A credential that is a key of the host must stand when the agent is written: see
// [Admitted.CallerKey].
func AdmitCallers(auth keywright.Authenticator, as func(keywright.Principal, Applicant) (Admitted, error)) Admission {
	return func(ctx context.Context, a Applicant) (Admitted, error) {
		caller, err := auth.Authenticate(a.coveredRequest())
		if err != nil {
			return Admitted{}, callerError(err)
		}
		admitted := Admitted{}
		if as != nil {
			if admitted, err = as(caller, a); err != nil {
				return Admitted{}, err
			}
		}
		if admitted.By == "" {
			admitted.By = caller.Credential
		}
		if admitted.CallerKey == "" && keytext.ValidID(caller.Credential) {
			admitted.CallerKey = caller.Credential
		}
		return admitted, nil
	}
}

// callerError tells who is not welcome from trouble.
func callerError(err error) error {
	if errors.Is(err, keywright.ErrNoCredential) {
		return denied(err)
	}
	e := keywright.AsError(err)
	switch e.Code.Status() {
	case http.StatusUnauthorized, http.StatusForbidden:
		return denied(err)
	}
	return e
}

// coveredRequest is Request with what the signature covers and nothing else that a
// credential could be in.
func (a Applicant) coveredRequest() *http.Request {
	names := a.covered
	if names == nil {
		names = []string{"authorization"}
	}
	r := withFields(a.Request, names)
	if !slices.Contains(names, "@query") {
		u := *r.URL
		u.RawQuery = ""
		r.URL = &u
	}
	return r
}
