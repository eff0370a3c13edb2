package apptoken

import (
	"encoding/json"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestSequence(t *testing.T) {
	var s sequence
	at := time.UnixMilli(0x0123456789ab)
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	first := s.next(at).String()
	if !form.MatchString(first) || !strings.HasPrefix(first, "01234567-89ab-7") {
		t.Errorf("got %s, which has not the time", first)
	}
	last := first
	for i := range 10_000 { // more than the counter's room, and a clock that goes back
		id := s.next(at.Add(-time.Duration(i%3) * time.Hour)).String()
		if id <= last || !form.MatchString(id) {
			t.Fatalf("%d: got %s after %s", i, id, last)
		}
		last = id
	}
	if later := s.next(at.Add(time.Second)).String(); later <= last || !strings.HasPrefix(later, "01234567-8d93-7") {
		t.Errorf("got %s after %s, want the clock again", later, last)
	}
}

// The counter begins anew at random in each millisecond, with room above it.
func TestSequenceBegins(t *testing.T) {
	var s sequence
	seen := make(map[string]bool)
	for i := range 200 {
		id := s.next(time.UnixMilli(int64(i) * 1000)).String()
		if id[15] > '7' {
			t.Errorf("%s begins in the upper half", id)
		}
		seen[id[15:18]] = true
	}
	if len(seen) < 100 {
		t.Errorf("only %d beginnings in 200", len(seen))
	}
}

func TestSequenceAtOnce(t *testing.T) {
	var s sequence
	var done sync.WaitGroup
	var all sync.Map
	for range 8 {
		done.Go(func() {
			last := ""
			for range 1000 {
				id := s.next(time.UnixMilli(1)).String()
				if _, twice := all.LoadOrStore(id[:18], true); twice || id <= last {
					t.Errorf("%s after %s", id, last)
				}
				last = id
			}
		})
	}
	done.Wait()
}

func FuzzUUID(f *testing.F) {
	f.Add("01890a5d-ac96-774b-bcce-b302099a8057")
	f.Add("01890A5D-ac96-774b-bcce-b302099a8057")
	f.Add("01890a5d-ac96-474b-bcce-b302099a8057")
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	f.Fuzz(func(t *testing.T, text string) {
		id, ok := parseUUID(text)
		if ok != (form.MatchString(text) && !strings.HasSuffix(text, "\n")) || ok && id.String() != text {
			t.Errorf("%q: %v, %s", text, ok, id)
		}
	})
}

func FuzzCursor(f *testing.F) {
	var s sequence
	f.Add(s.next(time.UnixMilli(1)).cursor())
	f.Add("AQ")
	f.Fuzz(func(t *testing.T, text string) {
		if id, err := parseCursor(text); err == nil && (id.cursor() != text || !id.valid()) {
			t.Errorf("%q was taken for %s", text, id)
		}
	})
}

// The grammar of the issue, by another way.
func FuzzExpiration(f *testing.F) {
	for _, s := range []string{`"30d"`, `"1h30m"`, `null`, `"never"`, `1e400`, `3600.5`, `-1`, `true`, `"٣d"`, `"999999999999999999d"`, `0`, `"30"`} {
		f.Add(s)
	}
	units := regexp.MustCompile(`\A"[1-9][0-9]*[smhdwy]"\z`)
	number := regexp.MustCompile(`\A[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?\z`)
	f.Fuzz(func(t *testing.T, raw string) {
		if raw != "" && !json.Valid([]byte(raw)) || strings.TrimSpace(raw) != raw {
			return // only JSON values come here, without the space around them
		}
		l, err := parseExpiration([]byte(raw))
		switch {
		case err != nil:
		case l.never != (raw == "null" || raw == `"never"`):
			t.Errorf("%q: never is %v", raw, l.never)
		case raw == "" || l.never:
			if l.d != 0 {
				t.Errorf("%q: %v", raw, l.d)
			}
		case !units.MatchString(raw) && !number.MatchString(raw), l.d < time.Second, l.d > maxLife, l.d%time.Second != 0:
			t.Errorf("%q: %v", raw, l.d)
		}
	})
}
