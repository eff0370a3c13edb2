package apptoken

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"sync"
	"time"

	"github.com/keywright/keywright"
)

// A uuid is a version 7 UUID (RFC 9562, section 5.7), whose text sorts by time.
type uuid [16]byte

// A sequence makes uuids that rise even within a millisecond, and when the
// clock goes back: their first 60 bits are the time and a counter that begins
// in the lower half of its room (section 6.2, method 1).
type sequence struct {
	mu   sync.Mutex
	last int64 // guarded by mu: milliseconds, and 12 bits of the counter
}

func (s *sequence) next(now time.Time) uuid {
	var id uuid
	rand.Read(id[:]) // never fails
	at := now.UnixMilli()<<12 | int64(id[6]&7)<<8 | int64(id[7])
	s.mu.Lock()
	if at>>12 <= s.last>>12 {
		at = s.last + 1
	}
	s.last = at
	s.mu.Unlock()
	binary.BigEndian.PutUint64(id[:8], uint64(at>>12)<<16|7<<12|uint64(at&0xfff))
	id[8] = id[8]&0x3f | 0x80
	return id
}

func (id uuid) String() string {
	h := hex.EncodeToString(id[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// valid reports whether id could be of a sequence.
func (id uuid) valid() bool { return id[6]>>4 == 7 && id[8]>>6 == 2 }

// parseUUID reads what String writes, and nothing else.
func parseUUID(text string) (id uuid, ok bool) {
	if len(text) != 36 {
		return uuid{}, false
	}
	_, err := hex.Decode(id[:], []byte(text[:8]+text[9:13]+text[14:18]+text[19:23]+text[24:]))
	return id, err == nil && id.valid() && id.String() == text
}

// cursorVersion stands before the uuid in a cursor.
const cursorVersion = 1

// cursor is what the next page is asked for with: the last uuid of this one.
func (id uuid) cursor() string {
	return base64.RawURLEncoding.EncodeToString(append([]byte{cursorVersion}, id[:]...))
}

func parseCursor(text string) (id uuid, err error) {
	data, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err == nil && len(data) == 1+len(id) {
		id = uuid(data[1:])
	}
	if !id.valid() || id.cursor() != text { // another version, or a line end, which the decoder passes over
		return uuid{}, keywright.Errorf(keywright.CodeInvalidRequest, "next_page: not one that this server has given")
	}
	return id, nil
}
