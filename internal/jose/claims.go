package jose

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/strictjson"
)

// maxTime bounds every time in a token: more seconds than this are not exact
// for readers that keep numbers as float64.
const maxTime = 1 << 53

// Claims are the claims of a token whose signature was verified.
type Claims struct {
	strictjson.Members
	json []byte
}

// JSON returns the claims as they were signed. The caller must not modify it.
func (c Claims) JSON() json.RawMessage { return c.json }

// Times are the times of a token that was valid when they were checked.
type Times struct {
	IssuedAt  time.Time
	NotBefore time.Time // zero: the token has none
	Expires   time.Time
}

// Times checks the registered time claims. iat and exp are required, and a
// lifetime from iat to exp above zero and up to maxLifetime. skew is how far
// the issuer's clock may be from ours: the token is good from iat (and nbf) -
// skew on, and before exp + skew. It wraps [ErrExpired] where that is all that
// is wrong.
func (c Claims) Times(now time.Time, skew, maxLifetime time.Duration) (Times, error) {
	t, err := c.times(now, skew, maxLifetime)
	if err != nil {
		return Times{}, fmt.Errorf("jose: claims: %w", err)
	}
	return t, nil
}

func (c Claims) times(now time.Time, skew, maxLifetime time.Duration) (Times, error) {
	iat, err := c.seconds("iat")
	if err != nil {
		return Times{}, err
	}
	exp, err := c.seconds("exp")
	if err != nil {
		return Times{}, err
	}
	t := Times{IssuedAt: time.Unix(iat, 0), Expires: time.Unix(exp, 0)}
	if c.Has("nbf") {
		nbf, err := c.seconds("nbf")
		if err != nil {
			return Times{}, err
		}
		t.NotBefore = time.Unix(nbf, 0)
	}
	latest := now.Add(skew)
	switch lifetime := exp - iat; {
	case lifetime <= 0:
		return Times{}, errors.New("exp is not after iat")
	case lifetime > int64(maxLifetime/time.Second):
		return Times{}, fmt.Errorf("lifetime of %v, at most %v", duration(lifetime), maxLifetime)
	case t.IssuedAt.After(latest):
		return Times{}, errors.New("issued in the future")
	case t.NotBefore.After(latest):
		return Times{}, errors.New("not valid yet")
	case !now.Before(t.Expires.Add(skew)):
		return Times{}, ErrExpired
	}
	return t, nil
}

// Date returns a time claim (RFC 7519, NumericDate) from 0 to 2^53 in whole
// seconds. A fraction of a second is dropped; an exponent is refused.
func (c Claims) Date(name string) (time.Time, error) {
	raw, _ := c.Raw(name)
	whole, fraction, fractional := strings.Cut(string(raw), ".")
	if !fractional {
		n, err := c.seconds(name)
		if err != nil {
			return time.Time{}, fmt.Errorf("jose: claims: %w", err)
		}
		return time.Unix(n, 0), nil
	}
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || whole[0] == '-' || n > maxTime || strings.Trim(fraction, "0123456789") != "" {
		return time.Time{}, fmt.Errorf("jose: claims: member %q: want seconds from 0 to 2^53", name)
	}
	return time.Unix(n, 0), nil
}

func (c Claims) seconds(name string) (int64, error) {
	n, err := c.Int(name)
	if err == nil && (n < 0 || n > maxTime) {
		err = fmt.Errorf("member %q: want 0 to 2^53", name)
	}
	return n, err
}

// duration stops at 292 years, where time.Duration does.
func duration(seconds int64) time.Duration {
	return time.Duration(min(seconds, math.MaxInt64/int64(time.Second))) * time.Second
}

// Audience returns the one audience of the token. A list of several is
// refused: a token that is good elsewhere too was not made for us.
func (c Claims) Audience() (string, error) {
	list, err := c.Strings("aud")
	switch {
	case err != nil:
		return "", fmt.Errorf("jose: claims: %w", err)
	case len(list) != 1 || list[0] == "":
		return "", fmt.Errorf("jose: claims: %d audiences, want one that is not empty", len(list))
	}
	return list[0], nil
}
