package httpsig_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/httpsig"
	"github.com/keywright/keywright/internal/jose"
)

// A toSign is a [httpsig.Signing] with a key that is not checked yet.
type toSign struct {
	Authority, Label, Key string
	Components            []string
	Created, Expires      time.Time
}

func sign(r *http.Request, s toSign, signer crypto.Signer) error {
	key, err := httpsig.NewSigningKey(signer.Public(), s.Label, s.Key)
	if err != nil {
		return err
	}
	return key.Sign(r, httpsig.Signing{Authority: s.Authority, Components: s.Components, Created: s.Created, Expires: s.Expires}, signer)
}

func TestSignAndVerify(t *testing.T) {
	for name, signer := range map[string]crypto.Signer{
		"Ed25519": durable,
		"P-256":   must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
	} {
		r := must[*http.Request](t)(http.NewRequest("", "https://Resource.Example:443/a%2Fb/../c?d=e&f", nil))
		r.Method = "" // which is sent as GET
		r.Header.Set("X-A", " b ")
		signing := toSign{
			Authority: "resource.example", Label: "x", Key: `hwk;note="\"quoted\""`,
			Components: []string{"x-a", "signature-key", "@query", "@path", "@authority", "@method"},
			Created:    created, Expires: created.Add(time.Minute),
		}
		if err := sign(r, signing, signer); err != nil {
			t.Fatal(err)
		}
		arrived := arrive(t, r)
		m := message{method: arrived.Method, host: arrived.Host, target: arrived.RequestURI, header: arrived.Header}
		if err := m.verify(must[jose.Key](t)(jose.PublicKey(signer.Public())), signing.Components...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		signed := must[*httpsig.Message](t)(httpsig.Parse(m.header))
		times := must[httpsig.Times](t)(signed.Times())
		if note, _ := signed.Param("note"); signed.Label != "x" || note != `"quoted"` || !times.Created.Equal(created) || !times.Expires.Equal(signing.Expires) {
			t.Errorf("%s: read %+v, %q, %v", name, signed, note, times)
		}
	}
}

// failing is a signer that does not sign.
type failing struct{ ed25519.PrivateKey }

func (failing) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, io.ErrUnexpectedEOF
}

// short is a signer whose signatures are none.
type short struct{ ed25519.PrivateKey }

func (short) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return []byte("no"), nil }

func TestSignRefuses(t *testing.T) {
	good := toSign{Authority: "a.example", Key: "hwk", Components: baseFour, Created: created}
	with := func(change func(*toSign)) toSign {
		s := good
		change(&s)
		return s
	}
	covering := func(names ...string) toSign {
		return with(func(s *toSign) { s.Components = names })
	}
	many := strings.Fields(strings.Repeat("x ", httpsig.MaxComponents+1))
	for i := range many {
		many[i] += strings.Repeat("y", i)
	}
	for _, c := range []struct {
		name    string
		signing toSign
		signer  crypto.Signer
		want    error // nil: any
	}{
		{"a component twice", covering("@path", "@path"), durable, httpsig.ErrComponents},
		{"one nobody knows", covering("@status"), durable, httpsig.ErrComponents},
		{"one in upper case", covering("Date"), durable, httpsig.ErrComponents},
		{"one that ends the string", covering(`date" "x-a`), durable, httpsig.ErrComponents},
		{"one with a parameter", covering(`date";req;a="`), durable, httpsig.ErrComponents},
		{"one with a line break", covering("date\n"), durable, httpsig.ErrComponents},
		{"the signature", covering("signature"), durable, httpsig.ErrComponents},
		{"what it covers", covering("signature-input"), durable, httpsig.ErrComponents},
		{"too many", covering(many...), durable, httpsig.ErrComponents},
		{"an absent field", covering("x-absent"), durable, httpsig.ErrMalformed},
		{"a field in two lines", covering("x-two"), durable, httpsig.ErrMalformed},
		{"a label that is none", with(func(s *toSign) { s.Label = "Sig" }), durable, httpsig.ErrMalformed},
		{"a key that is no token", with(func(s *toSign) { s.Key = `"hwk"` }), durable, httpsig.ErrMalformed},
		{"a key that does not end", with(func(s *toSign) { s.Key = `hwk;x="` }), durable, httpsig.ErrMalformed},
		{"two keys", with(func(s *toSign) { s.Key = `hwk, other=hwk` }), durable, httpsig.ErrMalformed},
		{"a list of keys", with(func(s *toSign) { s.Key = `("hwk")` }), durable, httpsig.ErrMalformed},
		{"a key with a space", with(func(s *toSign) { s.Key = "hwk " }), durable, httpsig.ErrMalformed},
		{"a label that has the key", with(func(s *toSign) { s.Label = "a=hwk;b" }), durable, httpsig.ErrMalformed},
		{"a key with a line break", with(func(s *toSign) { s.Key = "hwk\r\nX: y" }), durable, httpsig.ErrMalformed},
		{"a key too long", with(func(s *toSign) { s.Key = `jwt;jwt="` + strings.Repeat("a", 16<<10) + `"` }), durable, httpsig.ErrMalformed},
		{"an authority with a line break", with(func(s *toSign) { s.Authority = "a\nb" }), durable, httpsig.ErrMalformed},
		{"no time", with(func(s *toSign) { s.Created = time.Time{} }), durable, httpsig.ErrMalformed},
		{"a time that is too long", with(func(s *toSign) { s.Created = time.Unix(1e15, 0) }), durable, httpsig.ErrMalformed},
		{"an end that is too long", with(func(s *toSign) { s.Expires = time.Unix(1e15, 0) }), durable, httpsig.ErrMalformed},
		{"an end before the beginning", with(func(s *toSign) { s.Expires = created.Add(-time.Second) }), durable, httpsig.ErrMalformed},
		{"a signer that fails", good, failing{durable}, io.ErrUnexpectedEOF},
		{"a signer that does not sign", good, short{durable}, nil},
		{"a curve that is not ours", good, must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)), jose.ErrUnsupportedAlgorithm},
	} {
		r := must[*http.Request](t)(http.NewRequest("GET", "https://a.example/", nil))
		r.Header["X-Two"] = []string{"a", "b"}
		r.Header.Set("Signature", "sig=:AAAA:") // of a request that is signed again
		err := sign(r, c.signing, c.signer)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		_, noKey := httpsig.NewSigningKey(c.signer.Public(), c.signing.Label, c.signing.Key)
		if noKey == nil && httpsig.Signed(r.Header) {
			t.Errorf("%s: signed all the same: %v", c.name, r.Header)
		}
	}
}

