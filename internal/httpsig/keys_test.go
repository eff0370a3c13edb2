package httpsig_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/httpsig"
	"github.com/keywright/keywright/internal/jose"
)

func TestH11AuthorityIsNormalised(t *testing.T) {
	for _, c := range []struct {
		host   string
		secure bool
		want   string
	}{
		{"a.example", true, "a.example"},
		{"A.EXAMPLE", true, "a.example"},
		{"a.example:443", true, "a.example"},
		{"a.example:80", true, "a.example:80"},
		{"a.example:443", false, "a.example:443"},
		{"a.example:80", false, "a.example"},
		{"a.example:8443", true, "a.example:8443"},
		{"a.example:1443", true, "a.example:1443"},
		{"[::1]:443", true, "[::1]"},
		{"[2001:DB8::443]", true, "[2001:db8::443]"},
		{"", true, ""},
		{"\u212a.example", true, "\u212a.example"}, // KELVIN SIGN, whose lower case is k
	} {
		if got := httpsig.Authority(c.host, c.secure); got != c.want {
			t.Errorf("%s, secure %v: %s", c.host, c.secure, got)
		}
	}
	m := plain().signAs(plainInput, plainBase)
	for host, want := range map[string]error{
		"RESOURCE.EXAMPLE": nil, "resource.example:443": nil, "resource.example:80": httpsig.ErrSignature, "other.example": httpsig.ErrSignature,
		"re\u017fource.example": httpsig.ErrMalformed, // LATIN SMALL LETTER LONG S
	} {
		m.host = host
		expect(t, host, m, want)
	}
}

// TestH18KeysThatAreNone: no key of a wrong size can be made, and the zero Key
// verifies nothing.
func TestH18KeysThatAreNone(t *testing.T) {
	m := plain().signAs(plainInput, plainBase)
	for _, size := range []int{0, 5, 31, 33, 64} {
		x := base64.RawURLEncoding.EncodeToString(make([]byte, size))
		if _, err := (jose.PublicJWK{Type: "OKP", Curve: "Ed25519", X: x}).Read(); err == nil {
			t.Errorf("a key of %d bytes", size)
		}
	}
	signed := must[*httpsig.Message](t)(httpsig.Parse(m.header))
	if err := signed.Verify(jose.Key{}, nil); !errors.Is(err, httpsig.ErrSignature) {
		t.Errorf("no key: %v", err)
	}
	for _, size := range []int{0, 1, 63, 65, 4096} {
		m.header.Set("Signature", "sig=:"+base64.StdEncoding.EncodeToString(make([]byte, size))+":")
		expect(t, "a signature of another size", m, httpsig.ErrSignature)
	}
}

// TestH19SmallOrder has the signature that is one of every message, under the key
// that makes it so.
func TestH19SmallOrder(t *testing.T) {
	identity := make([]byte, 32)
	identity[0] = 1
	if _, err := (jose.PublicJWK{Type: "OKP", Curve: "Ed25519", X: base64.RawURLEncoding.EncodeToString(identity)}).Read(); err == nil {
		t.Error("a key of small order")
	}
}

// TestH20TwinSignature: r and n-s sign too, so whoever remembers requests must
// remember the base.
func TestH20TwinSignature(t *testing.T) {
	key := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	m := plain()
	if err := sign(m.request(), toSign{Authority: m.host, Key: "hwk", Components: baseFour, Created: created}, key); err != nil {
		t.Fatal(err)
	}
	public := must[jose.Key](t)(jose.PublicKey(key.Public()))
	if err := m.verify(public, baseFour...); err != nil {
		t.Fatal(err)
	}
	twin := m.clone()
	signature := member(t, m.header.Get("Signature"), "sig")
	s := new(big.Int).SetBytes(signature[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(signature[32:])
	twin.header.Set("Signature", "sig=:"+base64.StdEncoding.EncodeToString(signature)+":")
	if err := twin.verify(public, baseFour...); err != nil {
		t.Fatal(err)
	}
	if string(must[[]byte](t)(m.base())) != string(must[[]byte](t)(twin.base())) {
		t.Error("the twin has a base of its own")
	}
	for _, none := range [][]byte{make([]byte, 64), append(make([]byte, 32), signature[32:]...), append(signature[:32:32], make([]byte, 32)...)} {
		twin.header.Set("Signature", "sig=:"+base64.StdEncoding.EncodeToString(none)+":")
		if err := twin.verify(public); !errors.Is(err, httpsig.ErrSignature) {
			t.Errorf("zeros: %v", err)
		}
	}
}

func TestH21NoRSAAndNoSecrets(t *testing.T) {
	for _, bits := range []int{1024, 2048} {
		key := must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, bits))
		m := plain()
		if err := sign(m.request(), toSign{Authority: m.host, Key: "hwk", Components: baseFour, Created: created}, key); err == nil {
			t.Errorf("signed by RSA of %d bits", bits)
		}
	}
	// A signature that is right by a key of no use here.
	m := plain().signAs(plainInput, plainBase)
	base := must[[]byte](t)(m.base())
	mac := hmac.New(sha256.New, make([]byte, 32))
	mac.Write(base)
	m.header.Set("Signature", "sig=:"+base64.StdEncoding.EncodeToString(mac.Sum(nil))+":")
	secret := must[jose.Key](t)(jose.HS256(make([]byte, 32)))
	if err := must[*httpsig.Message](t)(httpsig.Parse(m.header)).Verify(secret, base); !errors.Is(err, httpsig.ErrSignature) {
		t.Errorf("a shared secret: %v", err)
	}
}

