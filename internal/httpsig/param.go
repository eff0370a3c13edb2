package httpsig

import (
	"fmt"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/keywright/keywright/internal/jose"
)

// Has reports whether the key has a parameter of this name.
func (m *Message) Has(name string) bool {
	_, ok := m.params.Get(name)
	return ok
}

// Param returns a parameter of the key that is a string or, as some write them,
// a token. ok is false where there is none or it is of another type.
func (m *Message) Param(name string) (value string, ok bool) {
	v, _ := m.params.Get(name)
	switch v := v.(type) {
	case string:
		return v, true
	case httpsfv.Token:
		return string(v), true
	}
	return "", false
}

// Times are those of a signature, in whole seconds.
type Times struct {
	Created time.Time
	Expires time.Time // zero: there is none
}

// Times returns when the signature was made and until when it is good. Created
// must be there. The error wraps [ErrMalformed].
func (m *Message) Times() (Times, error) {
	created, ok, err := m.second("created")
	if err != nil {
		return Times{}, err
	}
	if !ok {
		return Times{}, malformed(fieldInput, "created is missing")
	}
	t := Times{Created: created}
	if t.Expires, _, err = m.second("expires"); err != nil {
		return Times{}, err
	}
	if !t.Expires.IsZero() && t.Expires.Before(t.Created) {
		return Times{}, malformed(fieldInput, "expires before created")
	}
	return t, nil
}

func (m *Message) second(name string) (time.Time, bool, error) {
	v, ok := m.times.Get(name)
	if !ok {
		return time.Time{}, false, nil
	}
	n, ok := v.(int64)
	if !ok || n < 0 {
		return time.Time{}, false, malformed(fieldInput, name+" is not a number of seconds")
	}
	return time.Unix(n, 0), true, nil
}

// algorithms are the names that RFC 9421, section 6.2.2, has for those of jose.
var algorithms = map[string]string{"EdDSA": "ed25519", "ES256": "ecdsa-p256-sha256"}

// checkAlgorithm wants the parameter alg, where there is one, to be that of the
// key (RFC 9421, section 3.2, step 6.5).
func (m *Message) checkAlgorithm(key jose.Key) error {
	v, ok := m.times.Get("alg")
	if !ok {
		return nil
	}
	if name, _ := v.(string); name == "" || name != algorithms[key.Algorithm()] {
		return fmt.Errorf("%w: alg is not that of the key", ErrMalformed)
	}
	return nil
}
