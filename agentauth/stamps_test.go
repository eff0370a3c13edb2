package agentauth_test

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
)

func TestEqualRequestsOfASecondDiffer(t *testing.T) {
	c := &clock{now: t0}
	s := new(stage)
	transport := signingTransport(t, s, func(tc *agentauth.TransportConfig) { tc.Now = c.Now })
	send := func(method, url, body string) (created, expires string) {
		_, err := transport.RoundTrip(clientRequest(t, method, url, body))
		must(t, err)
		input := s.seen[len(s.seen)-1].Header.Get("Signature-Input")
		_, created, _ = strings.Cut(input, ";created=")
		created, expires, _ = strings.Cut(created, ";expires=")
		return created, expires
	}
	unix := func(d time.Duration) string { return strconv.FormatInt(t0.Add(d).Unix(), 10) }
	for i, step := range []struct {
		method, url, body string
		moves             time.Duration
		created, expires  string
	}{
		{"GET", "/a", "", 0, unix(0), ""},
		{"GET", "/a", "", 0, unix(0), unix(61 * time.Second)},
		{"GET", "/a?b", "", 0, unix(0), unix(62 * time.Second)}, // the query is not covered
		{"GET", "/b", "", 0, unix(0), ""},
		{"POST", "/a", "", 0, unix(0), ""},
		{"POST", "/a", "one", 0, unix(0), ""},
		{"POST", "/a", "two", 0, unix(0), ""},
		{"POST", "/a", "two", 0, unix(0), unix(61 * time.Second)},
		{"GET", "/a", "", time.Second, unix(time.Second), ""},
		{"GET", "/a", "", -time.Second, unix(time.Second), unix(62 * time.Second)}, // which is not dated back
		{"GET", "/a", "", -time.Hour, unix(-time.Hour), ""},
	} {
		c.advance(step.moves)
		if created, expires := send(step.method, "https://resource.example"+step.url, step.body); created != step.created || expires != step.expires {
			t.Errorf("%d: %s to %q, want %s to %q", i, created, expires, step.created, step.expires)
		}
	}
}

// TestNoTwoSignaturesAreEqual, of many goroutines at the turn of a second.
func TestNoTwoSignaturesAreEqual(t *testing.T) {
	var mu sync.Mutex
	n, signatures := 0, make(map[string]bool)
	transport := signingTransport(t, roundTripper(func(r *http.Request) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		signatures[r.Header.Get("Signature")] = true
		return nowhere(r)
	}), func(c *agentauth.TransportConfig) {
		c.Now = func() time.Time { // every reading is in another of two seconds
			mu.Lock()
			defer mu.Unlock()
			n++
			return t0.Add(time.Duration(n%2) * time.Second)
		}
	})
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if _, err := transport.RoundTrip(clientRequest(t, "GET", "https://resource.example/a", "")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(signatures) != 50 {
		t.Errorf("%d signatures of 50 requests", len(signatures))
	}
}

func TestStampsAreBounded(t *testing.T) {
	s := new(agentauth.Stamps)
	dates := make(map[[2]int64]bool)
	for i := range uint64(10_500) {
		created, expires := s.Next(i+1, t0)
		if i >= 10_000 {
			dates[[2]int64{created.Unix(), expires.Unix()}] = true
		}
	}
	if s.Len() > 10_001 || len(dates) != 500 {
		t.Errorf("%d kept, %d of 500 dates", s.Len(), len(dates))
	}
	if _, expires := s.Next(5, t0); expires.IsZero() {
		t.Error("one that was seen is not known any more")
	}
}
