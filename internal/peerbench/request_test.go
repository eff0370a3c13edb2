package peerbench

import (
	"crypto/ed25519"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

const authority = "resource.example"

// window is how far from now created may be, for all.
const window = time.Minute

// key is that of RFC 8032, section 7.1, test 1.
func key(tb testing.TB) ed25519.PrivateKey {
	seed, err := hex.DecodeString("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
	if err != nil {
		tb.Fatal(err)
	}
	return ed25519.NewKeyFromSeed(seed)
}

func public(tb testing.TB) ed25519.PublicKey {
	return key(tb).Public().(ed25519.PublicKey)
}

// A signing says how a request is signed, by the key above.
type signing struct {
	components []string
	tag        string        // "": none
	age        time.Duration // of the signature
}

// usual is the signature that agents make.
func usual() signing {
	return signing{components: []string{"@method", "@authority", "@path", "signature-key"}}
}

// request returns a signed request as it comes to a server by https.
func (s signing) request(tb testing.TB) *http.Request {
	tb.Helper()
	r := httptest.NewRequest("GET", "/api/data", nil)
	r.Host, r.TLS = authority, new(tls.ConnectionState)
	x := base64.RawURLEncoding.EncodeToString(public(tb))
	r.Header.Set("Signature-Key", `sig=hwk;alg="Ed25519";kty="OKP";crv="Ed25519";x="`+x+`"`)
	r.Header.Set("Signature-Input", "sig="+s.params())
	r.Header.Set("Signature", sfBytes(ed25519.Sign(key(tb), base(tb, r))))
	return r
}

// params is the value of @signature-params.
func (s signing) params() string {
	var b strings.Builder
	fmt.Fprintf(&b, `("%s")`, strings.Join(s.components, `" "`))
	if s.tag != "" {
		fmt.Fprintf(&b, ";tag=%q", s.tag)
	}
	fmt.Fprintf(&b, ";created=%d", time.Now().Add(-s.age).Unix())
	return b.String()
}

// base writes what is signed by hand, so that the peers are held against the
// RFC and not against one of them.
func base(tb testing.TB, r *http.Request) []byte {
	tb.Helper()
	params, _ := strings.CutPrefix(r.Header.Get("Signature-Input"), "sig=")
	list, _, _ := strings.Cut(strings.TrimPrefix(params, "("), ")")
	var b strings.Builder
	for name := range strings.FieldsSeq(list) {
		value, known := map[string]string{
			`"@method"`:       r.Method,
			`"@authority"`:    r.Host,
			`"@path"`:         r.URL.Path,
			`"@target-uri"`:   "https://" + r.Host + r.URL.Path,
			`"signature-key"`: r.Header.Get("Signature-Key"),
		}[name]
		if !known {
			tb.Fatalf("no value for %s", name)
		}
		fmt.Fprintf(&b, "%s: %s\n", name, value)
	}
	fmt.Fprintf(&b, `"@signature-params": %s`, params)
	return []byte(b.String())
}

func sfBytes(signature []byte) string {
	return "sig=:" + base64.StdEncoding.EncodeToString(signature) + ":"
}

// signature returns that of r.
func signature(tb testing.TB, r *http.Request) []byte {
	tb.Helper()
	text := strings.TrimSuffix(strings.TrimPrefix(r.Header.Get("Signature"), "sig=:"), ":")
	sig, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		tb.Fatal(err)
	}
	return sig
}

// tamperings change a request after it was signed.
var tamperings = []struct {
	name   string
	tamper func(testing.TB, *http.Request)
}{
	{"another method", func(_ testing.TB, r *http.Request) { r.Method = "DELETE" }},
	{"another authority", func(_ testing.TB, r *http.Request) { r.Host = "resource.example.org" }},
	{"another path", func(_ testing.TB, r *http.Request) { r.URL.Path, r.RequestURI = "/api/date", "/api/date" }},
	{"another Signature-Key", func(_ testing.TB, r *http.Request) {
		r.Header.Set("Signature-Key", r.Header.Get("Signature-Key")+";x-y")
	}},
	{"another time", func(_ testing.TB, r *http.Request) {
		created := time.Now().Add(-10 * time.Second).Unix()
		params, _, _ := strings.Cut(r.Header.Get("Signature-Input"), ";created=")
		r.Header.Set("Signature-Input", fmt.Sprintf("%s;created=%d", params, created))
	}},
	{"another signature", func(tb testing.TB, r *http.Request) {
		sig := signature(tb, r)
		sig[0] ^= 1
		r.Header.Set("Signature", sfBytes(sig))
	}},
	{"no signature", func(_ testing.TB, r *http.Request) { r.Header.Del("Signature") }},
}

// variant is a good signature that is not the one to be accepted.
type variant struct {
	name  string
	signs signing
}

func otherwise(good signing) []variant {
	stale := good
	stale.age = window + 5*time.Second
	early := good
	early.age = -window - 5*time.Second
	found := []variant{{"too old", stale}, {"from the future", early}}
	for i, name := range good.components {
		without := good
		without.components = slices.Delete(slices.Clone(good.components), i, i+1)
		found = append(found, variant{"without " + name, without})
	}
	return found
}
