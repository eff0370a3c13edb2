package apptoken

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/keywright/keywright"
)

// suLong is as long as bcrypt can read.
var suLong = strings.Repeat("p", 71) + "!"

// suHashes are made once: each takes a bcrypt.
var suHashes = sync.OnceValue(func() map[string]string {
	hashes := make(map[string]string)
	for name, password := range map[string]string{"admin": suPassword, "long": suLong, "dash": "-"} {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), minCost)
		if err != nil {
			panic(err)
		}
		hashes[name] = string(hash)
	}
	hashes["htpasswd"] = "$2y$" + strings.TrimPrefix(hashes["admin"], "$2a$")
	return hashes
})

func newSuAccounts(t testing.TB) *Accounts {
	t.Helper()
	a, err := NewAccounts(suHashes())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Each attempt costs one bcrypt of one cost, whoever asks for whatever.
func TestAccounts(t *testing.T) {
	a := newSuAccounts(t)
	type bcrypted struct{ cost int }
	var done []bcrypted
	a.compare = func(hash, password []byte) error {
		err := bcrypt.CompareHashAndPassword(hash, password)
		cost, _ := bcrypt.Cost(hash)
		if err != nil && !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
			t.Errorf("no bcrypt was done: %v", err)
		}
		done = append(done, bcrypted{cost: cost})
		return err
	}
	for _, tt := range []struct {
		name, user, password string
		cause                error // nil: let in
	}{
		{"good", "admin", suPassword, nil},
		{"of htpasswd", "htpasswd", suPassword, nil},
		{"72 bytes", "long", suLong, nil},
		{"a dash", "dash", "-", nil},
		{"wrong", "admin", "x" + suPassword, errWrongPassword},
		{"another's", "long", suPassword, errWrongPassword},
		{"unknown", "nobody", suPassword, errUnknownUser},
		{"no name", "", suPassword, errUnknownUser},
		{"another case", "Admin", suPassword, errUnknownUser},
		{"a look-alike", "аdmin", suPassword, errUnknownUser},
		{"a space behind", "admin ", suPassword, errUnknownUser},
		{"72 bytes and a suffix (PRV-04)", "long", suLong + "anything", errUnusable},
		{"NUL cycling (PRV-05)", "dash", "-\x00-", errUnusable},
		{"NUL", "admin", suPassword + "\x00", errUnusable},
		{"empty", "dash", "", errUnusable},
		{"a megabyte", "admin", strings.Repeat(suPassword, 1<<16), errUnusable},
		{"unknown and unusable", "nobody", suLong + "x", errUnknownUser},
	} {
		done = nil
		subject, err := a.VerifyPassword(t.Context(), tt.user, tt.password)
		if len(done) != 1 || done[0].cost != minCost {
			t.Errorf("%s: %v, want one bcrypt of cost %d", tt.name, done, minCost)
		}
		if tt.cause == nil {
			if err != nil || subject != tt.user {
				t.Errorf("%s: got %q, %v", tt.name, subject, err)
			}
			continue
		}
		e, ok := errors.AsType[*keywright.Error](err)
		if !ok || e.Code != keywright.CodeInvalidToken || e.Detail != "" || e.Header != nil || !errors.Is(err, tt.cause) || subject != "" {
			t.Errorf("%s: got %q, %v, want %v", tt.name, subject, err, tt.cause)
		}
		if strings.Contains(err.Error(), suPassword) {
			t.Errorf("%s: the error has the password", tt.name)
		}
	}
}

