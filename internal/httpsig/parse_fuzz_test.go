package httpsig

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/dunglas/httpsfv"
)

// FuzzParse: what is read of a request can be used, and the library reads the
// same. Key is in two lines, as a hostile client may send any field.
func FuzzParse(f *testing.F) {
	const input = `sig=("@method" "@authority" "@path" "signature-key" "content-type");created=1730217600;expires=1730217660`
	for _, key := range []string{`sig=hwk;kty="OKP";crv="Ed25519";x="AA"`, `sig1=hwk;kty="OKP", sig=jwt;jwt="a.b.c";cache`, `a=x509;x5t=:AA==:`} {
		f.Add(key, "", input, "sig=:AAAA:")
	}
	f.Add("sig=hwk", "b=jwt", `sig=("@method";req "b");alg="ed25519", b=()`, "sig=:AA==:, b=::")
	f.Add("sig=hwk", "sig=jwt", `sig=("@method" "@method");created=1;created=2`, "sig=:AAAA:, sig=:AA==:")
	f.Add("a=hwk", "", `a=("x" "y" "z" "\"" 1)`, "a=:AAA:")
	f.Fuzz(func(t *testing.T, key, more, input, signature string) {
		h := http.Header{fieldKey: {key}, fieldInput: {input}, fieldSignature: {signature}, "Content-Type": {"a/b"}}
		if more != "" {
			h[fieldKey] = append(h[fieldKey], more)
		}
		m, err := Parse(h)
		if err != nil {
			if m != nil {
				t.Fatal("a message with an error")
			}
			return
		}
		if total := len(key) + len(more) + len(input) + len(signature); total > maxSignatureKey+maxInput+maxSignature {
			t.Fatalf("%d bytes are read", total)
		}
		checkLabel(t, m, h)
		_, _ = m.Times()
		for _, p := range m.key {
			_, _ = m.Param(p.name)
		}
		r := &http.Request{Method: "GET", RequestURI: "/", Header: h}
		base, err := m.Base(r, "a.example")
		if m.CheckComponents() != nil && err == nil {
			t.Fatal("components that may not be covered are")
		}
		if err == nil {
			checkBase(t, m, string(base))
		}
	})
}

// checkLabel asks the library for the members of the label.
func checkLabel(t *testing.T, m *Message, h http.Header) {
	t.Helper()
	their := map[string]httpsfv.Member{}
	for _, field := range []string{fieldKey, fieldInput, fieldSignature} {
		d, err := httpsfv.UnmarshalDictionary(h[field])
		if err != nil {
			t.Fatalf("%s: %v", field, err)
		}
		var ok bool
		if their[field], ok = d.Get(m.Label); !ok {
			t.Fatalf("%s has no %s", field, m.Label)
		}
	}
	key := their[fieldKey].(httpsfv.Item)
	if key.Value != httpsfv.Token(m.Scheme) || !sameParams(m.key, key.Params) {
		t.Fatalf("scheme %q, %v", m.Scheme, m.key)
	}
	if !slices.Equal(their[fieldSignature].(httpsfv.Item).Value.([]byte), m.signature) {
		t.Fatalf("signature %x", m.signature)
	}
	list := their[fieldInput].(httpsfv.InnerList)
	if !sameParams(m.params, list.Params) {
		t.Fatalf("parameters %v", m.params)
	}
	for i, item := range list.Items {
		if m.CheckComponents() == nil && (m.Components[i] != item.Value || len(item.Params.Names()) > 0) {
			t.Fatalf("component %d is %q", i, m.Components[i])
		}
	}
}

// checkBase wants one line of each component, and the member as it arrived.
func checkBase(t *testing.T, m *Message, base string) {
	t.Helper()
	lines := strings.Split(base, "\n")
	if len(lines) != len(m.Components)+1 {
		t.Fatalf("%d components have the base %q", len(m.Components), base)
	}
	for i, name := range m.Components {
		if !strings.HasPrefix(lines[i], `"`+name+`": `) || slices.Index(m.Components, name) != i {
			t.Fatalf("line %d of the base is %q", i, lines[i])
		}
	}
	raw, ok := strings.CutPrefix(lines[len(lines)-1], `"@signature-params": `)
	again, err := readDictionary("a=" + raw)
	if !ok || raw != m.raw || err != nil || again[0].text != raw || len(again) != 1 {
		t.Fatalf("the last line of the base is %q", lines[len(lines)-1])
	}
}
