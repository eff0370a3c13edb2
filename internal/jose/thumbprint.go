package jose

import (
	"crypto/sha256"
	"fmt"
)

// Thumbprint returns the SHA-256 thumbprint of a public key (RFC 7638) in base64url.
func (k Key) Thumbprint() (string, error) {
	w, err := wireKeyOf(k)
	if err != nil {
		return "", fmt.Errorf("jose: thumbprint: %w", err)
	}
	sum := sha256.Sum256(w.required())
	return encoding.EncodeToString(sum[:]), nil
}

// required is the text that RFC 7638 hashes, in which nothing is ever escaped.
// Servers need it with every request, and it takes encoding/json some time.
func (w wireKey) required() []byte {
	text := make([]byte, 0, 160)
	for _, m := range [...]struct{ name, value string }{
		{"crv", w.Curve}, {"e", w.Exponent}, {"kty", w.Type}, {"n", w.Modulus}, {"x", w.X}, {"y", w.Y},
	} {
		if m.value == "" {
			continue
		}
		text = append(text, `,"`...)
		text = append(text, m.name...)
		text = append(text, `":"`...)
		text = append(text, m.value...)
		text = append(text, '"')
	}
	text[0] = '{'
	return append(text, '}')
}
