package httpsig_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/httpsig"
	"github.com/keywright/keywright/internal/jose"
)

// The vectors that aauth-go publishes (MIT), with a space in Signature-Key.
const (
	publishedKey     = `sig=jwt; jwt="eyJhbGciOiJFZDI1NTE5In0.e30.c2ln"`
	publishedCreated = 1791275737
	edThumbprint     = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
	ecThumbprint     = "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U"
)

// p256 is the key of RFC 7515, appendix A.3.
var p256 = jose.PublicJWK{
	Type: "EC", Curve: "P-256",
	X: "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", Y: "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}

func published(target, body, digest, keyid, signature string) message {
	input := `sig=("@method" "@authority" "@path" "signature-key");created=1791275737;keyid="` + keyid + `"`
	m := message{method: "GET", host: "resource.example", target: target, header: http.Header{}}
	if digest != "" {
		m = message{method: "POST", host: "ps.example", target: target, body: body, header: http.Header{}}
		m.header.Set("Content-Digest", digest)
		input = strings.Replace(input, `"signature-key"`, `"signature-key" "content-digest"`, 1)
	}
	m.header.Set("Signature-Key", publishedKey)
	m.header.Set("Signature-Input", input)
	m.header.Set("Signature", "sig=:"+signature+":")
	return m
}

func TestPublishedVectors(t *testing.T) {
	const (
		digest = "sha-256=:ybC6GsvdO/cjY2Rd5x9Ud8/pb3tqRjxfwwUqf9W21uA=:"
		body   = `{"resource_token":"x"}`
	)
	ed := must[jose.Key](t)(jose.PublicKey(durable.Public()))
	ec := must[jose.Key](t)(p256.Read())
	get := published("/api/documents", "", "", edThumbprint, "tW2SDKWrZHD35pseGAGgWIL+fZ0rA/a0zYybB4bMokCGHzhoo2gay9prED5LVuzawXccuv54dnmCzAnYbwBGCQ==")
	post := published("/token", body, digest, edThumbprint, "aFlrIKHyXneK6VREoRE2F5Pa0F92jg+EHSoO439iAypUXDR9/FILHOS/QdnLjBY93XuPT9fOyUenprxSILruCw==")
	posted := published("/token", body, digest, ecThumbprint, "8PuoypZyeqHl8c6t+iOK/QodEBndjtfPQFl3ETJ02ggyxJOwm7l9FfH0Qcio2D8Pypcyo8mLTFMS4KNCnx0Gng==")
	if err := get.verify(ed, baseFour...); err != nil {
		t.Errorf("GET: %v", err)
	}
	if err := post.verify(ed, append(baseFour, "content-digest")...); err != nil {
		t.Errorf("POST: %v", err)
	}
	if err := posted.verify(ec, append(baseFour, "content-digest")...); err != nil {
		t.Errorf("POST by ES256: %v", err)
	}

	path, swapped, other := get.clone(), post.clone(), get.clone()
	path.target = "/api/admin"
	swapped.body = strings.Replace(body, `"x"`, `"y"`, 1)
	other.header.Set("Signature-Key", strings.Replace(publishedKey, "c2ln", "b3RoZXI", 1))
	for name, m := range map[string]message{"path": path, "key": other} {
		if err := m.verify(ed); !errors.Is(err, httpsig.ErrSignature) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	if err := swapped.verify(ed); !errors.Is(err, httpsig.ErrDigest) {
		t.Errorf("another body: %v", err)
	}
}

// TestPublishedBaseIsSignedTheSame: what Ed25519 signs has one signature, so ours
// over the same base must be the published one.
func TestPublishedBaseIsSignedTheSame(t *testing.T) {
	const want = "tW2SDKWrZHD35pseGAGgWIL+fZ0rA/a0zYybB4bMokCGHzhoo2gay9prED5LVuzawXccuv54dnmCzAnYbwBGCQ=="
	m := published("/api/documents", "", "", edThumbprint, want)
	signed := must[*httpsig.Message](t)(httpsig.Parse(m.header))
	base := must[[]byte](t)(signed.Base(m.request(), m.host))
	if got := base64.StdEncoding.EncodeToString(ed25519.Sign(durable, base)); got != want {
		t.Errorf("got %s of the base\n%s", got, base)
	}
	if times := must[httpsig.Times](t)(signed.Times()); times.Created.Unix() != publishedCreated {
		t.Errorf("created: %v", times.Created)
	}
}

// labels has the fields of a request of which only the form counts.
func labels(key, input, signature string) http.Header {
	return http.Header{"Signature-Key": {key}, "Signature-Input": {input}, "Signature": {signature}}
}

func TestLabel(t *testing.T) {
	const in, sig = `("@method");created=1`, `:AAAA:`
	for _, c := range []struct {
		name, key, input, signature string
		label, scheme               string
		err                         error
	}{
		{"of several it is sig", `sig1=hwk;kty="OKP", sig=jwt;jwt="a.b.c";cache`, "sig=" + in, "sig=" + sig, "sig", "jwt", nil},
		{"sig is the first", `sig=jwt, b=hwk, a=hwk`, "sig=" + in, "sig=" + sig, "sig", "jwt", nil},
		{"sig is the last", `a=hwk, b=hwk, sig=jwt`, "sig=" + in, "sig=" + sig, "sig", "jwt", nil},
		{"several members, none sig, and signatures of all", `a=hwk, b=hwk`, "a=" + in + ", b=" + in, "a=" + sig + ", b=" + sig, "", "", httpsig.ErrMalformed},
		{"a scheme that nobody knows", `sig=x-unregistered`, "sig=" + in, "sig=" + sig, "sig", "x-unregistered", nil},
		{"a scheme in upper case is another", `sig=HWK;kty="OKP"`, "sig=" + in, "sig=" + sig, "sig", "HWK", nil},
		{"one member has any label", `sig1=hwk;kty="OKP"`, "sig1=" + in, "sig1=" + sig, "sig1", "hwk", nil},
		{"one of several signatures", `b=hwk`, "a=" + in + ", b=" + in, "b=" + sig + ", a=" + sig, "b", "hwk", nil},
		{"only sig1 beside a signature sig", `sig1=jwt;jwt="a.b.c"`, "sig=" + in, "sig=" + sig, "", "", httpsig.ErrMalformed},
		{"several members and no sig", `a=hwk, b=hwk`, "a=" + in, "a=" + sig, "", "", httpsig.ErrMalformed},
		{"the scheme as a string", `sig="jwt"`, "sig=" + in, "sig=" + sig, "", "", httpsig.ErrMalformed},
		{"no scheme", `sig;jwt="a.b.c"`, "sig=" + in, "sig=" + sig, "", "", httpsig.ErrMalformed},
		{"schemes in a list", `sig=(hwk)`, "sig=" + in, "sig=" + sig, "", "", httpsig.ErrMalformed},
		{"a signature more", `sig=hwk`, "sig=" + in, "sig=" + sig + ", b=" + sig, "", "", httpsig.ErrMalformed},
		{"a signature less", `sig=hwk`, "sig=" + in + ", b=" + in, "sig=" + sig, "", "", httpsig.ErrMalformed},
		{"the other signature", `sig=hwk`, "sig=" + in, "b=" + sig, "", "", httpsig.ErrMalformed},
	} {
		m, err := httpsig.Parse(labels(c.key, c.input, c.signature))
		if !errors.Is(err, c.err) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.err)
		}
		if err == nil && (m.Label != c.label || m.Scheme != c.scheme) {
			t.Errorf("%s: label %q, scheme %q", c.name, m.Label, m.Scheme)
		}
	}
}

func TestParam(t *testing.T) {
	header := labels(`sig=jwt;s="a \"b\" \\";token=OKP;flag;no=?0;n=1;x5t=:AAAA:;d=@1;e=""`, `sig=("@method");created=1`, "sig=:AAAA:")
	m := must[*httpsig.Message](t)(httpsig.Parse(header))
	for _, c := range []struct {
		name, value string
		has, ok     bool
	}{
		{"s", `a "b" \`, true, true},
		{"token", "OKP", true, true},
		{"e", "", true, true},
		{"flag", "", true, false},
		{"no", "", true, false},
		{"n", "", true, false},
		{"x5t", "", true, false},
		{"d", "", true, false},
		{"absent", "", false, false},
		{"created", "", false, false}, // of Signature-Input
	} {
		if value, ok := m.Param(c.name); value != c.value || ok != c.ok || m.Has(c.name) != c.has {
			t.Errorf("%s: %q, %v, has %v", c.name, value, ok, m.Has(c.name))
		}
	}
}
