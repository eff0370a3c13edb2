package httpsig_test

import (
	"crypto/ed25519"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/internal/httpsig"
	"github.com/keywright/keywright/internal/jose"
)

// vectors are requests that another implementation has signed.
type vectors struct {
	Created int64
	Keys    map[string]struct{ X, D string }
	Vectors []vector
}

type vector struct {
	Name, Method, URL, Body, Key string
	Headers                      map[string]string
	SignatureBase                string `json:"signature_base"`
}

func readVectors(t testing.TB) vectors {
	t.Helper()
	data := must[[]byte](t)(os.ReadFile("testdata/requests.json"))
	var v vectors
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Vectors) != 8 {
		t.Fatalf("%d vectors, want 8", len(v.Vectors))
	}
	return v
}

func (vs vectors) signer(v vector) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(decode64(vs.Keys[v.Key].D))
}

func (v vector) message(t testing.TB) message {
	t.Helper()
	u := must[*url.URL](t)(url.Parse(v.URL))
	m := message{method: v.Method, host: u.Host, target: u.RequestURI(), header: http.Header{}, body: v.Body}
	for name, value := range v.Headers {
		m.header.Set(name, value)
	}
	return m
}

// required is what the vectors cover: the base four, and the body where there is one.
func (v vector) required() []string {
	if v.Body == "" {
		return baseFour
	}
	return append(baseFour[:4:4], "content-type", "content-digest")
}

func TestVectorsVerify(t *testing.T) {
	vs := readVectors(t)
	for _, v := range vs.Vectors {
		key := must[jose.Key](t)(jose.PublicKey(vs.signer(v).Public()))
		m := v.message(t)
		if err := m.verify(key, v.required()...); err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
		signed := must[*httpsig.Message](t)(httpsig.Parse(m.header))
		base := must[[]byte](t)(signed.Base(m.request(), m.host))
		if d := cmp.Diff(v.SignatureBase, string(base)); d != "" {
			t.Errorf("%s: base: %s", v.Name, d)
		}
		times := must[httpsig.Times](t)(signed.Times())
		if times.Created.Unix() != vs.Created || !times.Expires.IsZero() {
			t.Errorf("%s: times: %v", v.Name, times)
		}
	}
}

func TestSignMakesTheVectors(t *testing.T) {
	vs := readVectors(t)
	for _, v := range vs.Vectors {
		r := must[*http.Request](t)(http.NewRequest(v.Method, v.URL, strings.NewReader(v.Body)))
		if v.Body != "" {
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Content-Digest", httpsig.Digest([]byte(v.Body)))
		}
		_, member, _ := strings.Cut(v.Headers["signature-key"], "=")
		signing := toSign{
			Authority: r.URL.Host, Key: member, Created: time.Unix(vs.Created, 0),
			Components: must[*httpsig.Message](t)(httpsig.Parse(v.message(t).header)).Components,
		}
		if err := sign(r, signing, vs.signer(v)); err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
		if d := cmp.Diff(v.message(t).header, r.Header); d != "" {
			t.Errorf("%s: %s", v.Name, d)
		}
		// The same base comes of what was sent and of what arrives.
		arrived := arrive(t, r)
		for _, r := range []*http.Request{r, arrived} {
			signed := must[*httpsig.Message](t)(httpsig.Parse(r.Header))
			base := must[[]byte](t)(signed.Base(r, httpsig.Authority(arrived.Host, true)))
			if d := cmp.Diff(v.SignatureBase, string(base)); d != "" {
				t.Errorf("%s: base: %s", v.Name, d)
			}
		}
	}
}

// changes are texts that differ from text in one byte, or have one less or more;
// in the short form only one for each byte.
func changes(text string, try func(changed string)) {
	for i := range len(text) {
		before, c, after := text[:i], text[i], text[i+1:]
		try(before + string(rune(c^1)) + after)
		if testing.Short() {
			continue
		}
		try(before + string(rune(c^0x20)) + after)
		if i == 0 || c != text[i-1] { // or it is the change of the byte before
			try(before + after)
			try(before + string(rune(c)) + string(rune(c)) + after)
		}
	}
}

// TestEveryChangeIsSeen changes each byte of what a signature covers.
func TestEveryChangeIsSeen(t *testing.T) {
	vs := readVectors(t)
	query := get(t, "/files/a%2Fb?role=user", "@query")
	messages := map[string]message{"with @query": query}
	keys := map[string]jose.Key{"with @query": must[jose.Key](t)(jose.PublicKey(durable.Public()))}
	for _, v := range vs.Vectors {
		messages[v.Name] = v.message(t)
		keys[v.Name] = must[jose.Key](t)(jose.PublicKey(vs.signer(v).Public()))
	}
	tried := 0
	for name, m := range messages {
		refused := func(part, from, to string, m message) {
			tried++
			if err := m.verify(keys[name], baseFour...); err == nil {
				t.Errorf("%s: %s: %q verifies as %q", name, part, to, from)
			}
		}
		if err := m.verify(keys[name], baseFour...); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		eachChange(m, refused)
	}
	t.Logf("%d changes", tried)
}

func eachChange(m message, refused func(part, from, to string, m message)) {
	for _, part := range []struct {
		name string
		text *string
	}{{"method", &m.method}, {"authority", &m.host}, {"target", &m.target}, {"body", &m.body}} {
		text := *part.text
		covered := text
		if part.name == "target" && !strings.Contains(m.header.Get("Signature-Input"), "@query") {
			covered, _, _ = strings.Cut(text, "?")
		}
		changes(covered, func(changed string) {
			if part.name == "authority" && strings.EqualFold(changed, text) {
				return // a host has no case
			}
			*part.text = changed + text[len(covered):]
			refused(part.name, text, changed, m)
		})
		*part.text = text
	}
	for name, lines := range m.header {
		changes(lines[0], func(changed string) {
			other := m.clone()
			other.header[name] = []string{changed}
			refused(name, lines[0], changed, other)
		})
		other := m.clone()
		other.header[name] = append(lines[:1:1], lines[0])
		refused(name, "a line", "two lines", other)
		other.header.Del(name)
		refused(name, "a line", "no line", other)
	}
}