func TestSigned(t *testing.T) {
	if httpsig.Signed(http.Header{"Authorization": {"Bearer x"}}) {
		t.Error("a bearer token is no signature")
	}
	for _, name := range []string{"Signature", "Signature-Input", "Signature-Key"} {
		h := http.Header{name: {""}}
		if _, err := httpsig.Parse(h); !httpsig.Signed(h) || !errors.Is(err, httpsig.ErrMalformed) {
			t.Errorf("%s: signed %v, %v", name, httpsig.Signed(h), err)
		}
		others := labels("sig=hwk", `sig=("@method");created=1`, "sig=::")
		others.Del(name)
		if _, err := httpsig.Parse(others); !errors.Is(err, httpsig.ErrMalformed) {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

func TestTarget(t *testing.T) {
	for target, want := range map[string][2]string{
		"/":                             {"/", "?"},
		"/a":                            {"/a", "?"},
		"/a?":                           {"/a", "?"},
		"/a?b":                          {"/a", "?b"},
		"/a?b?c":                        {"/a", "?b?c"},
		"/a%2Fb%3Fc?d%26":               {"/a%2Fb%3Fc", "?d%26"},
		"//a/../b":                      {"//a/../b", "?"},
		"/http://a/b":                   {"/http://a/b", "?"},
		"/?u=http://a/b":                {"/", "?u=http://a/b"},
		"http://a.example":              {"/", "?"},
		"http://a.example?b":            {"/", "?b"},
		"http://a.example/b%20c?d":      {"/b%20c", "?d"},
		"https://a.example:8443//b":     {"//b", "?"},
		"http://a.example?u=http://b/c": {"/", "?u=http://b/c"},
		"*":                             {"*", "?"},
	} {
		path, query := httpsig.Target(&http.Request{RequestURI: target})
		if path != want[0] || query != want[1] {
			t.Errorf("%s: %q, %q", target, path, query)
		}
	}
	for text, want := range map[string][2]string{
		"https://a.example":                 {"/", "?"},
		"https://a.example?b":               {"/", "?b"},
		"https://a.example/b%2Fc?e#f":       {"/b%2Fc", "?e"},
		"https://a.example/\u00e9?\u00e9=1": {"/%C3%A9", "?\u00e9=1"},
	} {
		path, query := httpsig.Target(&http.Request{URL: must[*url.URL](t)(url.Parse(text))})
		if path != want[0] || query != want[1] {
			t.Errorf("of a client, %s: %q, %q", text, path, query)
		}
	}
}

// TestTargetIsWhatARouterTookAway: handlers behind http.StripPrefix see another URL.
func TestTargetIsWhatARouterTookAway(t *testing.T) {
	r := must[*http.Request](t)(http.NewRequest("GET", "/connect/whoami", nil))
	r.RequestURI = "/connect/whoami"
	var path string
	http.StripPrefix("/connect", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { path, _ = httpsig.Target(r) })).ServeHTTP(nil, r)
	if path != "/connect/whoami" {
		t.Errorf("got %q", path)
	}
}

func TestList(t *testing.T) {
	for want, names := range map[string][]string{`()`: nil, `("a")`: {"a"}, `("@method" "a" "b")`: {"@method", "a", "b"}} {
		if got := httpsig.List(names); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
