package httpsig_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/internal/httpsig"
	"github.com/keywright/keywright/internal/jose"
)

// otherLayer are the hostile requests that this package has no reason to refuse,
// and who has.
var otherLayer = map[string]string{
	"created 61 s old":          "the verifier knows the time",
	"created far future":        "the verifier knows the time",
	"private key in the header": "the verifier knows what a scheme forbids",
}

// attack is a request with what a verifier should say of it.
type attack struct {
	ID, Name string
	Request  struct {
		Method, Authority, Target, Body string
		Headers                         [][2]string
		Base                            string `json:"signature_base"`
	}
	Expect struct{ Result string }
}

// TestAttacks has those hostile requests that bring their own key, or are
// refused before it matters.
func TestAttacks(t *testing.T) {
	var v struct{ Cases []attack }
	readShared(t, "attacks/agentauth.json", &v)
	ran, controls := 0, 0
	for _, c := range v.Cases {
		m := message{method: c.Request.Method, host: c.Request.Authority, target: c.Request.Target, body: c.Request.Body, header: http.Header{}}
		for _, h := range c.Request.Headers {
			m.header.Add(h[0], h[1])
		}
		signed, err := httpsig.Parse(m.header)
		if err == nil && signed.Scheme != "hwk" {
			continue // its key is not in the request
		}
		if otherLayer[c.Name] != "" {
			continue
		}
		ran++
		err = m.verify(jose.Key{}, append(baseFour, "content-digest", "content-type")...)
		switch {
		case c.Expect.Result != "verified" && err == nil:
			t.Errorf("%s: %s: verifies", c.ID, c.Name)
		case c.Expect.Result != "verified":
		case err != nil:
			t.Errorf("%s: %s: %v", c.ID, c.Name, err)
		default:
			controls++
			if d := cmp.Diff(c.Request.Base, string(must[[]byte](t)(m.base()))); d != "" && c.Request.Base != "" {
				t.Errorf("%s: %s: base: %s", c.ID, c.Name, d)
			}
		}
	}
	if ran != 49 || controls != 3 {
		t.Errorf("%d requests, %d of them good", ran, controls)
	}
}
