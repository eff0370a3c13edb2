package exchange

import (
	"encoding/json"

	"github.com/keywright/keywright/internal/strictjson"
)

// A kind is the JSON type that a claim must have.
type kind int

const (
	text kind = iota
	number
	boolean
	list // of strings: one of them must be the value wanted
)

func (k kind) String() string {
	return [...]string{"a string", "a number", "true or false", "a list of strings"}[k]
}

// A claimSet is a token's claims as one provider's publishers see them.
type claimSet struct {
	strictjson.Members
	preset *preset
}

// string returns a claim that is a string and not empty: an absent or empty
// claim equals nothing.
func (c claimSet) string(name string) (string, bool) {
	s, err := c.Members.String(name)
	return s, err == nil && s != ""
}

// values returns what a condition is compared with; none where the claim is
// absent or of another type than the provider gives it.
func (c claimSet) values(name string) []string {
	if derive := c.preset.derived[name]; derive != nil {
		if v, ok := derive(c); ok {
			return []string{v}
		}
		return nil
	}
	switch c.preset.kinds[name] {
	case list:
		values, _ := c.Members.List(name)
		return values
	case boolean, number:
		raw, _ := c.Members.Raw(name)
		if !isKind(raw, c.preset.kinds[name]) {
			return nil
		}
		return []string{string(raw)}
	}
	if v, ok := c.string(name); ok {
		return []string{v}
	}
	return nil
}

// agree reports whether two claims are the same string, or both absent.
func (c claimSet) agree(a, b string) bool {
	if !c.Has(a) && !c.Has(b) {
		return true
	}
	va, okA := c.string(a)
	vb, okB := c.string(b)
	return okA && okB && va == vb
}

func isKind(raw json.RawMessage, k kind) bool {
	switch {
	case len(raw) == 0:
		return false
	case k == boolean:
		return string(raw) == "true" || string(raw) == "false"
	}
	return raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9'
}

// got describes a claim for people who look for the difference.
func (c claimSet) got(name string) string {
	if c.preset.derived[name] != nil {
		if v := c.values(name); len(v) > 0 {
			return v[0]
		}
		return absent
	}
	raw, ok := c.Members.Raw(name)
	switch v, isString := c.string(name); {
	case !ok:
		return absent
	case isString:
		return clip(v)
	default:
		return clip(string(raw)) // "" too is told from absence
	}
}

const absent = "(absent)"
