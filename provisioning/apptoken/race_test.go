package apptoken_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning/apptoken"
	"github.com/keywright/keywright/store"
)

// atOnce runs do n times at the same time.
func atOnce(n int, do func(i int)) {
	var start, done sync.WaitGroup
	start.Add(1)
	for i := range n {
		done.Go(func() {
			start.Wait()
			do(i)
		})
	}
	start.Done()
	done.Wait()
}

// twin is another process on w's store.
func (w *world) twin(edit ...func(*apptoken.Config)) *world {
	w.t.Helper()
	return worldOn(w.t, w.db.Store, w.clock, edit...)
}

// Of the first tokens of an application all are made, whoever makes its record.
func TestFirstTokensAtOnce(t *testing.T) {
	w := newWorld(t)
	twin := w.twin()
	admin := w.admin()
	var made sync.Map
	atOnce(64, func(i int) {
		on := []*world{w, twin}[i%2]
		a, err := on.try("POST", tokensPath, admin, request("name", fmt.Sprintf("%q", fmt.Sprint(i))))
		if err != nil || a.status != 200 {
			t.Errorf("%d: got %d %s, %v", i, a.status, a.body, err)
			return
		}
		made.Store(a.text("uuid"), a.text("token"))
	})
	n := 0
	made.Range(func(_, token any) bool {
		if n++; !w.works(token.(string)) {
			t.Error("a token does not work")
		}
		return true
	})
	if got := w.count(apptoken.KindApplication); n != 64 || got != 1 {
		t.Errorf("%d different tokens, %d applications", n, got)
	}
	if list := w.send("GET", tokensPath+"?limit=100", admin, ""); len(list.list()) != 64 {
		t.Errorf("the list has %d", len(list.list()))
	}
}

// The first token of all, when another process makes the application's record
// between the reading and the writing.
func TestFirstTokenIsRetried(t *testing.T) {
	w := newWorld(t)
	w.db.once(makesToken, func() { w.twin().makeTokens(1, "myorg", "app123") })
	if a := w.create(w.admin(), tokensPath, request()); !w.works(a.text("token")) {
		t.Error("the token does not work")
	}
}

// A token that is made while its application is deleted is refused, or dead.
func TestDeleteApplicationWhileCreating(t *testing.T) {
	for _, first := range []string{"the first token", "another token"} {
		for _, limited := range []int{0, 10} {
			w := newWorld(t, func(c *apptoken.Config) { c.Policy.MaxTokens = limited })
			if first == "another token" {
				w.makeTokens(1, "myorg", "app123")
			}
			w.db.once(makesToken, func() {
				if err := w.twin().DeleteApplication(t.Context(), root, "myorg", "app123"); err != nil {
					t.Error(err)
				}
			})
			w.want(first, w.send("POST", tokensPath, w.admin(), request()), 404, "not_found", "")
			if n := w.count(apptoken.KindToken); n != 0 {
				t.Errorf("%s: %d tokens are left", first, n)
			}
		}
	}
}

func TestDeleteApplicationAtOnce(t *testing.T) {
	for round := range 20 {
		w := newWorld(t)
		twin := w.twin()
		if round%2 == 0 {
			w.makeTokens(2, "myorg", "app123")
		}
		var mu sync.Mutex
		var texts []string // guarded by mu
		atOnce(17, func(i int) {
			if i == 16 {
				if err := twin.DeleteApplication(t.Context(), root, "myorg", "app123"); err != nil {
					t.Error(err)
				}
				return
			}
			on := []*world{w, twin}[i%2]
			made, err := on.Create(t.Context(), root, "myorg", "app123", apptoken.Spec{Name: "x", Scopes: []string{"repo:read"}})
			if err != nil && keywright.AsError(err).Code != keywright.CodeNotFound && keywright.AsError(err).Code != keywright.CodeUnavailable {
				t.Errorf("got %v, want not found", err)
			}
			mu.Lock()
			defer mu.Unlock()
			texts = append(texts, made.Text)
		})
		for _, text := range texts {
			if text != "" && w.works(text) {
				t.Fatal("a token lives on after its application was deleted")
			}
		}
	}
}

