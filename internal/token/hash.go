package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"

	"golang.org/x/crypto/bcrypt"
)

// A Method says how keys are hashed at rest. The names are stored.
type Method string

// The methods. A key holds 160 random bits, so one fast hash is enough; bcrypt
// is for hosts whose rules demand a slow one.
const (
	SHA256 Method = "sha256"
	HMAC   Method = "hmac-sha256" // with a pepper
	Bcrypt Method = "bcrypt"      // of the SHA-256, since bcrypt reads only 72 bytes and stops being exact at NUL
)

// A Hash is what is stored of a key.
type Hash struct {
	Method Method `json:"m"`
	Pepper string `json:"p,omitempty"` // names the pepper of an HMAC
	Sum    []byte `json:"s"`
}

// A Hasher hashes new keys one way and still reads the other ways. It is safe
// for concurrent use.
type Hasher struct {
	method  Method
	pepper  string            // the id of the pepper for new keys
	peppers map[string][]byte // by id
	cost    int               // of bcrypt
}

// A HasherConfig chooses how keys are hashed. The zero value means SHA-256.
type HasherConfig struct {
	Peppers    map[string][]byte // at least 32 bytes each, by id
	Pepper     string            // id of the one for new keys; empty: none
	BcryptCost int               // above zero: bcrypt instead
}

// NewHasher checks c.
func NewHasher(c HasherConfig) (*Hasher, error) {
	h := &Hasher{method: SHA256, peppers: make(map[string][]byte, len(c.Peppers))}
	for id, p := range c.Peppers {
		if id == "" || len(p) < sha256.Size {
			return nil, fmt.Errorf("pepper %q: want a name and at least %d bytes", id, sha256.Size)
		}
		h.peppers[id] = append([]byte(nil), p...)
	}
	switch {
	case c.Pepper != "" && c.BcryptCost != 0:
		return nil, errors.New("a pepper and bcrypt exclude each other")
	case c.Pepper != "":
		if h.peppers[c.Pepper] == nil {
			return nil, fmt.Errorf("no pepper named %q", c.Pepper)
		}
		h.method, h.pepper = HMAC, c.Pepper
	case c.BcryptCost != 0:
		if c.BcryptCost < bcrypt.MinCost || c.BcryptCost > bcrypt.MaxCost {
			return nil, fmt.Errorf("bcrypt cost %d: want %d to %d", c.BcryptCost, bcrypt.MinCost, bcrypt.MaxCost)
		}
		h.method, h.cost = Bcrypt, c.BcryptCost
	}
	return h, nil
}

// Hash hashes a key's text in the configured way.
func (h *Hasher) Hash(text string) (Hash, error) {
	switch h.method {
	case HMAC:
		return Hash{Method: HMAC, Pepper: h.pepper, Sum: h.mac(h.pepper, text)}, nil
	case Bcrypt:
		sum, err := bcrypt.GenerateFromPassword(prehash(text), h.cost)
		return Hash{Method: Bcrypt, Sum: sum}, err
	}
	sum := sha256.Sum256([]byte(text))
	return Hash{Method: SHA256, Sum: sum[:]}, nil
}

// Match reports whether want is the hash of text, in constant time for the
// fast methods. A hash by a pepper that is not configured any more matches nothing.
func (h *Hasher) Match(want Hash, text string) bool {
	switch want.Method {
	case SHA256:
		sum := sha256.Sum256([]byte(text))
		return subtle.ConstantTimeCompare(sum[:], want.Sum) == 1
	case HMAC:
		return h.peppers[want.Pepper] != nil && hmac.Equal(h.mac(want.Pepper, text), want.Sum)
	case Bcrypt:
		return bcrypt.CompareHashAndPassword(want.Sum, prehash(text)) == nil
	}
	return false
}

// Current reports whether a new key would be hashed the way got was.
func (h *Hasher) Current(got Hash) bool {
	if got.Method != h.method || got.Pepper != h.pepper {
		return false
	}
	if h.method != Bcrypt {
		return true
	}
	cost, err := bcrypt.Cost(got.Sum)
	return err == nil && cost == h.cost
}

func (h *Hasher) mac(pepper, text string) []byte {
	m := hmac.New(sha256.New, h.peppers[pepper])
	m.Write([]byte(text))
	return m.Sum(nil)
}

func prehash(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return base64.RawStdEncoding.AppendEncode(nil, sum[:])
}
