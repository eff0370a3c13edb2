package provisioning_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning"
)

// saved is what a runner has on its disk.
type saved struct {
	mu     sync.Mutex
	states []provisioning.KeyState
	fail   error
}

func (s *saved) save(_ context.Context, k provisioning.KeyState) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	s.states = append(s.states, k)
	return nil
}

func (s *saved) setFail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *saved) last() provisioning.KeyState {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.states) == 0 {
		return provisioning.KeyState{}
	}
	return s.states[len(s.states)-1]
}

var living = provisioning.Config{Limits: provisioning.Limits{RunnerKey: 100 * time.Hour, Lifetime: time.Second}}

// unhurried is the same where the clock is a real one, and a token of a second
// may have ended before it is used.
var unhurried = provisioning.Config{Limits: provisioning.Limits{RunnerKey: 100 * time.Hour}}

// A year of requests, one every ten minutes: each has a key that works, and the
// key is replaced at about three quarters of its life.
func TestKeeperKeepsAKeyForAYear(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := newFleet(t, living), new(saved)
		var rotations []time.Time
		k := f.keeper(t, provisioning.KeyState{Key: f.runner(t, "sdr-1")}, s, func(err error) { t.Error(err) })
		work := http.Client{Transport: k.Transport(f.net)}
		before := ""
		for range 365 * 24 * 6 {
			time.Sleep(10 * time.Minute)
			if res, err := work.Get(base + "/work"); err != nil || res.StatusCode != 200 {
				t.Fatalf("after %d rotations: %v, %v", len(rotations), res, err)
			}
			synctest.Wait()
			if now := s.last().Key; now != before && s.last().Next == "" {
				before = now
				rotations = append(rotations, time.Now())
			}
		}
		for i := 1; i < len(rotations); i++ {
			if gap := rotations[i].Sub(rotations[i-1]); gap < 70*time.Hour-time.Minute || gap > 80*time.Hour+11*time.Minute {
				t.Errorf("rotation %d after %v, want 70 to 80 hours", i, gap)
			}
		}
		if len(rotations) < 109 || len(rotations) > 126 {
			t.Errorf("%d rotations in a year, want about 117", len(rotations))
		}
	})
}

func TestKeeperRotatesOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := newFleet(t, living), new(saved)
		k := f.keeper(t, provisioning.KeyState{Key: f.runner(t, "sdr-1")}, s, nil)
		var asked atomic.Int64
		f.net.setFail(func(r *http.Request, served bool) error {
			if r.Method == "POST" && !served {
				asked.Add(1)
				time.Sleep(time.Second)
			}
			return nil
		})
		time.Sleep(85 * time.Hour)
		for range 50 {
			go func() {
				if _, err := k.Key(t.Context()); err != nil {
					t.Error(err)
				}
			}()
		}
		time.Sleep(time.Minute)
		if asked.Load() != 1 {
			t.Errorf("%d rotations, want 1", asked.Load())
		}
	})
}

// Whatever gets lost, the runner ends up with a key that works.
func TestKeeperSurvivesWhatGetsLost(t *testing.T) {
	away := errors.New("connection reset")
	for _, tt := range []struct {
		name string
		fail func(r *http.Request, served bool) error
		save error
	}{
		{"the request to rotate", func(r *http.Request, served bool) error { return lose(r.Method == "POST" && !served, away) }, nil},
		{"its answer", func(r *http.Request, served bool) error { return lose(r.Method == "POST" && served, away) }, nil},
		{"the request to check", func(r *http.Request, served bool) error { return lose(r.Method == "GET" && !served, away) }, nil},
		{"its answer, after the new key was used", func(r *http.Request, served bool) error { return lose(r.Method == "GET" && served, away) }, nil},
		{"the disk", nil, errors.New("disk full")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, s := newFleet(t, living), new(saved)
				var failures atomic.Int64
				first := f.runner(t, "sdr-1")
				k := f.keeper(t, provisioning.KeyState{Key: first}, s, func(error) { failures.Add(1) })
				time.Sleep(85 * time.Hour)
				f.net.setFail(tt.fail)
				s.setFail(tt.save)
				for range 3 {
					if _, err := k.Key(t.Context()); err != nil {
						t.Fatalf("while the old key lives: %v", err)
					}
					time.Sleep(2 * time.Minute)
				}
				if failures.Load() == 0 {
					t.Error("nothing failed")
				}
				f.net.setFail(nil)
				s.setFail(nil)
				for range 12 {
					time.Sleep(10 * time.Minute)
					if key, err := k.Key(t.Context()); err != nil {
						t.Errorf("afterwards: %v", err)
					} else if _, err := f.client.Check(t.Context(), key); err != nil {
						t.Errorf("afterwards: the key does not work: %v", err)
					}
				}
				if state := s.last(); state.Key == first || state.Next != "" {
					t.Error("the key was not replaced in two hours")
				}
			})
		})
	}
}

