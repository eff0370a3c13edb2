package httpsig

import (
	"fmt"
	"net/http"
	"strings"
)

func malformed(field, why string) error { return fmt.Errorf("%w: %s: %s", ErrMalformed, field, why) }

func componentsError(why string) error { return fmt.Errorf("%w: %s", ErrComponents, why) }

// readField reads a field of at most limit bytes.
func readField(h http.Header, name string, limit int) (dictionary, error) {
	text, ok := join(h[name], limit)
	switch {
	case !ok:
		return nil, malformed(name, fmt.Sprintf("longer than %d bytes", limit))
	case text == "":
		return nil, malformed(name, "missing")
	}
	d, err := readDictionary(text)
	if err != nil {
		return nil, malformed(name, err.Error())
	}
	return d, nil
}

// join puts the lines of a field together (RFC 9110, section 5.3). It reports
// whether they are not longer than limit.
func join(lines []string, limit int) (string, bool) {
	const separator = ", "
	total := -len(separator)
	for _, l := range lines {
		total += len(separator) + len(l)
	}
	if total > limit {
		return "", false
	}
	return strings.Join(lines, separator), true
}
