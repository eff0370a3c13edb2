package egress

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	minFresh = fetchFloor
	maxFresh = usableFor

	maxSeconds = 1 << 31 // as RFC 9111, section 1.2.2, has it of delta-seconds
)

// A Document is a text and how long its server lets it be used.
type Document struct {
	Text []byte

	// FreshFor is for how long nobody need ask again. 0: the server does not say.
	FreshFor time.Duration
}

// freshness is what a cache may still make of an answer (RFC 9111, section 4.2):
// from a minute, for those who allow less or none, to 24 hours. 0: the server
// does not say.
func freshness(h http.Header) time.Duration {
	lifetime, ok := lifetime(h)
	if !ok {
		return 0
	}
	return min(max(lifetime-seconds(h.Get("Age")), minFresh), maxFresh)
}

// lifetime prefers Cache-Control to Expires, and what is stricter to what
// contradicts it. s-maxage is for caches that several share.
func lifetime(h http.Header) (d time.Duration, ok bool) {
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return 0, true
		case "max-age":
			if age := seconds(value); !ok || age < d {
				d, ok = age, true
			}
		}
	}
	if ok || h.Get("Expires") == "" {
		return d, ok
	}
	return untilExpires(h)
}

// untilExpires measures by the server's clock. A date that is none, as "0", has
// passed.
func untilExpires(h http.Header) (time.Duration, bool) {
	expires, err := http.ParseTime(h.Get("Expires"))
	if err != nil {
		return 0, true
	}
	date, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		return 0, false
	}
	return expires.Sub(date), true
}

// seconds reads digits, or digits in quotes. Anything else is none.
func seconds(text string) time.Duration {
	if n := len(text); n > 2 && text[0] == '"' && text[n-1] == '"' {
		text = text[1 : n-1]
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0
	}
	return time.Duration(min(n, maxSeconds)) * time.Second
}
