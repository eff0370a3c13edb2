package provisioning_test

import (
	"crypto"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/provisioning"
)

const simulations = 1000

// A lab has many runners, of which each simulation takes one. It calls the
// handler without HTTP, for the sake of time.
type lab struct {
	*world
	*rand.Rand
	signer crypto.Signer
	id     string
}

// simulate runs do with a new runner each time, always in the same way.
func simulate(t *testing.T, limits provisioning.Limits, do func(l *lab) error) {
	w := newWorld(t, detecting, func(s *setup) { s.config.Limits = limits })
	for i := range uint64(simulations) {
		l := &lab{w, rand.New(rand.NewPCG(7, i)), newEd25519(t), fmt.Sprintf("sdr-%d", i)}
		p, err := w.prov.IssueToken(t.Context(), keywright.Principal{Subject: "root"}, provisioning.ProvisionRequest{Name: l.id, PublicKey: true})
		if err != nil {
			t.Fatal(err)
		}
		publicKey, proof, err := provisioning.SignEnrollment(l.signer, p, w.clock.Now())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.prov.Enroll(t.Context(), provisioning.EnrollRequest{Token: p.Token, ID: l.id, Hostname: "h", Devices: []byte("[]"), PublicKey: publicKey, Proof: proof}); err != nil {
			t.Fatal(err)
		}
		if err := do(l); err != nil {
			t.Fatalf("simulation %d: %v", i, err)
		}
	}
}

// chance is true so many times in a hundred.
func (l *lab) chance(percent int) bool { return l.IntN(100) < percent }

func (l *lab) refresh(proof string) (provisioning.Rotated, error) {
	return l.prov.Refresh(l.t.Context(), l.id, proof)
}

func (l *lab) works(key string) bool {
	r := httptest.NewRequestWithContext(l.t.Context(), "GET", "/", nil)
	r.Header.Set("Authorization", "Bearer "+key)
	_, err := l.prov.Authenticator().Authenticate(r)
	return err == nil
}

func isLocked(err error) bool { return keywright.AsError(err).Detail == locked }

// Whatever a network does to the requests and answers of one holder, and
// however long that one sleeps: its next refresh that arrives gives it a key
// that works.
func TestWithoutACloneNothingIsLocked(t *testing.T) {
	t.Parallel()
	lost, slept := 0, 0
	simulate(t, provisioning.Limits{}, func(l *lab) error {
		var number int64
		var held []string // requests that the holder has given up
		for range 6 + l.IntN(8) {
			l.clock.Advance(time.Second + time.Duration(l.IntN(60))*time.Second)
			if l.chance(10) {
				slept++
				l.clock.Advance(time.Duration(l.IntN(3)) * time.Hour)
			}
			if len(held) > 0 && l.chance(40) {
				i := l.IntN(len(held))
				if _, err := l.refresh(held[i]); err != nil && keywright.AsError(err).Code != keywright.CodeInvalidToken {
					return fmt.Errorf("a request that was held up: %w", err)
				}
				continue
			}
			proof := l.proof(l.signer, l.id, number)
			if l.chance(30) { // it may come late, and more than once
				held = append(held, proof)
				continue
			}
			r, err := l.refresh(proof)
			if err != nil {
				return fmt.Errorf("with number %d: %w", number, err)
			}
			if l.chance(30) {
				lost++
				continue
			}
			number = r.Sequence
			if l.chance(70) && !l.works(r.APIKey) {
				return errors.New("the key does not work")
			}
		}
		return nil
	})
	if lost < simulations || slept < simulations/2 {
		t.Errorf("%d answers lost and %d rests: too few to tell", lost, slept)
	}
}

// A party is one of two that have the same key pair and number.
type party struct {
	number int64
	key    string
	done   bool // it has used the key of its last refresh before the other refreshed
	due    bool // the other was done after that: the next refresh must lock
}

// In whatever order the two come, the one that was done first locks the runner
// with the refresh that comes after the other was done.
func TestACloneIsFoundInWhateverOrder(t *testing.T) {
	t.Parallel()
	most := 0
	simulate(t, provisioning.Limits{RunnerKey: 30 * 24 * time.Hour}, func(l *lab) error {
		var number int64
		for range l.IntN(4) { // before the copy is made
			r, err := l.refresh(l.proof(l.signer, l.id, number))
			if err != nil {
				return err
			}
			number = r.Sequence
			l.works(r.APIKey)
		}
		both := [2]party{{number: number}, {number: number}}
		last := -1 // who got the last key; -1: nobody, the answer was lost
		for refreshes := 0; refreshes < 100; {
			l.clock.Advance(time.Duration(l.IntN(3)) * time.Second)
			i := l.IntN(2)
			p, other := &both[i], &both[1-i]
			if p.key != "" && l.chance(60) {
				if l.works(p.key) && last == i {
					p.done, other.due = true, other.due || other.done
				}
				continue
			}
			refreshes++
			most = max(most, refreshes)
			r, err := l.refresh(l.proof(l.signer, l.id, p.number))
			switch {
			case isLocked(err):
				return l.bothRefused(both)
			case err != nil && keywright.AsError(err).Code == keywright.CodeInvalidToken:
				continue // signed before the last, by the clock's second
			case err != nil:
				return err
			case p.due:
				return errors.New("the clone was not found when it was due")
			}
			p.done, p.key, last = false, "", -1
			if l.chance(90) {
				p.number, p.key, last = r.Sequence, r.APIKey, i
			}
		}
		return errors.New("the clone was not found")
	})
	if most > 32 {
		t.Errorf("a clone was found only after %d refreshes, want 32 at most", most)
	}
	t.Logf("at most %d refreshes until a clone was found", most)
}

// bothRefused checks that a locked runner has nothing left.
func (l *lab) bothRefused(both [2]party) error {
	for _, p := range both {
		if p.key != "" && l.works(p.key) {
			return errors.New("locked, and a key still works")
		}
		if _, err := l.refresh(l.proof(l.signer, l.id, p.number)); !isLocked(err) {
			return fmt.Errorf("locked, and a refresh gives %w", err)
		}
	}
	if _, err := l.find(l.signer); !errors.Is(err, agent.ErrRefused) {
		return fmt.Errorf("locked, and the agent gives %w", err)
	}
	return nil
}
