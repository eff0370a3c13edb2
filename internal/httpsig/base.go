package httpsig

import (
	"errors"
	"net/http"
	"net/textproto"
	"strings"

	"github.com/keywright/keywright/internal/jose"
)

// ErrSignature: the signature is not that of this request by this key.
var ErrSignature = errors.New("httpsig: the signature does not fit the request")

// Base returns what was signed (RFC 9421, section 2.5), of a request that has
// come to a server. authority is the value of @authority. [Message.CheckComponents]
// must have found nothing. The error wraps [ErrMalformed].
func (m *Message) Base(r *http.Request, authority string) ([]byte, error) {
	return base(r, authority, m.Components, m.raw)
}

func base(r *http.Request, authority string, components []string, params string) ([]byte, error) {
	b := make([]byte, 0, 512+len(params))
	for _, name := range components {
		b = append(b, '"')
		b = append(b, name...)
		b = append(b, `": `...)
		var err error
		if b, err = appendValue(b, r, authority, name); err != nil {
			return nil, err
		}
		b = append(b, '\n')
	}
	b = append(b, `"@signature-params": `...)
	return append(b, params...), nil
}

func appendValue(b []byte, r *http.Request, authority, name string) ([]byte, error) {
	switch name {
	case "@method":
		return append(b, r.Method...), nil
	case "@authority":
		return append(b, authority...), nil
	case "@path":
		path, _ := Target(r)
		return append(b, path...), nil
	case "@query":
		_, query := Target(r)
		return append(b, query...), nil
	}
	// Two lines and one with a comma look the same to a signer, not to all readers.
	lines := r.Header[textproto.CanonicalMIMEHeaderKey(name)]
	switch {
	case len(lines) == 0:
		return nil, malformed(name, "covered and absent")
	case len(lines) > 1:
		return nil, malformed(name, "covered and in several lines")
	}
	value := strings.Trim(lines[0], " \t")
	for i := range len(value) {
		if c := value[i]; c != '\t' && (c < ' ' || c > '~') {
			return nil, malformed(name, "covered and not ASCII")
		}
	}
	return append(b, value...), nil
}

// Target returns the path of a request as it was sent, and the query with its
// question mark, "?" alone where there is none (RFC 9421, sections 2.2.6 and
// 2.2.7). Nothing is decoded, and what a router took away from r.URL is there.
func Target(r *http.Request) (path, query string) {
	target := r.RequestURI
	if target == "" { // a request of a client
		target = r.URL.RequestURI()
	}
	path, query, _ = strings.Cut(target, "?")
	if i := strings.Index(path, "://"); i >= 0 && !strings.HasPrefix(path, "/") { // the absolute form, of proxies
		rest := path[i+3:]
		path = ""
		if slash := strings.IndexByte(rest, '/'); slash >= 0 {
			path = rest[slash:]
		}
	}
	if path == "" {
		path = "/"
	}
	return path, "?" + query
}

// Authority normalises the value of the field Host (RFC 9421, section 2.2.3):
// lower case, and no port where it is the usual one of https or http.
func Authority(host string, secure bool) string {
	port := ":80"
	if secure {
		port = ":443"
	}
	return strings.ToLower(strings.TrimSuffix(host, port))
}

// Verify checks the signature over base by key. The error wraps [ErrSignature],
// or [ErrMalformed] where the signature names the algorithm of another key.
func (m *Message) Verify(key jose.Key, base []byte) error {
	if err := m.checkAlgorithm(key); err != nil {
		return err
	}
	if !key.Verify(base, m.signature) {
		return ErrSignature
	}
	return nil
}
