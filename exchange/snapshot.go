package exchange

import (
	"fmt"

	"github.com/keywright/keywright/internal/oidc"
)

// A snapshot is all publishers as they stood at one epoch. It does not change.
type snapshot struct {
	epoch   int64
	rules   map[string]*rule  // by publisher id
	indexes map[string]*index // by issuer
	issuers map[string]state  // by issuer; those without a record are enabled
	left    map[string]int64  // versions of the stored publishers that are left out, by id
}

func newSnapshot(epoch int64) *snapshot {
	return &snapshot{epoch: epoch, rules: make(map[string]*rule), indexes: make(map[string]*index), issuers: make(map[string]state), left: make(map[string]int64)}
}

func (s *snapshot) add(r *rule) {
	s.rules[r.ID] = r
	x := s.indexes[r.issuer]
	if x == nil {
		x = &index{provider: r.Provider, preset: r.preset}
		s.indexes[r.issuer] = x
	}
	x.add(r)
}

// check reports why r cannot stand beside the others.
func (s *snapshot) check(r *rule) error {
	x := s.indexes[r.issuer]
	switch {
	case len(s.rules) >= maxPublishers && s.rules[r.ID] == nil:
		return fmt.Errorf("more than %d publishers", maxPublishers)
	case x == nil && len(s.indexes) >= oidc.MaxIssuers:
		return fmt.Errorf("more than %d issuers", oidc.MaxIssuers)
	case x != nil && x.preset != r.preset:
		return fmt.Errorf("issuer %s has publishers of another provider", r.issuer)
	case x != nil && len(r.indexClaims()) == 0 && len(x.rest) >= maxPatternOnly:
		return fmt.Errorf("issuer %s has %d publishers with patterns alone: bind a claim exactly", r.issuer, len(x.rest))
	}
	return nil
}

// maxPublishers bounds what each process keeps in memory: some 2 KB for each.
const maxPublishers = 50_000