func lose(when bool, err error) error {
	if when {
		return err
	}
	return nil
}

// A process that begins with what another had saved goes on with it.
func TestKeeperOfTheNextProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := newFleet(t, living), new(saved)
		k := f.keeper(t, provisioning.KeyState{Key: f.runner(t, "sdr-1")}, s, nil)
		f.net.setFail(func(r *http.Request, served bool) error {
			return lose(r.Method == "GET" && served, errors.New("killed"))
		})
		time.Sleep(85 * time.Hour)
		if _, err := k.Key(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		state := s.last()
		if state.Next == "" {
			t.Fatal("the new key was not saved before it was used")
		}
		f.net.setFail(nil)
		k = f.keeper(t, state, s, nil)
		if key, err := k.Key(t.Context()); err != nil || key != state.Next {
			t.Errorf("the next process: another key, or %v", err)
		}
	})
}

func TestKeeperWaitsForANewKeyWhenTheOldOneHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := newFleet(t, living), new(saved)
		k := f.keeper(t, provisioning.KeyState{Key: f.runner(t, "sdr-1")}, s, nil)
		time.Sleep(200 * time.Hour)
		_, err := k.Key(t.Context())
		if e, ok := errors.AsType[*provisioning.StatusError](err); !ok || e.Status != 401 {
			t.Errorf("long after its end: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		time.Sleep(2 * time.Hour)
		f.net.setFail(func(*http.Request, bool) error { time.Sleep(time.Second); return nil })
		if _, err := k.Key(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller that gave up: %v", err)
		}
		time.Sleep(time.Minute)
	})
}

func TestKeeperOfAKeyWithoutAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := newFleet(t, provisioning.Config{}), new(saved)
		key := f.runner(t, "sdr-1")
		k := f.keeper(t, provisioning.KeyState{Key: key}, s, nil)
		time.Sleep(10 * 365 * 24 * time.Hour)
		if got, err := k.Key(t.Context()); err != nil || got != key || len(s.states) != 0 {
			t.Errorf("got another key or %v, saved %d times", err, len(s.states))
		}
	})
}

func TestNewKeeper(t *testing.T) {
	f, s := newFleet(t, unhurried), new(saved)
	key := f.runner(t, "sdr-1")
	newer, err := f.client.Rotate(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	k := f.keeper(t, provisioning.KeyState{Key: key, Next: newer.APIKey}, s, nil)
	if got, err := k.Key(t.Context()); err != nil || got != newer.APIKey || s.last() != (provisioning.KeyState{Key: newer.APIKey}) {
		t.Errorf("with a newer key that works: %v, saved %v", err, len(s.states))
	}
	k = f.keeper(t, provisioning.KeyState{Key: newer.APIKey, Next: key[:len(key)-1] + flip(key)}, s, nil)
	if got, err := k.Key(t.Context()); err != nil || got != newer.APIKey {
		t.Errorf("with a newer key that does not work: %v", err)
	}
	away := &within{}
	away.setFail(func(*http.Request, bool) error { return errors.New("no such host") })
	for name, c := range map[string]provisioning.KeeperConfig{
		"no key":           {Client: f.client, Save: s.save},
		"nothing to save":  {Client: f.client, State: provisioning.KeyState{Key: key}},
		"a key of nobody":  {Client: f.client, State: provisioning.KeyState{Key: "ck_runner_x"}, Save: s.save},
		"an unknown state": {Client: provisioning.Client{URL: "https://away.invalid", HTTP: &http.Client{Transport: away}}, State: provisioning.KeyState{Key: key, Next: key}, Save: s.save},
	} {
		if _, err := provisioning.NewKeeper(t.Context(), c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestKeeperSendsTheKeyToNobodyElse(t *testing.T) {
	f, s := newFleet(t, unhurried), new(saved)
	k := f.keeper(t, provisioning.KeyState{Key: f.runner(t, "sdr-1")}, s, nil)
	c := http.Client{Transport: k.Transport(&within{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("sent to %s", r.URL)
	})})}
	for _, u := range []string{"https://evil.example/", "http://server.example/", "https://server.example:444/"} {
		if _, err := c.Post(u, "text/plain", strings.NewReader("x")); err == nil || !strings.Contains(err.Error(), "not the runner's server") {
			t.Errorf("%s: %v", u, err)
		}
	}
	req, _ := http.NewRequest("GET", base+"/work", nil)
	res, err := k.Transport(f.net).RoundTrip(req)
	if err != nil || res.StatusCode != 200 || len(req.Header) != 0 {
		t.Errorf("the server: %v, %v, the caller's header %v", res, err, req.Header)
	}
	var p keywright.Principal
	if json.NewDecoder(res.Body).Decode(&p); p.Subject != "sdr-1" {
		t.Errorf("came as %q", p.Subject)
	}
}
