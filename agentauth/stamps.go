package agentauth

import (
	"crypto/sha256"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/httpsig"
)

// Stamps tell equal requests of one second apart, which would have one signature:
// all but the first get an end, each another.
type stamps struct {
	mu     sync.Mutex
	second int64                     // guarded by mu
	seen   map[[sha256.Size]byte]int // guarded by mu; in that second
}

const (
	stampLife = time.Minute // of a signature with an end
	maxStamps = 10_000      // of one second
)

// next returns when a signature is made, and its end; zero: none.
func (s *stamps) next(request [sha256.Size]byte, now time.Time) (created, expires time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.second != now.Unix() || s.seen == nil {
		s.second, s.seen = now.Unix(), make(map[[sha256.Size]byte]int)
	}
	if len(s.seen) >= maxStamps { // which are told apart as if they were all equal
		request = [sha256.Size]byte{}
	}
	n := s.seen[request]
	s.seen[request] = n + 1
	if n == 0 {
		return now, time.Time{}
	}
	return now, now.Add(stampLife + time.Duration(n)*time.Second)
}

// stampOf is equal for requests that would have one signature.
func stampOf(r *http.Request, k signingKey) (sum [sha256.Size]byte) {
	h := sha256.New()
	path, query := httpsig.Target(r)
	for _, part := range []string{r.Method, r.URL.Scheme, r.URL.Host, r.Host, path, query, r.Header.Get("Content-Digest"), r.Header.Get("Authorization"), k.member} {
		io.WriteString(h, part)
		h.Write([]byte{0})
	}
	h.Sum(sum[:0])
	return sum
}
