package httpsig

import (
	"time"

	"github.com/keywright/keywright/internal/jose"
)

// Has reports whether the key has a parameter of this name.
func (m *Message) Has(name string) bool {
	_, ok := m.key.get(name)
	return ok
}

// Param returns a parameter of the key that is a string or, as some write them,
// a token. ok is false where there is none or it is of another type.
func (m *Message) Param(name string) (value string, ok bool) {
	v, _ := m.key.get(name)
	return v.word()
}

// StringParam is like Param, for strings alone.
func (m *Message) StringParam(name string) (value string, ok bool) {
	v, _ := m.key.get(name)
	return v.str()
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
	v, ok := m.params.get(name)
	if !ok {
		return time.Time{}, false, nil
	}
	n, ok := v.integer()
	if !ok || n < 0 {
		return time.Time{}, false, malformed(fieldInput, name+" is not a number of seconds")
	}
	return time.Unix(n, 0), true, nil
}

// algorithmOf names the algorithm of a key (RFC 9421, section 6.2.2), and returns
// "" for those that are not in use here.
func algorithmOf(key jose.Key) string {
	switch key.Algorithm() {
	case "EdDSA":
		return "ed25519"
	case "ES256":
		return "ecdsa-p256-sha256"
	}
	return ""
}

// checkAlgorithm wants the parameter alg, where there is one, to be that of the
// key (RFC 9421, section 3.2, step 6.5).
func (m *Message) checkAlgorithm(key jose.Key) error {
	v, ok := m.params.get("alg")
	if !ok {
		return nil
	}
	if name, _ := v.str(); name != algorithmOf(key) {
		return malformed(fieldInput, "alg is not that of the key")
	}
	return nil
}
