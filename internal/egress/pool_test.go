package egress_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keywright/keywright/internal/egress"
)

// A crowd is a Pool and the far sides of its KeySets.
type crowd struct {
	t *testing.T
	*egress.Pool
	*issuer     // of all of them
	made    int // KeySets
	backOff bool
}

func inCrowd(t *testing.T, max int, test func(c *crowd)) {
	synctest.Test(t, func(t *testing.T) {
		test(&crowd{t: t, Pool: egress.NewPool(time.Now, max), issuer: new(issuer)})
		synctest.Wait()
	})
}

func (c *crowd) create() *egress.KeySet {
	c.made++
	s := egress.NewKeySet(time.Now, c.fetch)
	s.BackOff = c.backOff
	return s
}

func (c *crowd) get(name string) error {
	_, err := c.Get(name, c.create)
	return err
}

// asks asks issuer name for its key a.
func (c *crowd) asks(name string) error {
	s, err := c.Get(name, c.create)
	if err != nil {
		return err
	}
	if _, err = s.Keys(c.t.Context(), "a"); err == nil {
		s.Proven()
	}
	return err
}

// fills fills it with issuers 0 to n-1.
func (c *crowd) fills(n int) {
	for i := range n {
		c.asks(fmt.Sprint(i))
	}
}

// admits fails unless somebody new is admitted or not.
func (c *crowd) admits(when string, ok bool) {
	c.t.Helper()
	if err := c.get("newcomer"); (err == nil) != ok || err != nil && !errors.Is(err, egress.ErrFull) {
		c.t.Errorf("%s: got %v, want admitted: %v", when, err, ok)
	}
}

func TestPoolMakesOneOfEachKey(t *testing.T) {
	p := egress.NewPool(nil, 0)
	var made atomic.Int64
	var sets sync.Map
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			s, err := p.Get(fmt.Sprint(i%2), func() *egress.KeySet {
				made.Add(1)
				return egress.NewKeySet(nil, nil)
			})
			if err != nil {
				t.Error(err)
			}
			sets.Store(s, i%2)
		})
	}
	wg.Wait()
	n := 0
	for range sets.Range {
		n++
	}
	if made.Load() != 2 || n != 2 {
		t.Errorf("%d were made and %d given out, want 2", made.Load(), n)
	}
}

func TestPoolHoldsAThousand(t *testing.T) {
	inCrowd(t, 0, func(c *crowd) {
		c.publishes("a")
		c.fills(1000)
		c.admits("the 1,001st", false)
		if err := c.asks("7"); err != nil || c.made != 1000 || c.fetched() != 1000 {
			c.t.Errorf("one that is there: got %v; %d made", err, c.made)
		}
	})
}

// A failure is remembered until the next fetch may be made.
func TestPoolKeepsFailures(t *testing.T) {
	inCrowd(t, 2, func(c *crowd) {
		c.backOff = true
		c.fails(errDown)
		c.fills(2)
		time.Sleep(egress.FetchFloor - time.Second)
		for i := range 100 {
			if err := c.get(fmt.Sprint("stranger ", i)); !errors.Is(err, egress.ErrFull) {
				c.t.Errorf("got %v, want ErrFull", err)
			}
		}
		if c.made != 2 || c.fetched() != 2 {
			c.t.Errorf("%d were made", c.made)
		}
		time.Sleep(time.Second)
		c.fills(2) // a second failure each: two minutes
		time.Sleep(2*time.Minute - time.Second)
		c.admits("within the back-off", false)
		time.Sleep(time.Second)
		c.admits("after it", true)
		if c.asks("0"); c.made != 4 {
			c.t.Errorf("%d were made: what failed was not forgotten", c.made)
		}
	})
}

// One that fails and is asked for again and again is in use.
func TestPoolKeepsWhatIsAskedFor(t *testing.T) {
	inCrowd(t, 1, func(c *crowd) {
		c.fails(errDown)
		c.fills(1)
		for range 10 {
			time.Sleep(egress.FetchFloor - 2*time.Second)
			c.get("0") // about to make it fetch
			time.Sleep(2 * time.Second)
			c.admits("in use", false)
		}
		time.Sleep(egress.FetchFloor - 2*time.Second)
		c.admits("not any more", true)
	})
}

func TestPoolKeepsWhatHasKeys(t *testing.T) {
	inCrowd(t, 2, func(c *crowd) {
		c.publishes("a")
		c.fills(2)
		c.says(24 * time.Hour)
		time.Sleep(time.Hour)
		c.asks("0") // a refresh in the background
		synctest.Wait()
		time.Sleep(23*time.Hour - time.Second)
		c.admits("before its end", false)
		time.Sleep(time.Second)
		c.admits("after it", true)
		if c.asks("0"); c.made != 3 {
			c.t.Errorf("%d were made: one in use was forgotten", c.made)
		}
		if err := c.asks("1"); !errors.Is(err, egress.ErrFull) {
			c.t.Errorf("one that nobody used for a day: got %v, want ErrFull", err)
		}
	})
}

