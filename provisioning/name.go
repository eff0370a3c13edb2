package provisioning

import (
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/keywright/keywright"
)

// What names may be made of. Runners put their id into paths as it stands.
const (
	maxName        = 64
	maxText        = 255  // of a field that somebody made up
	maxDescription = 1024 // bytes
)

func invalid(format string, args ...any) error {
	return keywright.Errorf(keywright.CodeInvalidRequest, format, args...)
}

func missing(field string) error { return invalid("Missing required field: %s", field) }

func alphanumeric(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

func checkKeyID(id string) error {
	switch {
	case id == "":
		return missing("key_id")
	case len(id) > maxName, strings.ContainsFunc(id, func(r rune) bool { return !alphanumeric(r) && r != '-' && r != '_' }):
		// The text is ChallengeCtl's, which knows no maximum.
		return invalid("key_id must contain only alphanumeric characters, hyphens, and underscores")
	}
	return nil
}

// reserved would read as another endpoint of the same path.
var reserved = []string{"register"}

func checkRunnerName(field, name string) error {
	switch {
	case name == "":
		return missing(field)
	case len(name) > maxName, !alphanumeric(rune(name[0])), strings.ContainsFunc(name, func(r rune) bool { return !alphanumeric(r) && !strings.ContainsRune("._-", r) }):
		return invalid("%s: want 1 to %d letters, digits, dots, hyphens and underscores, the first a letter or digit", field, maxName)
	case slices.Contains(reserved, name):
		return invalid("%s: %q is reserved", field, name)
	}
	return nil
}

// printable reports whether s shows as what it is: no control character and
// nothing that is invisible or turns the direction of writing.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

func checkText(field, s string, most int) error {
	switch {
	case len(s) > most:
		return invalid("%s: longer than %d bytes", field, most)
	case !printable(s):
		return invalid("%s: has characters that cannot be printed", field)
	}
	return nil
}

// checkWords checks scopes and tags, which travel as lists with spaces between.
func checkWords(field string, words []string) error {
	if len(words) > maxName {
		return invalid("%s: more than %d", field, maxName)
	}
	for i, w := range words {
		switch {
		case w == "" || len(w) > maxText || strings.ContainsFunc(w, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }):
			return invalid("%s: want words of up to %d printable ASCII characters without space, quotation mark and backslash", field, maxText)
		case slices.Contains(words[:i], w):
			return invalid("%s: %q twice", field, w)
		}
	}
	return nil
}

// checkPattern checks what names a key may give: "*" stands for any run of
// characters, everything else for itself.
func checkPattern(field, pattern string) error {
	if len(pattern) > maxText || strings.ContainsFunc(pattern, func(r rune) bool { return !alphanumeric(r) && !strings.ContainsRune("._-*", r) }) {
		return invalid("%s: want letters, digits, dots, hyphens, underscores and *", field)
	}
	return nil
}

// matches is path.Match for a pattern that has no other operator than "*", and
// names without "/".
func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return pattern == "" || ok && err == nil
}
