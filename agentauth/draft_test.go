package agentauth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"slices"
	"strings"
	"testing"
)

// A draft is a request that is signed by hand, so that anything can be wrong
// with it. The zero values of its fields make a good one.
type draft struct {
	method, target string // GET /data
	host           string // ap.example
	body           string // with Content-Type and Content-Digest, unless they are in header

	key        crypto.Signer // required
	member     string        // of Signature-Key, without its label; that of scheme hwk
	label      string        // sig
	components []string      // identifiers; the usual ones
	params     string        // of the signature; created is t0
	header     http.Header   // further fields

	tamper func(*http.Request) // after signing
}

var (
	base4 = []string{`"@method"`, `"@authority"`, `"@path"`, `"signature-key"`}
	base6 = append(slices.Clone(base4), `"content-type"`, `"content-digest"`)
)

// request signs d with nothing but the standard library.
func (d draft) request(tb testing.TB) *http.Request {
	tb.Helper()
	for _, f := range []struct {
		to    *string
		usual string
	}{{&d.method, "GET"}, {&d.target, "/data"}, {&d.host, "ap.example"}, {&d.label, "sig"}, {&d.params, fmt.Sprintf(";created=%d", t0.Unix())}} {
		if *f.to == "" {
			*f.to = f.usual
		}
	}
	if d.member == "" {
		d.member = hwk(tb, d.key)
	}
	r := httptest.NewRequest(d.method, "https://"+d.host+d.target, nil)
	if d.body != "" {
		r = httptest.NewRequest(d.method, "https://"+d.host+d.target, strings.NewReader(d.body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Content-Digest", digestOf(d.body))
	}
	r.RequestURI, r.Host = d.target, d.host
	for name, values := range d.header {
		r.Header[name] = values
	}
	if d.components == nil {
		d.components = base4
		if d.body != "" {
			d.components = base6
		}
	}
	r.Header.Set("Signature-Key", d.label+"="+d.member)
	input := "(" + strings.Join(d.components, " ") + ")" + d.params
	r.Header.Set("Signature-Input", d.label+"="+input)
	signature := signBytes(tb, d.key, []byte(d.base(r)+`"@signature-params": `+input))
	r.Header.Set("Signature", d.label+"=:"+base64.StdEncoding.EncodeToString(signature)+":")
	if d.tamper != nil {
		d.tamper(r)
	}
	return r
}

// base is what is signed, without the last line (RFC 9421, section 2.5).
func (d draft) base(r *http.Request) string {
	var b strings.Builder
	path, query, _ := strings.Cut(d.target, "?")
	for _, id := range d.components {
		name, _, _ := strings.Cut(strings.TrimPrefix(id, `"`), `"`)
		value, derived := map[string]string{
			"@method": d.method, "@authority": strings.ToLower(strings.TrimSuffix(d.host, ":443")), "@path": path, "@query": "?" + query,
			"@request-target": d.target,
		}[name]
		if !derived {
			value = strings.Join(r.Header[textproto.CanonicalMIMEHeaderKey(name)], ", ")
		}
		fmt.Fprintf(&b, "%s: %s\n", id, value)
	}
	return b.String()
}

func digestOf(body string) string {
	sum := sha256.Sum256([]byte(body))
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// signBytes signs as JOSE and RFC 9421 both have it.
func signBytes(tb testing.TB, key crypto.Signer, text []byte) []byte {
	tb.Helper()
	switch key := key.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(key, text)
	case *ecdsa.PrivateKey:
		sum := sha256.Sum256(text)
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		must(tb, err)
		return slices.Concat(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32)))
	}
	tb.Fatalf("no signature by %T", key)
	return nil
}

// twin is the other signature of P-256 that is as good as the one given.
func twin(signature []byte) []byte {
	s := new(big.Int).SetBytes(signature[32:])
	s.Sub(elliptic.P256().Params().N, s)
	return slices.Concat(signature[:32], s.FillBytes(make([]byte, 32)))
}

var b64 = base64.RawURLEncoding

// jwk is the public key of key, with its alg.
func jwk(tb testing.TB, key crypto.Signer) map[string]any {
	tb.Helper()
	switch pub := key.Public().(type) {
	case ed25519.PublicKey:
		return map[string]any{"kty": "OKP", "crv": "Ed25519", "x": b64.EncodeToString(pub), "alg": "Ed25519"}
	case *ecdsa.PublicKey:
		point, err := pub.Bytes()
		must(tb, err)
		return map[string]any{"kty": "EC", "crv": "P-256", "x": b64.EncodeToString(point[1:33]), "y": b64.EncodeToString(point[33:]), "alg": "ES256"}
	}
	tb.Fatal("no such key")
	return nil
}

// jktOf is the thumbprint of key (RFC 7638).
func jktOf(tb testing.TB, key crypto.Signer) string {
	tb.Helper()
	members := jwk(tb, key)
	delete(members, "alg")
	text, err := json.Marshal(members) // in the order of names
	must(tb, err)
	sum := sha256.Sum256(text)
	return b64.EncodeToString(sum[:])
}

// hwk is the member of Signature-Key for key.
func hwk(tb testing.TB, key crypto.Signer) string {
	tb.Helper()
	k := jwk(tb, key)
	text := fmt.Sprintf(`hwk;alg=%q;kty=%q;crv=%q;x=%q`, k["alg"], k["kty"], k["crv"], k["x"])
	if y, ok := k["y"]; ok {
		text += fmt.Sprintf(";y=%q", y)
	}
	return text
}

// seedKey is the same key whenever it is asked for.
func seedKey(seed string) ed25519.PrivateKey {
	sum := sha256.Sum256([]byte(seed))
	return ed25519.NewKeyFromSeed(sum[:])
}

func unhex(tb testing.TB, text string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(text)
	must(tb, err)
	return b
}