// What nobody has asked for in a day goes, even if its keys are good.
func TestPoolForgetsWhatIsIdle(t *testing.T) {
	inCrowd(t, 1, func(c *crowd) {
		s, err := egress.StaticKeySet(jwks("a"))
		if err != nil {
			c.t.Fatal(err)
		}
		c.Get("static", func() *egress.KeySet { return s })
		s.Proven()
		time.Sleep(egress.IdleFor - time.Second)
		c.admits("within the day", false)
		time.Sleep(time.Second)
		c.admits("after it", true)
	})
}

// Keys that have verified nothing are kept for a minute: anybody can name a set.
func TestPoolForgetsWhatHasProvenNothing(t *testing.T) {
	inCrowd(t, 1, func(c *crowd) {
		s, err := egress.StaticKeySet(jwks("a"))
		if err != nil {
			c.t.Fatal(err)
		}
		c.Get("static", func() *egress.KeySet { return s })
		time.Sleep(time.Minute - time.Second)
		c.admits("within the minute", false)
		time.Sleep(time.Second)
		c.admits("after it", true)
	})
}

// Keys that may not be used any more are none.
func TestPoolForgetsWhoIsAwayForADay(t *testing.T) {
	inCrowd(t, 1, func(c *crowd) {
		c.publishes("a")
		c.fills(1)
		c.fails(errDown)
		for range 24 {
			c.get("0")
			time.Sleep(time.Hour)
		}
		c.admits("an hour after it was last asked for", true)
	})
}

func TestPoolKeepsWhatIsFetching(t *testing.T) {
	inCrowd(t, 1, func(c *crowd) {
		clk := &clock{now: time.Now()}
		p := egress.NewPool(clk.Now, 1)
		release := make(chan struct{})
		s, err := p.Get("slow", func() *egress.KeySet { return egress.NewKeySet(clk.Now, c.fetch) })
		if err != nil {
			c.t.Fatal(err)
		}
		c.does(func(context.Context) ([]byte, error) {
			<-release
			return nil, errDown
		})
		go s.Keys(c.t.Context(), "a")
		synctest.Wait()
		clk.add(48 * time.Hour) // more than the five seconds that the fetch has
		if _, err := p.Get("newcomer", c.create); !errors.Is(err, egress.ErrFull) {
			c.t.Errorf("while it fetches: got %v, want ErrFull", err)
		}
		close(release)
		synctest.Wait()
		clk.add(time.Second)
		if _, err := p.Get("newcomer", c.create); err != nil {
			c.t.Errorf("when it has ended: %v", err)
		}
	})
}

// A KeySet that has not fetched yet is about to.
func TestPoolKeepsWhatIsNew(t *testing.T) {
	inCrowd(t, 1, func(c *crowd) {
		c.get("0")
		time.Sleep(egress.FetchFloor - time.Second)
		c.admits("within a minute", false)
		time.Sleep(time.Second)
		c.admits("after it", true)
	})
}

// A flood of newcomers does not make it look for room each time.
func TestPoolLooksForRoomOnceASecond(t *testing.T) {
	inCrowd(t, 1, func(c *crowd) {
		c.fails(errDown)
		c.fills(1)
		time.Sleep(egress.FetchFloor - time.Nanosecond)
		c.admits("just before", false)
		time.Sleep(time.Second - time.Nanosecond)
		c.admits("within a second of a vain search", false)
		time.Sleep(time.Nanosecond)
		c.admits("after it", true)
	})
}

// A clock that was set back by a year does not keep newcomers out for a year.
func TestPoolAndTheClock(t *testing.T) {
	clk := &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	p := egress.NewPool(clk.Now, 1)
	create := func() *egress.KeySet { return egress.NewKeySet(clk.Now, nil) }
	p.Get("0", create)
	clk.add(-365 * 24 * time.Hour)
	if _, err := p.Get("1", create); !errors.Is(err, egress.ErrFull) {
		t.Errorf("set back: got %v, want ErrFull", err)
	}
	clk.add(-365 * 24 * time.Hour)
	if _, err := p.Get("1", create); !errors.Is(err, egress.ErrFull) {
		t.Errorf("set back again: got %v, want ErrFull", err)
	}
	clk.add(egress.FetchFloor)
	if _, err := p.Get("1", create); err != nil {
		t.Errorf("a minute later: %v", err)
	}
}

func TestPoolHitDoesNotAllocate(t *testing.T) {
	p := egress.NewPool(nil, 0)
	create := func() *egress.KeySet { return egress.NewKeySet(nil, nil) }
	p.Get("0", create)
	if n := testing.AllocsPerRun(1000, func() { p.Get("0", create) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