func TestNewAccounts(t *testing.T) {
	good := suHashes()["admin"]
	for _, tt := range []struct {
		name   string
		hashes map[string]string
		want   string
	}{
		{"none", nil, "none"},
		{"no name", map[string]string{"": good}, `""`},
		{"a colon", map[string]string{"a:b": good}, `"a:b"`},
		{"a line feed", map[string]string{"a\nb": good}, `"ab"`},
		{"a space behind", map[string]string{"a ": good}, `"a "`},
		{"too long", map[string]string{strings.Repeat("n", 256): good}, `"nnn`},
		{"two cases", map[string]string{"Admin": good, "admin": good}, `"Admin" and "admin" differ only in case`},
		{"two cases of another script", map[string]string{"Ж": good, "ж": good}, "differ only in case"},
		{"no hash", map[string]string{"root": ""}, `"root": not a bcrypt hash`},
		{"a password", map[string]string{"root": suPassword}, `"root": not a bcrypt hash`},
		{"SHA-512", map[string]string{"root": "$6$salt$" + strings.Repeat("x", 86)}, `"root": not a bcrypt hash`},
		{"2x, which had a defect", map[string]string{"root": "$2x$" + good[4:]}, `"root": not a bcrypt hash`},
		{"cut off", map[string]string{"root": good[:59]}, `"root": not a bcrypt hash`},
		{"a line feed behind", map[string]string{"root": good + "\n"}, `"root": not a bcrypt hash`},
		{"cost 9", map[string]string{"root": "$2a$09$" + good[7:]}, `"root": bcrypt cost: want 10 to 15`},
		{"cost 16", map[string]string{"root": "$2a$16$" + good[7:]}, `"root": bcrypt cost`},
		{"cost 00", map[string]string{"root": "$2a$00$" + good[7:]}, `"root": bcrypt cost`},
		{"cost 99", map[string]string{"root": "$2a$99$" + good[7:]}, `"root": bcrypt cost`},
		{"two costs", map[string]string{"admin": good, "root": "$2a$12$" + good[7:]}, `"root": bcrypt cost 12, while others have 10`},
	} {
		a, err := NewAccounts(tt.hashes)
		if err == nil || a != nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), good[7:40]) || strings.Contains(err.Error(), suPassword) {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
		}
	}
	for _, cost := range []int{10, 15} {
		if _, err := NewAccounts(map[string]string{"root": fmt.Sprintf("$2b$%d$", cost) + good[7:]}); err != nil {
			t.Errorf("cost %d: %v", cost, err)
		}
	}
	hashes := maps.Clone(suHashes())
	a, err := NewAccounts(hashes)
	if err != nil {
		t.Fatal(err)
	}
	delete(hashes, "admin")
	if _, err := a.VerifyPassword(t.Context(), "admin", suPassword); err != nil {
		t.Errorf("the map was not copied: %v", err)
	}
}

// bcrypt takes a processor for a while: half of them is all that strangers get.
func TestFewBcryptsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newSuAccounts(t)
		var now, most atomic.Int64
		a.compare = func(_, _ []byte) error {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Second)
			now.Add(-1)
			return nil
		}
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { a.VerifyPassword(t.Context(), "admin", "x") })
		}
		all.Wait()
		if want := int64(max(1, runtime.GOMAXPROCS(0)/2)); most.Load() != want {
			t.Errorf("%d at once, want %d", most.Load(), want)
		}
	})
}

func TestWaitingForABcryptEndsWithTheRequest(t *testing.T) {
	a := newSuAccounts(t)
	done := false
	a.compare = func(_, _ []byte) error { done = true; return nil }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, taken := range []int{0, cap(a.slots)} {
		for range taken {
			a.slots <- struct{}{}
		}
		for range 50 {
			if subject, err := a.VerifyPassword(ctx, "admin", suPassword); !errors.Is(err, context.Canceled) || subject != "" || done {
				t.Fatalf("%d slots taken: got %q, %v, bcrypt %v", taken, subject, err, done)
			}
		}
	}
}

// Accounts behind the handler, with true hashes.
func TestAccountsOfSuperUsers(t *testing.T) {
	w := newSuWorld(t, func(c *ZeroTouch) { c.Passwords = newSuAccounts(t) })
	w.wantIn("good", suRequest(suBasic("admin", suPassword)))
	w.wantOut("wrong", suRequest(suBasic("admin", "x")), keywright.CodeInvalidToken, "wrong password")
	w.wantOut("unknown", suRequest(suBasic("nobody", "x")), keywright.CodeInvalidToken, "not one of the super users")
	w.wantOut("too long", suRequest(suBasic("long", suLong+"x")), keywright.CodeInvalidToken, "72 bytes")
}

// The pair to compare: they differ by nothing but noise.
func BenchmarkWrongPassword(b *testing.B) { benchmarkAccounts(b, "admin", "wrong password") }
func BenchmarkUnknownUser(b *testing.B)   { benchmarkAccounts(b, "nobody", "wrong password") }
func BenchmarkUnusablePassword(b *testing.B) {
	benchmarkAccounts(b, "admin", strings.Repeat("p", 1024))
}

func benchmarkAccounts(b *testing.B, user, password string) {
	a := newSuAccounts(b)
	for b.Loop() {
		if _, err := a.VerifyPassword(b.Context(), user, password); err == nil {
			b.Fatal("let in")
		}
	}
}
