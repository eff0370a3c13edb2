// Package limit slows down callers that keep failing.
package limit

import (
	"cmp"
	"errors"
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	shards   = 16
	maxShard = 4096 // addresses in one shard: some 10 MB for all of them
)

// Failures counts failures by network address. An address may fail burst times
// at once, and then perSecond times a second. Success costs nothing, so many
// good jobs behind one address do not get into each other's way.
//
// It remembers a bounded number of addresses. When that many have failed lately,
// all newcomers together count as one. A nil Failures limits nobody. It is safe
// for concurrent use.
type Failures struct {
	now       func() time.Time
	perSecond rate.Limit
	burst     int
	seed      maphash.Seed
	shard     [shards]shard
	newcomers *rate.Limiter
}

type shard struct {
	mu     sync.Mutex
	byAddr map[string]*rate.Limiter // guarded by mu
	looked time.Time                // guarded by mu: when forget last went through byAddr
}

// NewFailures makes a Failures with the given clock.
func NewFailures(now func() time.Time, burst int, perSecond float64) *Failures {
	f := &Failures{now: now, perSecond: rate.Limit(perSecond), burst: burst, seed: maphash.MakeSeed()}
	f.newcomers = rate.NewLimiter(f.perSecond, burst)
	for i := range f.shard {
		f.shard[i].byAddr = make(map[string]*rate.Limiter)
	}
	return f
}

// Configured makes a Failures of what an operator has said: burst negative for
// no limit, which is nil, and 0 for what is usual.
func Configured(now func() time.Time, burst, perMinute, usualBurst, usualPerMinute int) (*Failures, error) {
	switch {
	case burst < 0:
		return nil, nil
	case perMinute < 0:
		return nil, errors.New("PerMinute is negative")
	}
	return NewFailures(now, cmp.Or(burst, usualBurst), float64(cmp.Or(perMinute, usualPerMinute))/60), nil
}

// Wait returns how long addr must wait until it may fail again; 0: not at all.
func (f *Failures) Wait(addr string) time.Duration {
	if f == nil {
		return 0
	}
	name, now := Network(addr), f.now()
	s := f.of(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.byAddr[name]
	if l == nil {
		if len(s.byAddr) < maxShard {
			return 0
		}
		l = f.newcomers
	}
	return f.wait(l, now)
}

func (f *Failures) wait(l *rate.Limiter, now time.Time) time.Duration {
	if missing := 1 - l.TokensAt(now); missing > 0 {
		return max(1, time.Duration(missing/float64(f.perSecond)*float64(time.Second)))
	}
	return 0
}

// Fail counts one failure of addr.
func (f *Failures) Fail(addr string) { f.take(addr, 1) }

// take counts n of addr, unless it must wait: then it returns how long. Below
// zero, n gives back what was counted.
func (f *Failures) take(addr string, n int) time.Duration {
	if f == nil {
		return 0
	}
	name, now := Network(addr), f.now()
	s := f.of(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.byAddr[name]
	if l == nil {
		if len(s.byAddr) >= maxShard {
			s.forget(now, float64(f.burst))
		}
		l = f.newcomers
		if len(s.byAddr) < maxShard {
			l = rate.NewLimiter(f.perSecond, f.burst)
			s.byAddr[name] = l
		}
	}
	if l.AllowN(now, n) {
		return 0
	}
	return f.wait(l, now)
}

// forget drops the addresses that have their whole budget again. It goes
// through all of them, so it does so once a second at most.
func (s *shard) forget(now time.Time, full float64) {
	if since := now.Sub(s.looked); since >= 0 && since < time.Second {
		return
	}
	s.looked = now
	for name, l := range s.byAddr {
		if l.TokensAt(now) >= full {
			delete(s.byAddr, name)
		}
	}
}

func (f *Failures) of(name string) *shard { return &f.shard[maphash.String(f.seed, name)%shards] }

// Network is what one party is likely to have for itself: an IPv4 address, or
// 64 bits of an IPv6 address. What is no address is returned as it is.
func Network(addr string) string {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return addr
	}
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		return ip.String()
	}
	prefix, err := ip.Prefix(64)
	if err != nil {
		return addr
	}
	return prefix.String()
}
