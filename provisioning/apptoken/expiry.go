package apptoken

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/keywright/keywright"
)

const (
	day     = 24 * time.Hour
	maxLife = 100 * 365 * day // keeps every expiry within what a store can hold
)

func (p *Policy) setDefaults() error {
	switch {
	case p.Default == 0 && p.Max == 0:
		p.Default, p.Max = 30*day, 365*day
	case p.Default == 0:
		p.Default = min(30*day, p.Max)
	case p.Max == 0:
		p.Max = max(365*day, p.Default)
	}
	switch {
	case p.Max < time.Second || p.Max > maxLife:
		return errors.New("apptoken: Config.Policy.Max: want 1 second to 100 years")
	case p.Default < time.Second || p.Default > p.Max:
		return errors.New("apptoken: Config.Policy.Default: want 1 second to Max")
	case p.MaxTokens < 0:
		return errors.New("apptoken: Config.Policy.MaxTokens is negative")
	}
	return nil
}

// A lifetime is how long a token is to live.
type lifetime struct {
	d     time.Duration // 0: the default
	never bool          // it does not end
}

// decide returns how long a token will live; 0: it does not end. most, unless
// it is 0, is the most that this caller may have.
func (p Policy) decide(asked lifetime, most time.Duration) (time.Duration, error) {
	longest := p.Max
	if most > 0 {
		longest = min(longest, most)
	}
	switch {
	case asked.never && asked.d != 0:
		return 0, invalidExpiration("either a time or never")
	case asked.never && (!p.AllowNever || most > 0):
		return 0, invalidExpiration("a token must have an end here")
	case asked.never:
		return 0, nil
	case asked.d == 0:
		return min(p.Default, longest), nil
	case asked.d < time.Second:
		return 0, invalidExpiration("must be a positive number of seconds")
	case asked.d > longest && !p.Clamp:
		return 0, invalidExpiration("at most %d seconds", longest/time.Second)
	}
	return min(asked.d, longest).Truncate(time.Second), nil
}

func invalidExpiration(format string, args ...any) error {
	return keywright.Errorf(keywright.CodeInvalidRequest, "'expiration': %s", fmt.Sprintf(format, args...))
}

var errExpiration = invalidExpiration(`want a number of seconds above 0, or a whole number and one of s, m, h, d, w and y, such as "30d"`)

// parseExpiration reads the text of a JSON value: null and "never", a string
// such as "30d", or a number of seconds, whose fraction is dropped. A string of
// digits alone is refused: days for one reader are seconds for another.
func parseExpiration(raw []byte) (lifetime, error) {
	text := string(raw)
	switch {
	case text == "":
		return lifetime{}, nil
	case text == "null" || text == `"never"`:
		return lifetime{never: true}, nil
	case text[0] == '"':
		d, err := parseUnits(text[1 : len(text)-1])
		return lifetime{d: d}, err
	}
	seconds, _ := strconv.ParseFloat(text, 64) // 0 for what is no number, infinite for what is too large
	switch {
	case seconds < 1:
		return lifetime{}, errExpiration
	case seconds > float64(maxLife/time.Second):
		return lifetime{}, errTooLong
	}
	return lifetime{d: time.Duration(seconds) * time.Second}, nil
}

// errTooLong is for times that not even Policy.Clamp makes sense of.
var errTooLong = invalidExpiration("more than 100 years")

// parseUnits reads ^[1-9][0-9]*[smhdwy]$.
func parseUnits(text string) (time.Duration, error) {
	units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': day, 'w': 7 * day, 'y': 365 * day}
	if len(text) < 2 {
		return 0, errExpiration
	}
	digits, unit := text[:len(text)-1], units[text[len(text)-1]]
	notDigit := func(r rune) bool { return r < '0' || r > '9' }
	if unit == 0 || digits[0] == '0' || strings.ContainsFunc(digits, notDigit) {
		return 0, errExpiration
	}
	n, _ := strconv.ParseInt(digits, 10, 64) // the largest there is for what is larger
	if n > int64(maxLife/unit) {
		return 0, errTooLong
	}
	return time.Duration(n) * unit, nil
}
