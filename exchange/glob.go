package exchange

import (
	"errors"
	"fmt"
	"strings"
)

// A glob is a pattern that describes a whole text, segment by segment. "/" and
// ":" separate segments, and stand for themselves. Within a segment "*" stands
// for one or more characters that names are made of; everything else stands for
// itself. There is no other way to write one, so there is nothing to forget to
// anchor.

func isSeparator(c byte) bool { return c == '/' || c == ':' }

// isName is the alphabet of what "*" stands for. Neither a separator nor an
// escape of one (%3A) is in it.
func isName(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return strings.IndexByte("-._~@+=#,!$&()", c) >= 0
}

func checkGlob(pattern string) error {
	switch {
	case !strings.Contains(pattern, "*"):
		return fmt.Errorf("%q has no \"*\": write it under claims", pattern)
	case strings.Contains(pattern, "**"):
		return fmt.Errorf("%q: \"**\" does not exist: write one \"*\" for each segment", pattern)
	case strings.ContainsAny(pattern, "?[]{}|^\\"):
		return fmt.Errorf("%q: \"*\" is the only special character", pattern)
	case strings.Trim(pattern, "*/:") == "":
		return errors.New("a pattern needs a literal part")
	}
	return nil
}

// matchGlob costs at most the product of the lengths of one segment of each.
func matchGlob(pattern, text string) bool {
	for {
		p, t := segment(pattern), segment(text)
		if t == ".." || t == "." || !matchSegment(pattern[:len(p)], text[:len(t)]) {
			return false
		}
		pattern, text = pattern[len(p):], text[len(t):]
		if pattern == "" || text == "" {
			return pattern == text
		}
		if pattern[0] != text[0] {
			return false
		}
		pattern, text = pattern[1:], text[1:]
	}
}

// segment returns s up to its first separator.
func segment(s string) string {
	for i := range len(s) {
		if isSeparator(s[i]) {
			return s[:i]
		}
	}
	return s
}

// matchSegment goes on from the latest "*" whenever what follows does not fit.
func matchSegment(p, t string) bool {
	star, mark := -1, 0
	i, j := 0, 0
	for j < len(t) {
		switch {
		case i < len(p) && p[i] == '*':
			if !isName(t[j]) {
				return false
			}
			star, mark = i, j+1
			i, j = i+1, j+1
		case i < len(p) && p[i] == t[j]:
			i, j = i+1, j+1
		case star >= 0 && isName(t[mark]):
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	return i == len(p)
}
