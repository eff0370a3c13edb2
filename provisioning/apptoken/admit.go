package apptoken

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

// A right is what a call needs.
type right int

const (
	toRead right = iota
	toAdminister
)

// admitted is a caller who may do something with an application.
type admitted struct {
	caller keywright.Principal
	app    Application
	scopes []string // that the caller may hand out
}

// admit decides whether caller may, and only then whether there is such an
// application: who may not learns nothing of what exists.
func (h *Handler) admit(ctx context.Context, caller keywright.Principal, org, clientID string, need right) (admitted, error) {
	if !isName(org) || !isName(clientID) {
		return admitted{}, notFound(errors.New("no name that an organisation or application could have"))
	}
	rights, err := h.rights(ctx, caller, org)
	switch {
	case err != nil:
		return admitted{}, refusal(err, caller, org, clientID)
	case !rights.Administer && (need != toRead || !rights.Read):
		err := errors.New("the caller has no such right in the organisation")
		return admitted{}, refusal(keywright.Wrap(keywright.CodeInsufficientScope, err), caller, org, clientID)
	}
	app, err := h.directory.Application(ctx, org, clientID)
	if err != nil {
		return admitted{}, refusal(directoryError(err), caller, org, clientID)
	}
	if app.Organization == "" {
		app.Organization = org
	}
	if app.ClientID == "" {
		app.ClientID = clientID
	}
	return admitted{caller, app, rights.Scopes}, nil
}

// rights asks the Directory, and takes away what a token may not.
func (h *Handler) rights(ctx context.Context, caller keywright.Principal, org string) (Rights, error) {
	if isToken(caller) {
		switch {
		case !caller.HasScope(ScopeOrgAdmin):
			return Rights{}, keywright.Wrap(keywright.CodeInsufficientScope, errors.New("the token lacks the scope "+ScopeOrgAdmin))
		case caller.Attrs[AttrOrganization] != org && !caller.HasScope(ScopeSuperUser):
			return Rights{}, keywright.Wrap(keywright.CodeInsufficientScope, errors.New("the token belongs to another organisation"))
		}
		// Its key may outlive what the host has forgotten to tell of.
		if _, err := h.directory.Application(ctx, caller.Attrs[AttrOrganization], caller.Attrs[AttrApplication]); err != nil {
			if e := keywright.AsError(directoryError(err)); e.Code != keywright.CodeNotFound {
				return Rights{}, e
			}
			return Rights{}, keywright.Wrap(keywright.CodeInsufficientScope, errors.New("the token's application is gone"))
		}
	}
	rights, err := h.directory.Rights(ctx, caller, org)
	if err != nil {
		return Rights{}, directoryError(err)
	}
	if isToken(caller) || slices.ContainsFunc(caller.Scopes, isScope) {
		own := expand(caller.Scopes)
		rights.Scopes = slices.DeleteFunc(expand(rights.Scopes), func(s string) bool { return !slices.Contains(own, s) })
	}
	return rights, nil
}

// directoryError makes all that is not there look alike.
func directoryError(err error) error {
	e, ok := errors.AsType[*keywright.Error](err)
	switch {
	case !ok || e == nil:
		return keywright.Wrap(keywright.CodeUnavailable, fmt.Errorf("apptoken: Config.Directory: %w", err))
	case e.Code == keywright.CodeNotFound:
		return notFound(err)
	}
	return err
}

// notFound is the one answer for what does not exist and for what belongs to
// another organisation or application.
func notFound(cause error) error {
	return &keywright.Error{Code: keywright.CodeNotFound, Detail: "Not Found", Err: cause}
}

// refusal adds to err what the audit wants to know.
func refusal(err error, caller keywright.Principal, org, clientID string) error {
	e := *keywright.AsError(err)
	e.Attrs = maps.Clone(e.Attrs)
	if e.Attrs == nil {
		e.Attrs = make(map[string]string)
	}
	maps.Copy(e.Attrs, map[string]string{
		"actor": actor(caller), "auth_method": authMethod(caller), AttrOrganization: org, "client_id": clientID,
	})
	return &e
}

// actor names p: super users have no key.
func actor(p keywright.Principal) string {
	if p.Credential != "" {
		return p.Credential
	}
	return p.Subject
}

// isName reports whether s may name an organisation or an application.
func isName(s string) bool {
	return s != "" && len(s) <= maxName && utf8.ValidString(s) && !hasControl(s)
}

const maxName = 255

// subject names the application of org to the host's routes.
func subject(app Application) string { return store.ID(app.Organization, app.ClientID) }
