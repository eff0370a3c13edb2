package httpsig

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"net/http"
)

// ErrDigest: the body is not the one that Content-Digest speaks of.
var ErrDigest = errors.New("httpsig: the body is not that of the digest")

// Digest returns the value of Content-Digest for a body (RFC 9530).
func Digest(body []byte) string { return DigestOfSum(sha256.Sum256(body)) }

// DigestOfSum is like [Digest], of a body that is not at hand.
func DigestOfSum(sum [sha256.Size]byte) string {
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// CheckDigest compares body with the digests in h. There must be one by SHA-256 or
// SHA-512, and those of both must be right; others are passed over. The error
// wraps [ErrMalformed] or [ErrDigest].
func CheckDigest(h http.Header, body []byte) error {
	digests, err := readField(h, fieldDigest, maxDigest)
	if err != nil {
		return err
	}
	known := false
	for i := range digests {
		var want []byte
		switch digests[i].name {
		case "sha-256":
			sum := sha256.Sum256(body)
			want = sum[:]
		case "sha-512":
			sum := sha512.Sum512(body)
			want = sum[:]
		default:
			continue
		}
		known = true
		if got, _ := digests[i].value.octets(); !bytes.Equal(got, want) {
			return ErrDigest
		}
	}
	if !known {
		return malformed(fieldDigest, "neither sha-256 nor sha-512")
	}
	return nil
}