func TestH22Times(t *testing.T) {
	for params, want := range map[string]error{
		";created=1730217600":                    nil,
		";created=0":                             nil,
		";created=999999999999999":               nil, // whose time it is, others say
		";created=1730217600;expires=1730217600": nil,
		";created=1730217600;expires=1730217599": httpsig.ErrMalformed,
		";created=1730217600;expires=-1":         httpsig.ErrMalformed,
		`;created=1730217600;expires="1"`:        httpsig.ErrMalformed,
		";created=1730217600;expires":            httpsig.ErrMalformed,
		";expires=1730217600":                    httpsig.ErrMalformed,
		";created=1730217600.0":                  httpsig.ErrMalformed,
		`;created="1730217600"`:                  httpsig.ErrMalformed,
		";created=-1":                            httpsig.ErrMalformed,
		";created=@1730217600":                   httpsig.ErrMalformed,
		";created":                               httpsig.ErrMalformed,
		";created=1000000000000000":              httpsig.ErrMalformed,
		";created=1;created=1730217600":          httpsig.ErrMalformed,
		";created=1730217600;created=1730217600": httpsig.ErrMalformed,
	} {
		expect(t, params, plain().signAs(strings.Replace(plainInput, ";created=1730217600", params, 1), plainBase), want)
	}
}

// TestH23InputIsWhatArrived: the same value in another spelling was not signed.
func TestH23InputIsWhatArrived(t *testing.T) {
	good := plain().signAs(plainInput, plainBase)
	for from, to := range map[string]string{`" "`: `"  "`, `("`: `( "`, `")`: `" )`, ";created": "; created", "=1730217600": "=01730217600"} {
		m := good.clone()
		m.header.Set("Signature-Input", strings.Replace(good.header.Get("Signature-Input"), from, to, 1))
		expect(t, to, m, httpsig.ErrSignature)
	}
	m := good.clone()
	m.header.Set("Signature-Input", "  "+good.header.Get("Signature-Input")+" \t")
	expect(t, "space around the field", m, nil)
}

func TestH24SignatureHasOneSpelling(t *testing.T) {
	good := plain().signAs(plainInput, plainBase)
	text := good.header.Get("Signature")
	last := text[len(text)-4]
	for _, other := range []string{string(last + 1), string(last) + "="} {
		m := good.clone()
		m.header.Set("Signature", text[:len(text)-4]+other+text[len(text)-3:])
		expect(t, "spare bits or padding", m, httpsig.ErrMalformed)
	}
	m := good.clone()
	m.header.Set("Signature", strings.Replace(text, "==:", ":", 1))
	expect(t, "no padding", m, httpsig.ErrMalformed)
}

func TestH25CoveredValuesAreASCII(t *testing.T) {
	for _, value := range []string{"caf\xc3\xa9", "caf\xe9", "a\x7fb", "a\x00b", "a\nb", "a\r\nb", "a\u2028b"} {
		m := covering(`"x-a"`, value)
		m.header.Set("X-A", value)
		expect(t, value, m, httpsig.ErrMalformed)
		m.header.Set("X-A", "another")
		m.header.Set("X-B", value)
		expect(t, "not covered: "+value, m, httpsig.ErrSignature)
	}
	for name, m := range map[string]message{
		"method": {method: "G\nT", host: "a", target: "/"}, "host": {method: "GET", host: "a\nb", target: "/"},
		"path": {method: "GET", host: "a", target: "/\xc3\xa9"}, "query": {method: "GET", host: "a", target: "/?\xc3\xa9"},
	} {
		m.header = get(t, "/", "@query").header
		expect(t, name, m, httpsig.ErrMalformed)
	}
	m := covering(`"x-a"`, "a\tb")
	m.header.Set("X-A", " \ta\tb ")
	expect(t, "a tab inside, space around", m, nil)
}

func TestH26CoveredFieldsAreOneLine(t *testing.T) {
	m := covering(`"x-a"`, "a, b")
	m.header.Set("X-A", "a, b")
	expect(t, "one line", m, nil)
	m.header["X-A"] = []string{"a", "b"}
	expect(t, "two lines", m, httpsig.ErrMalformed)
	m.header.Del("X-A")
	expect(t, "absent", m, httpsig.ErrMalformed)
}