// Exactly so many, whoever asks at the same time and wherever.
func TestMaxTokensAtOnce(t *testing.T) {
	const most = 10
	limit := func(c *apptoken.Config) { c.Policy.MaxTokens = most }
	w := newWorld(t, limit)
	processes := []*world{w, w.twin(limit), w.twin(limit)}
	admin := w.admin()
	var made, refused atomic.Int32
	atOnce(60, func(i int) {
		a, err := processes[i%3].try("POST", tokensPath, admin, request("expiration", `"1h"`))
		switch {
		case err == nil && a.status == 200:
			made.Add(1)
		case err == nil && a.status == 400 && a.text("detail") == "Token limit reached: maximum 10 non-expired tokens per application":
			refused.Add(1)
		default:
			t.Errorf("got %d %s, %v", a.status, a.body, err)
		}
	})
	if made.Load() != most || refused.Load() != 50 || w.count(apptoken.KindToken) != most {
		t.Errorf("made %d, refused %d, %d stand", made.Load(), refused.Load(), w.count(apptoken.KindToken))
	}
	// What ends makes room, what another application has does not count.
	w.create(admin, otherAppPath, request())
	id := w.send("GET", tokensPath, admin, "").list()[3]["uuid"].(string)
	w.send("DELETE", tokensPath+"/"+id, admin, "")
	w.create(admin, tokensPath, request("expiration", `"2h"`))
	w.want("full again", w.send("POST", tokensPath, admin, request()), 400, "invalid_request", "Token limit reached")
	w.clock.Advance(time.Hour)
	if made := len(w.send("GET", tokensPath, admin, "").list()); made != 1 {
		t.Fatalf("%d are left after an hour", made)
	}
	w.makeTokens(9, "myorg", "app123")
	w.want("full after the expiry of others", w.send("POST", tokensPath, admin, request()), 400, "invalid_request", "Token limit reached")
}

// Others that are first, again and again, do not keep a token from being made.
func TestMaxTokensIsPersistent(t *testing.T) {
	limit := func(c *apptoken.Config) { c.Policy.MaxTokens = 100 }
	w := newWorld(t, limit)
	twin := w.twin(limit)
	var n atomic.Int32
	hook := func(ops []store.Op) {
		change := slices.ContainsFunc(ops, func(op store.Op) bool { return op.Record.Kind == apptoken.KindApplication })
		if change && n.Add(1) <= 10 {
			twin.makeTokens(1, "myorg", "app123")
		}
	}
	w.db.before.Store(&hook)
	if a := w.makeTokens(1, "myorg", "app123"); !w.works(a[0].Text) || n.Load() != 11 {
		t.Errorf("made after %d tries", n.Load())
	}
	n.Store(0)
	if err := w.DeleteApplication(t.Context(), root, "myorg", "app123"); err != nil || w.count(apptoken.KindToken) != 0 {
		t.Errorf("delete: %v", err)
	}
}

// A limit counts the tokens that were there before it came.
func TestMaxTokensComesLater(t *testing.T) {
	w := newWorld(t)
	w.makeTokens(5, "myorg", "app123")
	limited := w.twin(func(c *apptoken.Config) { c.Policy.MaxTokens = 5 })
	limited.want("a sixth", limited.send("POST", tokensPath, w.admin(), request()), 400, "invalid_request", "Token limit reached")
}

// One of many that delete a token has done it.
func TestDeleteAtOnce(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	made := w.create(admin, tokensPath, request())
	var gone, missing atomic.Int32
	atOnce(16, func(int) {
		a, err := w.try("DELETE", tokensPath+"/"+made.text("uuid"), admin, "")
		switch {
		case err == nil && a.status == 204:
			gone.Add(1)
		case err == nil && a.status == 404:
			missing.Add(1)
		default:
			t.Errorf("got %d %s, %v", a.status, a.body, err)
		}
	})
	if gone.Load() != 1 || missing.Load() != 15 || len(w.events("apptoken.revoked")) != 1 {
		t.Errorf("deleted by %d, missing for %d, %d events", gone.Load(), missing.Load(), len(w.events("apptoken.revoked")))
	}
}

// A store that always has a conflict is trouble, and does not hold anybody up.
func TestEndlessConflict(t *testing.T) {
	for _, limited := range []int{0, 3} {
		w := newWorld(t, func(c *apptoken.Config) { c.Policy.MaxTokens = limited })
		admin := w.admin()
		conflict := error(&store.OpError{Err: store.ErrConflict})
		w.db.commits.Store(&conflict)
		w.want("create", w.send("POST", tokensPath, admin, request()), 503, "unavailable", "")
		if err := w.DeleteApplication(t.Context(), root, "myorg", "app123"); !errors.Is(err, store.ErrConflict) {
			t.Errorf("delete: got %v", err)
		}
	}
}
