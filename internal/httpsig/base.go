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
// come to a server or will be sent by a client. authority is the value of
// @authority. The error wraps [ErrMalformed], or [ErrComponents] where
// [Message.CheckComponents] has one.
func (m *Message) Base(r *http.Request, authority string) ([]byte, error) {
	if err := m.CheckComponents(); err != nil {
		return nil, err
	}
	var values [MaxComponents]string
	size := len(paramsLine) + len(m.raw)
	for i, name := range m.Components {
		v, err := component(r, authority, name)
		if err != nil {
			return nil, err
		}
		values[i] = v
		size += len(`"": `) + len(name) + len(v) + len("\n")
	}
	b := make([]byte, 0, size)
	for i, name := range m.Components {
		b = appendComponent(b, name, values[i])
	}
	b = append(b, paramsLine...)
	return append(b, m.raw...), nil
}

const paramsLine = `"@signature-params": `

func appendComponent(b []byte, name, value string) []byte {
	b = append(b, '"')
	b = append(b, name...)
	b = append(b, `": `...)
	b = append(b, value...)
	return append(b, '\n')
}

// component returns the value of a component. What is not ASCII is refused: two
// readers might not see the same in it, and a line break would make it two.
func component(r *http.Request, authority, name string) (string, error) {
	v, err := componentText(r, authority, name)
	if err != nil {
		return "", err
	}
	for i := range len(v) {
		if c := v[i]; c != '\t' && (c < ' ' || c > '~') {
			return "", malformed(name, "covered and not ASCII")
		}
	}
	return v, nil
}

func componentText(r *http.Request, authority, name string) (string, error) {
	switch name {
	case "@method":
		if r.Method == "" { // what http.Client takes for GET
			return http.MethodGet, nil
		}
		return r.Method, nil
	case "@authority":
		return authority, nil
	case "@path":
		path, _ := Target(r)
		return path, nil
	case "@query":
		_, query := Target(r)
		return query, nil
	}
	// Two lines and one with a comma look the same to a signer, not to all readers.
	lines := r.Header[textproto.CanonicalMIMEHeaderKey(name)]
	switch {
	case len(lines) == 0:
		return "", malformed(name, "covered and absent")
	case len(lines) > 1:
		return "", malformed(name, "covered and in several lines")
	}
	return strings.Trim(lines[0], " \t"), nil
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
// lower case, and no port where it is the usual one of https or http. A host that
// is not ASCII is left as it is: folding can make it the name of another.
func Authority(host string, secure bool) string {
	port := ":80"
	if secure {
		port = ":443"
	}
	for i := range len(host) {
		if host[i] > '~' {
			return host
		}
	}
	return strings.ToLower(strings.TrimSuffix(host, port))
}

// Verify checks the signature over base by an Ed25519 or a P-256 key; others have
// signed nothing. The error wraps [ErrSignature], or [ErrMalformed] where the
// signature names the algorithm of another key.
func (m *Message) Verify(key jose.Key, base []byte) error {
	if algorithmOf(key) == "" {
		return ErrSignature
	}
	if err := m.checkAlgorithm(key); err != nil {
		return err
	}
	if !key.Verify(base, m.signature) {
		return ErrSignature
	}
	return nil
}
