package apptoken

import (
	"slices"
	"strings"

	"github.com/keywright/keywright"
)

// The scopes of tokens, which are Quay's.
const (
	ScopeRepoRead   = "repo:read"
	ScopeRepoWrite  = "repo:write" // implies repo:read
	ScopeRepoAdmin  = "repo:admin" // implies both
	ScopeRepoCreate = "repo:create"
	ScopeUserRead   = "user:read"
	ScopeUserAdmin  = "user:admin"
	ScopeOrgAdmin   = "org:admin"  // implies none: a token that has it alone pulls nothing
	ScopeSuperUser  = "super:user" // nor does this
)

// Scopes returns all of them.
func Scopes() []string {
	return []string{ScopeRepoRead, ScopeRepoWrite, ScopeRepoAdmin, ScopeRepoCreate, ScopeUserRead, ScopeUserAdmin, ScopeOrgAdmin, ScopeSuperUser}
}

// implied returns the scopes that s implies.
func implied(s string) []string {
	switch s {
	case ScopeRepoAdmin:
		return []string{ScopeRepoWrite, ScopeRepoRead}
	case ScopeRepoWrite:
		return []string{ScopeRepoRead}
	}
	return nil
}

// expand adds to scopes what they imply.
func expand(scopes []string) []string {
	var all []string
	for _, s := range scopes {
		for _, one := range append([]string{s}, implied(s)...) {
			if !slices.Contains(all, one) {
				all = append(all, one)
			}
		}
	}
	return all
}

func isScope(s string) bool { return slices.Contains(Scopes(), s) }

// splitScope reads a scope that is a string: words with spaces or commas between.
func splitScope(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' })
}

// checkScopes returns the scopes asked for without repetition, in their order.
func checkScopes(asked []string) ([]string, error) {
	if len(asked) == 0 {
		return nil, keywright.Errorf(keywright.CodeInvalidScope, "scope: name at least one")
	}
	var scopes []string
	for _, s := range asked {
		switch {
		case !isScope(s):
			return nil, keywright.Errorf(keywright.CodeInvalidScope, "Invalid scope: %q", clip(s))
		case !slices.Contains(scopes, s):
			scopes = append(scopes, s)
		}
	}
	return scopes, nil
}

// mayGrant refuses scopes that are not, by name or by implication, among held.
func mayGrant(held, scopes []string) error {
	held = expand(held)
	for _, s := range expand(scopes) {
		if !slices.Contains(held, s) {
			return keywright.Errorf(keywright.CodeInsufficientScope, "the caller may not hand out the scope %s", s)
		}
	}
	return nil
}

// clip keeps a hostile text from filling a log line.
func clip(s string) string {
	const most = 40
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
