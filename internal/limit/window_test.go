package limit_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/internal/limit"
	"github.com/keywright/keywright/store"
)

func newWindow(now *time.Time) limit.Window {
	return limit.Window{Store: &store.Memory{Now: func() time.Time { return *now }}, Kind: "test.window", Max: 3, Length: time.Hour}
}

func TestWindow(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC)
	w := newWindow(&now)
	for _, tt := range []struct {
		name      string
		after     time.Duration // since the step before
		who       string
		remaining int64
		exceeded  bool
		reset     time.Duration
	}{
		{"the first opens the window", 0, "a", 2, false, time.Hour},
		{"the second is in it", 20 * time.Minute, "a", 1, false, 40 * time.Minute},
		{"another has one of its own", 0, "b", 2, false, time.Hour},
		{"the third, in the next hour of the clock", 20 * time.Minute, "a", 0, false, 20 * time.Minute},
		{"the fourth is one too many", 0, "a", 0, true, 20 * time.Minute},
		{"just before the end", 20*time.Minute - time.Nanosecond, "a", 0, true, time.Second},
		{"at the end a new one opens", time.Nanosecond, "a", 2, false, time.Hour},
		{"and is used", 30 * time.Minute, "a", 1, false, 30 * time.Minute},
	} {
		now = now.Add(tt.after)
		got, err := w.Take(t.Context(), tt.who, now)
		want := limit.Quota{Max: 3, Remaining: tt.remaining, Length: time.Hour, Reset: tt.reset, Exceeded: tt.exceeded}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", tt.name, err, diff)
		}
	}
}

func TestWindowOfOneNameInManyGoroutines(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC)
	w := newWindow(&now)
	w.Max = 100
	var passed atomic.Int64
	var wg sync.WaitGroup
	for range 1000 {
		wg.Go(func() {
			q, err := w.Take(t.Context(), "a", now)
			if err != nil {
				t.Error(err)
			}
			if !q.Exceeded {
				passed.Add(1)
			}
		})
	}
	wg.Wait()
	if passed.Load() != 100 {
		t.Errorf("%d of 1000 passed, want 100", passed.Load())
	}
}

// broken fails where it is told to.
type broken struct {
	store.Store
	add, commit bool
}

var errBroken = errors.New("broken")

func (b broken) Add(ctx context.Context, counter string, n int64, until time.Time) (int64, error) {
	if b.add {
		return 0, errBroken
	}
	return b.Store.Add(ctx, counter, n, until)
}

func (b broken) Commit(ctx context.Context, ops ...store.Op) error {
	if b.commit {
		return errBroken
	}
	return b.Store.Commit(ctx, ops...)
}

func TestWindowOfABrokenStore(t *testing.T) {
	now := time.Now()
	for _, b := range []broken{{add: true}, {commit: true}} {
		w := newWindow(&now)
		b.Store = w.Store
		w.Store = b
		if q, err := w.Take(t.Context(), "a", now); !errors.Is(err, errBroken) {
			t.Errorf("got %v, %v", q, err)
		}
	}
}

func TestHeaderOfQuota(t *testing.T) {
	q := limit.Quota{Max: 100, Remaining: 7, Length: time.Hour, Reset: 1500 * time.Millisecond}
	want := http.Header{"Ratelimit": {`"default";r=7;t=2`}, "Ratelimit-Policy": {`"default";q=100;w=3600`}}
	if diff := cmp.Diff(want, q.Header()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	q.Exceeded = true
	want.Set("Retry-After", "2")
	if diff := cmp.Diff(want, q.Header()); diff != "" {
		t.Errorf("exceeded (-want +got):\n%s", diff)
	}
}

func TestRetryAfter(t *testing.T) {
	for d, want := range map[time.Duration]string{-time.Hour: "1", 0: "1", time.Nanosecond: "1", time.Second: "1", time.Second + 1: "2", time.Hour: "3600"} {
		if got := limit.RetryAfter(d).Get("Retry-After"); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
}

func TestConfigured(t *testing.T) {
	now := time.Now
	for _, tt := range []struct{ burst, perMinute, failures int }{{0, 0, 3}, {2, 0, 2}, {0, 5, 3}} {
		f, err := limit.Configured(now, tt.burst, tt.perMinute, 3, 1)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for ; f.Wait("a") == 0 && n < 100; n++ {
			f.Fail("a")
		}
		if n != tt.failures {
			t.Errorf("burst %d: %d failures, want %d", tt.burst, n, tt.failures)
		}
	}
	f, err := limit.Configured(now, -1, -1, 3, 1)
	if f.Fail("a"); err != nil || f != nil || f.Wait("a") != 0 {
		t.Errorf("no limit: %v, %v", f, err)
	}
	if _, err := limit.Configured(now, 1, -1, 3, 1); err == nil {
		t.Error("a negative rate is accepted")
	}
}
