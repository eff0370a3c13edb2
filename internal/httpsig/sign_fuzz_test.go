package httpsig_test

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/httpsig"
	"github.com/keywright/keywright/internal/jose"
)

// FuzzSign: what is signed can be read, and is what was to be signed. Nothing is read
// again when it is signed, so this is what holds the two sides together.
func FuzzSign(f *testing.F) {
	f.Add("sig", "hwk", "a.example", "@method @path @query signature-key x-a", int64(1), int64(2), "GET", "/a%2Fb?c", "b")
	f.Add("", `jwt;jwt="a.b.c"`, "a.example:8443", "@authority", int64(999_999_999_999_999), int64(0), "", "/", "")
	f.Add("*a.b", "*;a;b=?0;c=:AAAA:;d=1.5;e=@1;f=%\"%c3%bc\"", "", "", int64(0), int64(999_999_999_999_999), "M", "/?", "\t a\t")
	f.Add("sig", `hwk, sig=jwt`, "a", "x-a x-a", int64(-1), int64(1e15), "GET", "/", "\u00e9")
	f.Add("sig", "hwk ", "a\nb", "signature signature-input", int64(5), int64(4), "GET", "//a", "b, c")
	f.Add("s", "hwk;", "a", "X-A", int64(5), int64(5), "GET", "/", "b\r\nc")
	f.Add("s", "hwk", "a", strings.Repeat("x-a ", httpsig.MaxComponents+1), int64(5), int64(5), "GET", "/", "b")
	public := must[jose.Key](f)(jose.PublicKey(durable.Public()))
	f.Fuzz(func(t *testing.T, label, member, authority, components string, created, expires int64, method, target, value string) {
		u, err := url.Parse(target)
		if err != nil {
			return
		}
		r := &http.Request{Method: method, URL: u, Header: http.Header{"X-A": {value}}}
		s := toSign{Label: label, Key: member, Authority: authority, Components: strings.Fields(components), Created: time.Unix(created, 0)}
		if expires != 0 {
			s.Expires = time.Unix(expires, 0)
		}
		if err := sign(r, s, durable); err != nil {
			if !errors.Is(err, httpsig.ErrMalformed) && !errors.Is(err, httpsig.ErrComponents) {
				t.Errorf("an error of no kind: %v", err)
			}
			return
		}
		m, err := httpsig.Parse(r.Header)
		if err != nil {
			t.Fatalf("not to be read: %v: %q", err, r.Header)
		}
		if err := m.CheckComponents(s.Components...); err != nil || !slices.Equal(m.Components, s.Components) {
			t.Errorf("components: %q, %v", m.Components, err)
		}
		times, err := m.Times()
		if err != nil || !times.Created.Equal(s.Created) || !times.Expires.Equal(s.Expires) {
			t.Errorf("times: %v, %v, want %v, %v", times, err, s.Created, s.Expires)
		}
		base, err := m.Base(r, authority)
		if err == nil {
			err = m.Verify(public, base)
		}
		if err != nil {
			t.Errorf("not to be verified: %v: %q", err, r.Header)
		}
	})
}
