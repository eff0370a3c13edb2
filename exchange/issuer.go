package exchange

import (
	"context"
	"slices"
	"strings"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
)

// An IssuerInfo is an issuer as it stands.
type IssuerInfo struct {
	Issuer     string   `json:"issuer"`
	Provider   Provider `json:"provider"`
	Disabled   bool     `json:"disabled"`
	Publishers int      `json:"publishers"`
}

// Issuers returns the issuers that publishers name, in alphabetical order.
func (h *Handler) Issuers(ctx context.Context) ([]IssuerInfo, error) {
	s, err := h.registry.load(ctx)
	if err != nil {
		return nil, err
	}
	return s.issuerInfos(), nil
}

// DisableIssuer is the kill switch for everything that an issuer vouches for:
// its tokens are refused before anything is fetched, and all keys of all its
// publishers from the next request on, in every process. An issuer that no
// publisher names is CodeNotFound.
func (h *Handler) DisableIssuer(ctx context.Context, actor keywright.Principal, issuer string) error {
	return h.setIssuerDisabled(ctx, actor, issuer, true)
}

// EnableIssuer undoes DisableIssuer. Keys that have not expired work again.
func (h *Handler) EnableIssuer(ctx context.Context, actor keywright.Principal, issuer string) error {
	return h.setIssuerDisabled(ctx, actor, issuer, false)
}

func (h *Handler) setIssuerDisabled(ctx context.Context, actor keywright.Principal, issuer string, disabled bool) error {
	return endpoint.Retry(func() error {
		s, err := h.registry.load(ctx)
		if err != nil {
			return err
		}
		st, known := s.issuers[issuer]
		switch {
		case s.indexes[issuer] == nil && !known:
			return &keywright.Error{Code: keywright.CodeNotFound}
		case st.Disabled == disabled:
			return nil
		}
		op, err := put(issuerKey(issuer), state{Issuer: issuer, Disabled: disabled, version: st.version})
		if err != nil {
			return err
		}
		name := "exchange.issuer_enabled"
		if disabled {
			name = "exchange.issuer_disabled"
		}
		return h.host.Commit(ctx, keywright.Event{Name: name, Actor: actor.Credential, Target: issuer}, op, bump())
	})
}

// issuerInfos describes the issuers of s in alphabetical order.
func (s *snapshot) issuerInfos() []IssuerInfo {
	infos := make([]IssuerInfo, 0, len(s.indexes))
	for issuer, x := range s.indexes {
		infos = append(infos, IssuerInfo{Issuer: issuer, Provider: x.provider, Disabled: s.issuers[issuer].Disabled, Publishers: x.count})
	}
	slices.SortFunc(infos, func(a, b IssuerInfo) int { return strings.Compare(a.Issuer, b.Issuer) })
	return infos
}
