package exchange

import (
	"crypto/rand"
	"time"

	"github.com/keywright/keywright/store"
)

// A standing is how a key is tied to its publisher and issuer.
type standing struct {
	ops      []store.Op // that hold both as they were read
	instance string     // of the publisher's record
	event    string     // its name
}

// stand ties a key to r and its issuer. A pending publisher becomes a common
// one: it learns the ids, and of several tokens that come at once the first
// decides.
func (s *snapshot) stand(r *rule, c claimSet) (standing, error) {
	st := standing{instance: r.instance, event: "exchange.issued"}
	issuer, err := s.newIssuer(r.issuer)
	if err != nil {
		return standing{}, err
	}
	var publisher store.Op
	changed := len(issuer) > 0
	switch {
	case !r.PendingUntil.IsZero():
		publisher, err = r.reify(c)
		changed, st.event = true, "exchange.reified"
	case r.version != 0:
		publisher = check(r.key(), r.version)
	default: // a configured publisher's first key
		st.instance = rand.Text()
		publisher, err = put(r.key(), state{Instance: st.instance})
		changed = true
	}
	st.ops = append(issuer, publisher)
	if changed {
		st.ops = append(st.ops, bump())
	}
	return st, err
}

// newIssuer makes the op by which an issuer's record comes to be, if there is
// none yet. One that stands is not checked: it is never deleted, and a key that
// is made while it is being disabled is refused when it is used. A check would
// make all jobs of a provider wait for each other's commits.
func (s *snapshot) newIssuer(issuer string) ([]store.Op, error) {
	if s.issuers[issuer].version != 0 {
		return nil, nil
	}
	op, err := put(issuerKey(issuer), state{Issuer: issuer})
	return []store.Op{op}, err
}

func check(key store.Key, version int64) store.Op {
	return store.Check(store.Record{Kind: key.Kind, ID: key.ID, Version: version})
}

// reify pins the ids that r was waiting for.
func (r *rule) reify(c claimSet) (store.Op, error) {
	p := r.Publisher.clone()
	for _, id := range r.preset.learns(p) {
		v, _ := c.string(id) // dormant has looked
		p.Claims[id] = Values{v}
	}
	p.PendingUntil = time.Time{}
	record, err := storedRecord(p, r.instance, r.version)
	return store.Replace(record), err
}
