package httpsig_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/internal/httpsig"
	"github.com/keywright/keywright/internal/jose"
)

// The rules of these tests have numbers in the design. Each message is well
// signed over what it covers, and refused for the rule alone.

const (
	plainInput = `("@method" "@authority" "@path" "signature-key");created=1730217600`
	plainBase  = "\"@method\": GET\n\"@authority\": resource.example\n\"@path\": /a\n\"signature-key\": sig=" + durableMember + "\n"
)

func plain() message {
	return message{method: "GET", host: "resource.example", target: "/a", header: http.Header{"Date": {"Tue, 20 Apr 2021 02:07:55 GMT"}}}
}

// covering is a message that covers the base four and one more.
func covering(component, value string) message {
	return plain().signAs(strings.Replace(plainInput, `")`, `" `+component+`)`, 1), plainBase+component+": "+value+"\n")
}

func expect(t *testing.T, name string, m message, want error) {
	t.Helper()
	if err := m.verify(jose.Key{}, baseFour...); !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", name, err, want)
	}
}

func TestPlainMessageVerifies(t *testing.T) {
	expect(t, "plain", plain().signAs(plainInput, plainBase), nil)
	expect(t, "a field more", covering(`"date"`, "Tue, 20 Apr 2021 02:07:55 GMT"), nil)
}

func TestH01CoverageIsRequired(t *testing.T) {
	expect(t, "nothing covered", plain().signAs(`();created=1730217600`, ""), httpsig.ErrComponents)
	for i, line := range strings.SplitAfter(strings.TrimSuffix(plainBase, "\n"), "\n") {
		name := baseFour[i]
		input := strings.Replace(strings.Replace(plainInput, `"`+name+`"`, "", 1), "  ", " ", 1)
		m := plain().signAs(input, strings.Replace(plainBase, strings.TrimSuffix(line, "\n")+"\n", "", 1))
		expect(t, "not covered: "+name, m, httpsig.ErrComponents)
	}
}

func TestH02CreatedIsRequired(t *testing.T) {
	expect(t, "no created", plain().signAs(strings.Replace(plainInput, ";created=1730217600", "", 1), plainBase), httpsig.ErrMalformed)
}

func TestH03NoComponentTwice(t *testing.T) {
	expect(t, "@method twice", covering(`"@method"`, "GET"), httpsig.ErrComponents)
	expect(t, "a field twice", covering(`"signature-key"`, "sig="+durableMember), httpsig.ErrComponents)
}

func TestH04NoLabelTwice(t *testing.T) {
	good := plain().signAs(plainInput, plainBase)
	for _, name := range []string{"Signature", "Signature-Input", "Signature-Key"} {
		value := good.header.Get(name)
		one, two, first := good.clone(), good.clone(), good.clone()
		one.header.Set(name, "sig=x, "+value)
		two.header[name] = []string{"sig=x", value}
		first.header.Set(name, value+", sig=x")
		for form, m := range map[string]message{"in one line": one, "in two lines": two, "the good one first": first} {
			expect(t, name+" "+form, m, httpsig.ErrMalformed)
		}
	}
	more := good.clone()
	more.header.Set("Signature", good.header.Get("Signature")+", other=:AAAA:")
	expect(t, "a label of Signature alone", more, httpsig.ErrMalformed)
}

func TestH05AlgorithmIsThatOfTheKey(t *testing.T) {
	for alg, want := range map[string]error{
		`"ed25519"`: nil, `"none"`: httpsig.ErrMalformed, `"hmac-sha256"`: httpsig.ErrMalformed, `"rsa-v1_5-sha256"`: httpsig.ErrMalformed,
		`"ecdsa-p256-sha256"`: httpsig.ErrMalformed, `"Ed25519"`: httpsig.ErrMalformed, `"EdDSA"`: httpsig.ErrMalformed,
		`ed25519`: httpsig.ErrMalformed, `""`: httpsig.ErrMalformed, `1`: httpsig.ErrMalformed, `?1`: httpsig.ErrMalformed,
	} {
		expect(t, "alg="+alg, plain().signAs(plainInput+";alg="+alg, plainBase), want)
	}
}

func TestH06ComponentsHaveNoParameters(t *testing.T) {
	for _, params := range []string{
		`;sf="x"`, `;bs=1`, `;tr="x"`, `;req=1`, `;req=tok`, `;key=:AA==:`, `;name=@1`, `;sf`, `;bs`, `;req`, `;tr`, `;key="a"`, `;foo`, `;key="a";bs`,
	} {
		expect(t, "date"+params, covering(`"date"`+params, "Tue, 20 Apr 2021 02:07:55 GMT"), httpsig.ErrComponents)
		expect(t, "@method"+params, plain().signAs(strings.Replace(plainInput, `"@method"`, `"@method"`+params, 1), plainBase), httpsig.ErrComponents)
	}
}

func TestH07TypesOfMembers(t *testing.T) {
	good := plain().signAs(plainInput, plainBase)
	for field, values := range map[string][]string{
		"Signature-Input": {"sig", "sig=x", `sig="x"`, "sig=1", "sig=:AAAA:", "sig=", "", `sig=("@method";created=1`, "sig=(1)", "sig=(method)", "sig=(:AAAA:)", "sig=(@1)"},
		"Signature":       {"sig", "sig=x", `sig="AAAA"`, "sig=1", "sig=", "", "sig=(:AAAA:)", "sig=:AAAA", "sig=:AA-_:", "sig=:AAA:"},
		"Signature-Key":   {"sig", `sig="hwk"`, "sig=1", "sig=", "", "sig=(hwk)", "sig=:AAAA:", "hwk;", "=hwk"},
	} {
		for _, value := range values {
			m := good.clone()
			m.header.Set(field, value)
			expect(t, field+": "+value, m, httpsig.ErrMalformed)
		}
	}
}

