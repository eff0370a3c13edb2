package apptoken

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/limit"
)

// A GuessLimit slows down who sends wrong super user credentials: an address,
// or the 64 bits of an IPv6 network, whoever it claims to be, and one user's
// name from all of the network around it (an IPv4 /24, an IPv6 /48). A name is
// never limited from everywhere, so that strangers cannot lock its owner out.
//
// Those that succeed do not count, but wait too while the budget is used up.
// Each process counts for itself. Behind a proxy all clients have one address
// unless the host uses keywright.TrustProxies.
type GuessLimit struct {
	Burst     int // refusals at once; 0: 10; negative: no limit
	PerMinute int // refusals after that; 0: 6
}

// guesses counts the failures, and lets one network try one password at a time.
type guesses struct {
	failures *limit.Failures // by address, and by network and name; nil: no limit

	mu    sync.Mutex
	lanes map[string]*lane // by network; guarded by mu, entries only while somebody is in one
}

// A lane is where the attempts of one network queue up: those that came at
// once would otherwise all have passed before the first has failed.
type lane struct {
	slot chan struct{}
	in   int // guarded by guesses.mu: in it or before it
}

func newGuesses(now func() time.Time, c GuessLimit) (*guesses, error) {
	failures, err := limit.Configured(now, c.Burst, c.PerMinute, 10, 6)
	return &guesses{lanes: make(map[string]*lane), failures: failures}, err
}

// wait is how long addr, or user from around it, must wait until it may fail
// again; user is empty where none was named.
func (g *guesses) wait(addr, user string) time.Duration {
	wait := g.failures.Wait(addr)
	if user != "" {
		wait = max(wait, g.failures.Wait(owner(addr, user)))
	}
	return wait
}

// fail counts one failure.
func (g *guesses) fail(addr, user string) {
	g.failures.Fail(addr)
	if user != "" {
		g.failures.Fail(owner(addr, user))
	}
}

// owner names a user as seen from the network of addr: no address, so that
// Failures takes it as it is, and short, however long the user's name. To a
// directory, case makes no other user.
func owner(addr, user string) string {
	return fmt.Sprintf("%s user %x", around(addr), sha256.Sum256([]byte(strings.ToLower(user))))
}

// around is the network that a guesser with many addresses is likely to have.
func around(addr string) string {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return addr
	}
	bits := 48
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		bits = 24
	}
	network, err := ip.Prefix(bits)
	if err != nil {
		return addr
	}
	return network.String()
}

// enter waits until no other attempt of the network of addr is under way.
// Leave must be called.
func (g *guesses) enter(ctx context.Context, addr string) (leave func(), err error) {
	name := around(addr)
	g.mu.Lock()
	l := g.lanes[name]
	if l == nil {
		l = &lane{slot: make(chan struct{}, 1)}
		g.lanes[name] = l
	}
	l.in++
	g.mu.Unlock()
	select {
	case l.slot <- struct{}{}:
		return func() { <-l.slot; g.part(name, l) }, nil
	case <-ctx.Done():
		g.part(name, l)
		return nil, ctx.Err()
	}
}

// part forgets the lane with the last that leaves it.
func (g *guesses) part(name string, l *lane) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l.in--; l.in == 0 {
		delete(g.lanes, name)
	}
}
