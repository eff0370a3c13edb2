package egress_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/egress"
)

// RFC 9111, section 4.2, as far as there is something to learn for us.
func TestFreshness(t *testing.T) {
	var header http.Header
	srv, c := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		for name, values := range header {
			w.Header()[name] = values
		}
		w.Write(jwks("a"))
	})
	const date, later = "Wed, 07 Jan 2026 10:00:00 GMT", "Wed, 07 Jan 2026 10:05:00 GMT"
	caching := func(lines ...string) http.Header { return http.Header{"Cache-Control": lines} }
	expiring := func(expires, date string) http.Header {
		if date == "" { // of which the server makes none
			return http.Header{"Expires": {expires}, "Date": nil}
		}
		return http.Header{"Expires": {expires}, "Date": {date}}
	}
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name   string
		header http.Header
		want   time.Duration
	}{
		{"nothing said", nil, 0},
		{"nothing of interest", caching("public, must-revalidate, s-maxage=60"), 0},
		{"empty", caching(""), 0},
		{"five minutes", caching("public, max-age=300"), 5 * time.Minute},
		{"other case, no space", caching("Public,MAX-AGE=300"), 5 * time.Minute},
		{"in quotes", caching(`max-age="300"`), 5 * time.Minute},
		{"in another line", caching("public", "max-age=300"), 5 * time.Minute},
		{"a minute", caching("max-age=60"), time.Minute},
		{"a second", caching("max-age=1"), time.Minute},
		{"zero", caching("max-age=0"), time.Minute},
		{"a day", caching("max-age=86400"), day},
		{"a day and a second", caching("max-age=86401"), day},
		{"a year", caching("max-age=31536000"), day},
		{"more than fits", caching("max-age=99999999999999999999999"), day},
		{"just what overflows in nanoseconds", caching("max-age=9223372037"), day},
		{"negative", caching("max-age=-1"), time.Minute},
		{"no number", caching("max-age=soon"), time.Minute},
		{"without a value", caching("max-age"), time.Minute},
		{"one quote", caching(`max-age="`), time.Minute},
		{"twice", caching("max-age=7200, max-age=300"), 5 * time.Minute},
		{"twice, the other way", caching("max-age=300", "max-age=7200"), 5 * time.Minute},
		{"no-store", caching("no-store"), time.Minute},
		{"no-cache", caching("No-Cache"), time.Minute},
		{"no-cache for a field", caching(`no-cache="Set-Cookie"`), time.Minute},
		{"no-store and an age", caching("max-age=300, no-store"), time.Minute},
		{"an age and no-cache", caching("no-cache, max-age=300"), time.Minute},
		{"old already", http.Header{"Cache-Control": {"max-age=600"}, "Age": {"300"}}, 5 * time.Minute},
		{"old, of a year", http.Header{"Cache-Control": {"max-age=31536000"}, "Age": {"86400"}}, day},
		{"older than that", http.Header{"Cache-Control": {"max-age=600"}, "Age": {"9999"}}, time.Minute},
		{"of an age that is none", http.Header{"Cache-Control": {"max-age=600"}, "Age": {"-5"}}, 10 * time.Minute},
		{"an age alone", http.Header{"Age": {"300"}}, 0},
		{"expires", expiring(later, date), 5 * time.Minute},
		{"expires now", expiring(date, date), time.Minute},
		{"has expired", expiring(date, later), time.Minute},
		{"expires in 100 years", expiring("Thu, 07 Jan 2126 10:00:00 GMT", date), day},
		{"expires, without a date", expiring(later, ""), 0},
		{"expires, and a date that is none", expiring(later, "today"), 0},
		{"expires never", expiring("0", date), time.Minute},
		{"an age and expires", http.Header{"Cache-Control": {"max-age=7200"}, "Expires": {later}, "Date": {date}}, 2 * time.Hour},
		{"no-store and expires", http.Header{"Cache-Control": {"no-store"}, "Expires": {later}, "Date": {date}}, time.Minute},
	} {
		header = tt.header
		if doc, err := c.JWKS(t.Context(), srv.URL); err != nil || doc.FreshFor != tt.want || string(doc.Text) != string(jwks("a")) {
			t.Errorf("%s: got %v, %v, want %v", tt.name, doc.FreshFor, err, tt.want)
		}
	}
}

func TestKeysAreFreshForAsLongAsTheIssuerSays(t *testing.T) {
	for _, fresh := range []time.Duration{time.Minute, 5 * time.Minute, 23 * time.Hour} {
		inBubble(t, func(w world) {
			w.says(fresh)
			w.publishes("a")
			w.known("a", 1)
			time.Sleep(fresh - time.Nanosecond)
			w.known("a", 1)
			w.asked(1, "fresh")
			time.Sleep(time.Nanosecond)
			w.known("a", 1)
			w.asked(1, "stale")
			w.known("a", 1)
			w.asked(0, "fresh again")
			w.says(0)
			time.Sleep(fresh)
			w.known("a", 1)
			w.asked(1, "stale again")
			time.Sleep(egress.FreshFor - time.Nanosecond)
			w.known("a", 1)
			w.asked(0, "fresh for as long as where nothing is said")
		})
	}
}

// Whatever an issuer says, keys that it may have withdrawn end after a day.
func TestNoKeyIsFreshForMoreThanADay(t *testing.T) {
	inBubble(t, func(w world) {
		w.says(365 * 24 * time.Hour)
		w.publishes("a")
		w.known("a", 1)
		w.fails(errDown)
		time.Sleep(egress.UsableFor - time.Nanosecond)
		w.known("a", 1)
		w.asked(1, "until then")
		time.Sleep(time.Nanosecond)
		w.unavailable("a", egress.FetchFloor, errDown)
	})
}

// What is said over the wire reaches the KeySet.
func TestCacheControlOfAServer(t *testing.T) {
	requests := 0
	srv, c := newServer(t, func(w http.ResponseWriter, _ *http.Request) {
		requests++
		w.Header().Set("Cache-Control", "max-age=300")
		w.Write(jwks("a"))
	})
	clk := &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	done := make(chan struct{}, 1)
	s := egress.NewKeySet(clk.Now, func(ctx context.Context) (egress.Document, error) {
		defer func() { done <- struct{}{} }()
		return c.JWKS(ctx, srv.URL)
	})
	for _, tt := range []struct {
		after   time.Duration
		fetches bool
	}{{0, true}, {299 * time.Second, false}, {time.Second, true}} {
		requests = 0
		clk.add(tt.after)
		if _, err := s.Keys(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		if tt.fetches {
			<-done // perhaps in the background
		}
		if (requests == 1) != tt.fetches {
			t.Errorf("after another %v: %d requests", tt.after, requests)
		}
	}
}