func TestH08ComponentsAreKnown(t *testing.T) {
	for component, value := range map[string]string{
		`"@foo"`: "x", `"@signature-params"`: "x", `"@status"`: "200", `"@scheme"`: "https", `"@target-uri"`: "https://resource.example/a",
		`"` + strings.Repeat("a", 129) + `"`: "x",
		`"Date"`:                             "Tue, 20 Apr 2021 02:07:55 GMT", `"host"`: "resource.example", `""`: "", `"a b"`: "x", `"da\"te"`: "x", `"date:"`: "x", `"@"`: "x",
	} {
		expect(t, component, covering(component, value), httpsig.ErrComponents)
	}
}

func TestH09QueryParametersAreNotComponents(t *testing.T) {
	m := plain()
	m.target = "/a?role=user&role=admin"
	input := strings.Replace(plainInput, `")`, `" "@query-param";name="role")`, 1)
	expect(t, "@query-param", m.signAs(input, plainBase+"\"@query-param\";name=\"role\": user\n"), httpsig.ErrComponents)
}

func TestH10PathIsThatOfTheTarget(t *testing.T) {
	expect(t, "@request-target", covering(`"@request-target"`, "/a"), httpsig.ErrComponents)
	good := get(t, "/files/a/b?role=user", "@query")
	for _, target := range []string{"/files/a%2Fb?role=user", "/files/%61/b?role=user", "/files//a/b?role=user", "/files/a/b%3Frole=user", "/files/a/b?role=user&role=admin", "/files/a/b", "/files/a/./b?role=user"} {
		m := good.clone()
		m.target = target
		expect(t, target, m, httpsig.ErrSignature)
	}
}

func TestH12RequestStaysAsItWas(t *testing.T) {
	m := plain().signAs(plainInput, plainBase)
	r, before := m.request(), m.clone()
	r.URL = must[*url.URL](t)(url.ParseRequestURI(m.target))
	signed := must[*httpsig.Message](t)(httpsig.Parse(r.Header))
	must[[]byte](t)(signed.Base(r, m.host))
	if d := cmp.Diff(before.header, r.Header); d != "" || *r.URL != (url.URL{Path: "/a"}) || r.Host != m.host {
		t.Errorf("changed: %s, %v, %q", d, r.URL, r.Host)
	}
}

func TestH15DigestIsThatOfTheBody(t *testing.T) {
	m := plain()
	m.body = `{"a":1}`
	m.header.Set("Content-Digest", httpsig.Digest([]byte(m.body)))
	input, base := strings.Replace(plainInput, `")`, `" "content-digest")`, 1), plainBase+`"content-digest": `+httpsig.Digest([]byte(m.body))+"\n"
	m = m.signAs(input, base)
	expect(t, "the body", m, nil)
	m.body = `{"a":2}`
	expect(t, "another body", m, httpsig.ErrDigest)
	m = m.signAs(strings.Replace(input, `"content-digest"`, `"content-digest";key="sha-256"`, 1), base)
	expect(t, "covered by one of its members", m, httpsig.ErrComponents)
}

// A body that nobody may read.
type sealed struct{ t *testing.T }

func (s sealed) Read([]byte) (int, error) { s.t.Error("the body is read"); return 0, io.EOF }
func (s sealed) Close() error             { return nil }

func TestH16BodyAndTrailersAreNotRead(t *testing.T) {
	good := plain().signAs(plainInput, plainBase)
	for name, header := range map[string]http.Header{"unsigned": {}, "signed": good.header, "a component of the trailers": covering(`"x";tr`, "1").header} {
		r := &http.Request{Method: "POST", Host: "resource.example", RequestURI: "/a", Header: header, Trailer: good.header, Body: sealed{t}}
		signed, err := httpsig.Parse(r.Header)
		if (err == nil) != (name != "unsigned") || name == "unsigned" && !errors.Is(err, httpsig.ErrAbsent) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			_, _ = signed.Base(r, r.Host)
		}
	}
}

// TestH27WhatServersTakeAway: the server of the standard library keeps Host out
// of the header, and Content-Length in.
func TestH27WhatServersTakeAway(t *testing.T) {
	errs := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m := message{method: r.Method, host: r.Host, target: r.RequestURI, header: r.Header}
		errs <- m.verify(jose.Key{}, append(baseFour, "content-length")...)
	}))
	defer server.Close()
	r := must[*http.Request](t)(http.NewRequest("POST", server.URL+"/a%2Fb?c", strings.NewReader("four")))
	r.Header.Set("Content-Length", "4") // which the client sends by itself
	signing := toSign{Authority: r.URL.Host, Key: durableMember, Components: append(baseFour, "content-length"), Created: created}
	if err := sign(r, signing, durable); err != nil {
		t.Fatal(err)
	}
	must[*http.Response](t)(server.Client().Do(r)).Body.Close()
	if err := <-errs; err != nil {
		t.Error(err)
	}
	r.Header.Set("Host", r.URL.Host)
	signing.Components = append(baseFour, "host")
	if err := sign(r, signing, durable); !errors.Is(err, httpsig.ErrComponents) {
		t.Errorf("host: %v", err)
	}
}
