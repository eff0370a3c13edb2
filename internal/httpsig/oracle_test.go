package httpsig_test

import (
	"bufio"
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/dunglas/httpsfv"
	"github.com/yaronf/httpsign"

	"github.com/keywright/keywright/internal/httpsig"
	"github.com/keywright/keywright/internal/jose"
)

// A hostile is a request to be. input is the member of Signature-Input, and x
// the value of a field X-A that it may cover. Once signed, one byte of it changes.
type hostile struct {
	method, host, target, input, x string

	part, at, by byte
}

// FuzzVerifyAgainstOracle: an implementation by others says the same of every
// request that both can express, and of no request no where we say yes.
func FuzzVerifyAgainstOracle(f *testing.F) {
	verifier := oracle(f)
	key := must[jose.Key](f)(jose.PublicKey(durable.Public()))
	const four = `("@method" "@authority" "@path" "signature-key")`
	for _, input := range []string{
		four + ";created=1730217600", four + `;created=1;expires=2;keyid="a\"b";nonce="n";tag="t"`, `("x-a" "@query" "@path");created=1`, "()", "();created=1",
		`("@method"  "@path")`, `("@method" "@method")`, `("@status")`, `("x-a";sf)`, `("date")`, four + `;alg="ed25519"`, four + `;alg="none"`, four + ";created=1.5;a=?0;b;c=:AA==:;d=tok",
	} {
		f.Add("GET", "a.example", "/a/b?c=d&e", input, "value", byte(0), byte(0), byte(0))
	}
	for part := range byte(8) {
		f.Add("POST", "a.example:8443", "/a%2Fb?", `("@method" "@authority" "@path" "@query" "x-a");created=1`, "a, b", part, byte(4), byte(1))
	}
	f.Add("PUT", "A.example", "http://a.example?x=%20+", `("@authority" "@path" "@query")`, "", byte(0), byte(0), byte(0))
	f.Add("DELETE", "a.example", "/a\"b/../[c]//d;e", `("@path" "x-a")`, " \t a\tb ", byte(0), byte(0), byte(0))
	f.Fuzz(func(t *testing.T, method, host, target, input, x string, part, at, by byte) {
		r, ok := hostile{method, host, target, input, x, part, at, by}.request()
		if !ok {
			return
		}
		authority := httpsig.Authority(r.Host, true)
		ours := verifyRequest(r, key, authority)
		if !harmless(r) {
			if ours == nil {
				t.Fatalf("components with parameters: %q", r.Header)
			}
			return
		}
		if !sameTarget(r) {
			return
		}
		r.Host = authority // which the oracle takes as it is
		theirs := httpsign.VerifyRequest("sig", verifier, r)
		switch {
		case ours == nil && theirs != nil:
			t.Fatalf("only we accept %s %q %q: %v", r.Method, r.RequestURI, r.Header, theirs)
		case ours != nil && theirs == nil && expressible(r):
			t.Fatalf("only the oracle accepts %s %q %q: %v", r.Method, r.RequestURI, r.Header, ours)
		}
	})
}

func oracle(t testing.TB) httpsign.Verifier {
	t.Helper()
	// Times are policy, and so is coverage.
	config := httpsign.NewVerifyConfig().SetVerifyCreated(false).SetRejectExpired(false)
	v, err := httpsign.NewEd25519Verifier(durable.Public().(ed25519.PublicKey), config, *httpsign.NewFields())
	if err != nil {
		t.Fatal(err)
	}
	return *v
}

func verifyRequest(r *http.Request, key jose.Key, authority string) error {
	m, err := httpsig.Parse(r.Header)
	if err != nil {
		return err
	}
	base, err := m.Base(r, authority)
	if err != nil {
		return err
	}
	return m.Verify(key, base)
}

