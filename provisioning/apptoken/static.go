package apptoken

import (
	"context"
	"slices"

	"github.com/keywright/keywright"
)

// Static is a [Directory] that is written down, for examples and small hosts.
// Do not change it while it is in use.
type Static struct {
	Organizations map[string]Organization // by name

	// SuperUser picks the callers who may do everything in every organisation;
	// nil: [IsSuperUser].
	SuperUser func(keywright.Principal) bool
}

// An Organization is one of [Static].
type Organization struct {
	Applications map[string]string // their names, by client id
	Admins       []Member          // create, list and delete tokens, with all scopes but super:user
	Readers      []Member          // list them
}

// A Member is a caller: a [keywright.Principal] with exactly this Issuer and Subject.
type Member struct{ Issuer, Subject string }

// IsSuperUser picks super users who came by [ZeroTouch], tokens with the scope
// super:user, and all others with the scope "admin", which bootstrap's first
// key has: Config.Callers decides who those can be.
func IsSuperUser(p keywright.Principal) bool {
	if isToken(p) {
		return p.HasScope(ScopeSuperUser)
	}
	return isZeroTouch(p) || p.HasScope("admin")
}

// Rights implements [Directory].
func (s Static) Rights(_ context.Context, caller keywright.Principal, org string) (Rights, error) {
	super := s.SuperUser
	if super == nil {
		super = IsSuperUser
	}
	if super(caller) {
		return Rights{Administer: true, Read: true, Scopes: Scopes()}, nil
	}
	o, ok := s.Organizations[org]
	who := Member{caller.Issuer, caller.Subject}
	switch {
	case !ok:
		return Rights{}, nil
	case isToken(caller) && caller.Attrs[AttrOrganization] == org, slices.Contains(o.Admins, who):
		scopes := slices.DeleteFunc(Scopes(), func(s string) bool { return s == ScopeSuperUser })
		return Rights{Administer: true, Read: true, Scopes: scopes}, nil
	}
	return Rights{Read: slices.Contains(o.Readers, who)}, nil
}

// Application implements [Directory].
func (s Static) Application(_ context.Context, org, clientID string) (Application, error) {
	name, ok := s.Organizations[org].Applications[clientID]
	if !ok {
		return Application{}, &keywright.Error{Code: keywright.CodeNotFound}
	}
	return Application{Organization: org, ClientID: clientID, Name: name}, nil
}
