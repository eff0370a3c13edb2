package apptoken

import (
	"context"

	"github.com/keywright/keywright"
)

// A Directory is what the host knows of organisations, their applications and
// who may do what. It is asked on many goroutines. An error that is not a
// [*keywright.Error] is trouble, and answered with 503.
type Directory interface {
	// Rights says what caller may do in the organisation. It is asked before
	// Application, also about organisations that do not exist: those grant
	// nothing, except to callers who may do everything everywhere.
	//
	// A caller whose Principal has any of the scopes of this package hands out
	// no more than those, whatever Rights grants it; one that has none, such as
	// an admin key of the host, goes by Rights alone. It may be the holder of a
	// token of this package: then it has the Attrs below, needs org:admin and
	// stays within its organisation. The Attr created_by lets a host take
	// rights away when whoever made the token has lost them.
	Rights(ctx context.Context, caller keywright.Principal, org string) (Rights, error)

	// Application returns an application of the organisation, or a
	// [*keywright.Error] of CodeNotFound where either does not exist.
	Application(ctx context.Context, org, clientID string) (Application, error)
}

// Rights are what a caller may do in an organisation now. Zero: nothing.
type Rights struct {
	Administer bool     // create, list and delete tokens
	Read       bool     // list them
	Scopes     []string // that it may hold, and so hand out; super:user is for super users
}

// An Application is what tokens belong to.
type Application struct {
	// As the host spells them; empty: as they were asked for. A host that finds
	// applications without regard to case must set them, lest one application
	// has tokens under two names.
	Organization, ClientID string

	Name string // for people
}

// The Attrs of the Principal of a token. Its Subject is the organisation and
// the client id with a slash between, each escaped as [store.ID] does it.
//
// [store.ID]: https://pkg.go.dev/github.com/keywright/keywright/store#ID
const (
	AttrOrganization = "organization"
	AttrApplication  = "application" // the client id
	AttrTokenID      = "token_id"
	AttrCreatedBy    = "created_by" // the Subject of whoever made the token
)

// The Attrs of the Principal of a super user who came by [ZeroTouch].
const (
	attrSuperUser  = "super_user"
	attrAuthMethod = "auth_method"
)

// attrByPassword is "true" on tokens that go back to a password.
const attrByPassword = "by_password"

// isToken reports whether p is the holder of a token of this package.
func isToken(p keywright.Principal) bool {
	return p.Method == keywright.MethodProvisioning && p.Attrs[AttrTokenID] != ""
}

// isZeroTouch reports whether p is a super user who came by ZeroTouch.
func isZeroTouch(p keywright.Principal) bool {
	return p.Method == keywright.MethodProvisioning && p.Attrs[attrSuperUser] == "true"
}

// authMethod is how p came, in the words of Quay's log.
func authMethod(p keywright.Principal) string {
	switch {
	case isToken(p):
		return "OAuth"
	case isZeroTouch(p) && p.Attrs[attrAuthMethod] != "":
		return p.Attrs[attrAuthMethod]
	}
	return string(p.Method)
}
