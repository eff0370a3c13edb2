package agentauth

import (
	"slices"
	"strconv"
	"time"

	"github.com/keywright/keywright/internal/limit"
	"github.com/keywright/keywright/store"
)

// Applications come from strangers. These many of one day may wait for a decision.
const (
	maxApplications  = 1000
	maxNearby        = 20              // of one network address
	applicationsFull = 5 * time.Minute // that who finds so many is told to wait
)

// takesRoom reports whether an application counts among those that wait. One that
// nobody has decided in time does so on a day that has passed.
func (a *application) takesRoom() bool { return a != nil && a.Decision == "" }

// counters are those that an application counts in: of all of its day and, behind
// it, of those from its address, where that is known.
func (p *Provider) counters(a *application) []string {
	day := strconv.FormatInt(a.Created.Unix()/86400, 10)
	names := []string{store.ID(KindApplication, p.issuer, day)}
	if a.From != "" {
		names = append(names, store.ID(KindApplication, p.issuer, day, limit.Network(a.From)))
	}
	return names
}

// waitingRoom returns the ops that let an application in, in the place of another;
// nil: in nobody's. Where next is nil, old leaves.
func (p *Provider) waitingRoom(old, next *application) []store.Op {
	var left, taken []string
	if old.takesRoom() {
		left = p.counters(old)
	}
	if next.takesRoom() {
		taken = p.counters(next)
	}
	var ops []store.Op
	for i, name := range taken {
		if !slices.Contains(left, name) {
			ops = append(ops, store.Take(name, 1, []int64{maxApplications, maxNearby}[i], next.roomUntil()))
		}
	}
	for _, name := range left {
		if !slices.Contains(taken, name) {
			ops = append(ops, store.Take(name, -1, maxApplications, old.roomUntil()))
		}
	}
	return ops
}

// roomUntil is when nobody counts any more among whom a counted.
func (a *application) roomUntil() time.Time { return a.Created.Add(approvalWait + approvalKept) }
