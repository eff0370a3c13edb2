package pkcs11store

import (
	"crypto/rand"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/keywright/keywright/keystore"
	"github.com/miekg/pkcs11"
)

// A claim is the CKA_ID of a pair that is being made. PKCS #11 cannot create an
// object on condition that there is no other, so makers announce themselves:
// each first creates its claim and then looks for those of others. Of two of them
// the later one sees the earlier, whose claim stays, or has become a key.
type claim struct {
	since time.Time
	name  string // unique, and that of the key to be
}

const (
	idPrefix    = "keywright-"
	claimPrefix = "keywright-new-"

	// A claim is turned into a key in the first half of its life only: the
	// other half is for clocks that differ and for slow tokens.
	claimLife = time.Minute
)

func newClaim(now time.Time) claim { return claim{now, rand.Text()} }

// id is the CKA_ID while the pair is being made.
func (c claim) id() string {
	return claimPrefix + strconv.FormatInt(c.since.Unix(), 10) + "-" + c.name
}

// keyID is the CKA_ID of the key.
func (c claim) keyID() string { return idPrefix + c.name }

func parseClaim(id string) (claim, bool) {
	rest, ok := strings.CutPrefix(id, claimPrefix)
	seconds, name, split := strings.Cut(rest, "-")
	since, err := strconv.ParseInt(seconds, 10, 64)
	return claim{time.Unix(since, 0), name}, ok && split && err == nil
}

// stale claims are those of makers that are no more. One from the future can
// never have been made by a clock that agrees with ours.
func (c claim) stale(now time.Time) bool {
	age := now.Sub(c.since)
	return age > claimLife || age < -claimLife
}

// rivals returns what stands in the way of a claim to a handle: a key, in which
// case the error is ErrKeyExists, or others' claims.
func (n *session) rivals(handle, own string) ([]claim, error) {
	all, err := n.privates(handle)
	if err != nil {
		return nil, err
	}
	var found []claim
	for _, o := range all {
		c, ok := parseClaim(o.id)
		switch {
		case !ok:
			return nil, keystore.ErrKeyExists
		case c.name != own:
			found = append(found, c)
		}
	}
	return found, nil
}

// sweep removes what killed makers and deleters of keys of this label left
// behind: stale claims, and public keys of ours that belong to nothing.
func (n *session) sweep(label string, now time.Time) error {
	// First the public ones: whose private half is not there later, has none.
	publics, err := n.objects(pkcs11.CKO_PUBLIC_KEY, byLabel(label))
	if err != nil {
		return err
	}
	privates, err := n.privates(label)
	if err != nil {
		return err
	}
	owned := make(map[string]bool) // by the ID of the key that is or is to be
	for _, o := range privates {
		c, ok := parseClaim(o.id)
		switch {
		case ok && c.stale(now):
			if err := n.removeClaim(c); err != nil {
				return err
			}
		case ok:
			owned[c.keyID()] = true
		default:
			owned[o.id] = true
		}
	}
	for _, o := range publics {
		c, ok := parseClaim(o.id)
		orphan := !ok && strings.HasPrefix(o.id, idPrefix) && !owned[o.id]
		if orphan || ok && c.stale(now) {
			if err := n.remove(pkcs11.CKO_PUBLIC_KEY, o); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeClaim removes a pair, whatever has become of it.
func (n *session) removeClaim(c claim) error {
	for _, class := range []uint{pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_PUBLIC_KEY} {
		for _, id := range []string{c.id(), c.keyID()} {
			if err := n.removeAll(class, byID(id)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *session) removeAll(class uint, attributes ...*pkcs11.Attribute) error {
	found, err := n.objects(class, attributes...)
	if err != nil {
		return err
	}
	for _, o := range found {
		if err := n.remove(class, o); err != nil {
			return err
		}
	}
	return nil
}

// remove destroys an object, unless it is gone already.
func (n *session) remove(class uint, o object) error {
	err := n.orAbsent(class, o, n.destroy(o.number))
	if errors.Is(err, keystore.ErrKeyNotFound) {
		return nil
	}
	return err
}
