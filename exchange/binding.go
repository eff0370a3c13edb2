package exchange

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

func (s *preset) mayHavePattern(claim string) bool {
	return s.patterned == nil || slices.Contains(s.patterned, claim)
}

// check reports what a publisher lacks or must not have.
func (s *preset) check(p Publisher) (wrong []error) {
	no := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	issuer := p.issuer()
	if issuer == "" {
		no("issuer: required for provider %s", p.Provider)
	}
	if owner := ownerOf(issuer); owner != "" && owner != p.Provider {
		no("issuer: %s is that of provider %s", clip(issuer), owner)
	}
	switch u, err := url.Parse(issuer); {
	case err != nil:
		no("issuer: %q is not a URL", clip(issuer))
	case issuer != "" && (!strings.HasPrefix(u.Path, s.form) || len(u.Path) == len(s.form) && s.form != ""):
		no("issuer: want one for each organization, with the path %sID", s.form)
	}
	if !s.anchored(p) {
		no("claims: %s: others than this are never enough alone", s.wantAnchors())
	}
	learns, waits := s.learns(p), !p.PendingUntil.IsZero()
	for _, claim := range slices.Sorted(maps.Keys(s.pins)) {
		if id := s.pins[claim]; p.names(claim) && len(p.Claims[id]) == 0 && !(waits && slices.Contains(learns, id)) {
			no("claims: %s can be registered anew by somebody else: bind %s as well, or make the publisher pending", claim, id)
		}
	}
	for _, claim := range slices.Sorted(maps.Keys(s.needs)) {
		if p.names(claim) && !p.names(s.needs[claim]) {
			no("claims: %s says too little without %s", claim, s.needs[claim])
		}
	}
	for _, claim := range slices.Sorted(maps.Keys(s.banned)) {
		if p.names(claim) {
			no("claims: %s is not a condition: %s", claim, s.banned[claim])
		}
	}
	switch claim := p.SubjectClaim; {
	case claim == "":
	case slices.Contains(reserved, claim), s.derived[claim] != nil:
		no("subject_claim: %s names no account", claim)
	case s.banned[claim] != "":
		no("subject_claim: %s: %s", claim, s.banned[claim])
	}
	if waits && len(learns) == 0 {
		no("pending_until: there is no id to learn: name %s, and leave out its id", s.learnable())
	}
	return wrong
}

// ownerOf returns the provider whose issuer this is, or "".
func ownerOf(issuer string) Provider {
	for name, s := range presets {
		for _, g := range s.owned {
			if g == issuer || strings.Contains(g, "*") && matchGlob(g, issuer) {
				return name
			}
		}
	}
	return ""
}

// isCommonAudience reports whether tokens for other servers have this aud: an
// issuer is what GitLab's have by default.
func isCommonAudience(audience string) bool {
	if ownerOf(audience) != "" {
		return true
	}
	for _, s := range presets {
		if slices.ContainsFunc(s.common, func(g string) bool { return matchGlob(g, audience) }) {
			return true
		}
	}
	return false
}

// anchored reports whether p binds a tenant. Where the provider has no anchors,
// any condition will do.
func (s *preset) anchored(p Publisher) bool {
	if len(s.anchors) == 0 {
		return len(p.Claims)+len(p.Patterns) > 0
	}
	return slices.ContainsFunc(s.anchors, func(anchor []string) bool {
		return !slices.ContainsFunc(anchor, func(claim string) bool { return len(p.Claims[claim]) == 0 })
	})
}

func (s *preset) wantAnchors() string {
	var each []string
	for _, anchor := range s.anchors {
		each = append(each, strings.Join(anchor, " and "))
	}
	if len(each) == 0 {
		return "bind at least one claim"
	}
	return "bind " + strings.Join(each, ", or ")
}

// learns returns the ids that the first token of a pending publisher pins.
func (s *preset) learns(p Publisher) []string {
	var ids []string
	for _, claim := range slices.Sorted(maps.Keys(s.pins)) {
		if id := s.pins[claim]; len(p.Claims[claim]) == 1 && !p.names(id) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (s *preset) learnable() string {
	names := slices.Sorted(maps.Keys(s.pins))
	if len(names) == 0 {
		return "nothing: this provider has no names that come before their ids"
	}
	return strings.Join(names, " or ")
}