// request signs the request by the letter of RFC 9421, section 2.5, with code
// that is not ours, and reads it as a server does.
func (h hostile) request() (*http.Request, bool) {
	signature := base64.StdEncoding.EncodeToString(ed25519.Sign(durable, []byte(h.base())))
	parts := []*string{&h.method, &h.host, &h.target, &h.input, &h.x, &signature}
	if p := int(h.part); p < len(parts) && len(*parts[p]) > 0 && h.by != 0 {
		b := []byte(*parts[p])
		b[int(h.at)%len(b)] ^= h.by
		*parts[p] = string(b)
	}
	for _, s := range parts {
		if strings.ContainsAny(*s, "\r\n") {
			return nil, false
		}
	}
	text := h.method + " " + h.target + " HTTP/1.1\r\nHost: " + h.host + "\r\nX-A: " + h.x +
		"\r\nSignature-Key: sig=" + durableMember + "\r\nSignature-Input: sig=" + h.input + "\r\nSignature: sig=:" + signature + ":\r\n\r\n"
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
	return r, err == nil
}

func (h hostile) base() string {
	list, _ := listOf("sig=" + h.input)
	path, query, _ := strings.Cut(h.target, "?")
	values := map[any]string{
		"@method": h.method, "@authority": httpsig.Authority(h.host, true), "@path": path, "@query": "?" + query,
		"x-a": strings.Trim(h.x, " \t"), "signature-key": "sig=" + durableMember,
	}
	var b strings.Builder
	for _, item := range list.Items {
		name, _ := httpsfv.Marshal(item)
		b.WriteString(name + ": " + values[item.Value] + "\n")
	}
	params, _ := httpsfv.Marshal(list)
	return b.String() + `"@signature-params": ` + params
}

// listOf reads the member sig of Signature-Input.
func listOf(input string) (httpsfv.InnerList, bool) {
	d, err := httpsfv.UnmarshalDictionary([]string{input})
	if err != nil {
		return httpsfv.InnerList{Params: httpsfv.NewParams()}, false
	}
	m, _ := d.Get("sig")
	list, ok := m.(httpsfv.InnerList)
	if !ok {
		list.Params = httpsfv.NewParams()
	}
	return list, ok
}

// harmless tells whether no component has parameters, of which we take none.
func harmless(r *http.Request) bool {
	list, _ := listOf(r.Header.Get("Signature-Input"))
	for _, item := range list.Items {
		if len(item.Params.Names()) > 0 {
			return false
		}
	}
	return true
}

// expressible tells whether both implementations have words for a request. What
// we refuse beyond that is in the rules of this package's other tests.
func expressible(r *http.Request) bool {
	// The list is what was signed, in its one spelling, and no name comes twice.
	input := r.Header.Get("Signature-Input")
	list, ok := listOf(input)
	text, err := httpsfv.Marshal(list)
	if !ok || err != nil || input != "sig="+text || len(list.Items) > httpsig.MaxComponents || len(list.Params.Names()) > 32 {
		return false
	}
	// Components are those that both know, once each.
	seen := map[any]bool{}
	for _, item := range list.Items {
		name, _ := item.Value.(string)
		if seen[name] || !httpsig.IsComponent(name) {
			return false
		}
		seen[name] = true
		if name == "x-a" && strings.Trim(r.Header.Get("X-A"), printable) != "" {
			return false // a base is ASCII
		}
	}
	// The parameter alg, if any, is that of the key (RFC 9421, section 3.2).
	if alg, ok := list.Params.Get("alg"); ok && alg != "ed25519" {
		return false
	}
	// A signature has one spelling.
	signature := r.Header.Get("Signature")
	d, err := httpsfv.UnmarshalDictionary([]string{signature})
	if err != nil {
		return false
	}
	if text, _ := httpsfv.Marshal(d); text != signature || len(d.Names()) != 1 {
		return false
	}
	path, query := httpsig.Target(r)
	return strings.Trim(path+query+r.Host, printable) == ""
}

// sameTarget tells whether the target as it was sent, which is what we take, is
// the one that the oracle makes of its parsed form.
func sameTarget(r *http.Request) bool {
	path, query := httpsig.Target(r)
	_, err := url.ParseQuery(r.URL.RawQuery)
	return err == nil && r.URL.EscapedPath() == path && "?"+r.URL.RawQuery == query
}

// printable are the characters that a base may have in a value.
var printable = func() string {
	b := []byte("\t")
	for c := byte(' '); c <= '~'; c++ {
		b = append(b, c)
	}
	return string(b)
}()
