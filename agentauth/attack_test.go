package agentauth_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/keywright/keywright/agentauth"
)

// An attack is a case of testdata/agentauth.json.
type attack struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Request struct {
		Method    string      `json:"method"`
		Authority string      `json:"authority"`
		Target    string      `json:"target"`
		Headers   [][2]string `json:"headers"`
		Body      string      `json:"body"`
		Base      string      `json:"signature_base"`
	} `json:"request"`
	Expect struct {
		Result string `json:"result"`
		Status int    `json:"status"`
		Error  string `json:"signature_error"`
		JKT    string `json:"jkt"`
		Agent  string `json:"agent"`
		Issuer string `json:"iss"`
	} `json:"expect"`
}

type attacks struct {
	Now       int64                      `json:"now"`
	Resources map[string]json.RawMessage `json:"resources"`
	Cases     []attack                   `json:"cases"`
}

func readAttacks(t testing.TB) attacks {
	t.Helper()
	text, err := os.ReadFile("testdata/agentauth.json")
	must(t, err)
	var file attacks
	must(t, json.Unmarshal(text, &file))
	if file.Now != t0.Unix() || len(file.Cases) < 70 {
		t.Fatalf("not the vectors that this is made for: %d cases", len(file.Cases))
	}
	return file
}

// otherwise has the cases whose answer here is another than that of the file,
// which is older than the drafts that this package implements.
var otherwise = map[string]struct{ code, why string }{
	"missing Signature":                        {"invalid_signature", "AAuth -11 has this for missing fields"},
	"missing Signature-Input":                  {"invalid_signature", "AAuth -11 has this for missing fields"},
	"missing Signature-Key":                    {"invalid_signature", "AAuth -11 has this for missing fields"},
	"created far future":                       {"clock_skew", "HTTP Signature Keys -09 tells it from a signature that is too old"},
	"symmetric key":                            {"unsupported_algorithm", "an unknown kty is an algorithm that is not done here, whatever else is wrong"},
	`scheme sig="hwk";kt`:                      {"invalid_signature", "a scheme that is no token is a field that cannot be read"},
	"control: jwks_uri (id, signature-key-05)": {"invalid_key", "dwk is the document of a role of AAuth; any other name is path material"},
}

func (c attack) want() string {
	if o, ok := otherwise[c.Name]; ok {
		return o.code
	}
	return c.Expect.Error
}

func (c attack) request() *http.Request {
	r := httptest.NewRequest(c.Request.Method, "https://ap.example"+c.Request.Target, strings.NewReader(c.Request.Body))
	r.RequestURI, r.Host = c.Request.Target, c.Request.Authority
	for _, h := range c.Request.Headers {
		r.Header.Add(h[0], h[1])
	}
	return r
}

// attacked is a gate that knows the keys of the file's servers.
func (f attacks) attacked(t testing.TB, compat agentauth.Compat) *gate {
	t.Helper()
	g := newGate(t, func(c *agentauth.VerifierConfig) {
		c.Profile.Compat = compat
		c.Trust = func(string, agentauth.Role) bool { return true }
	})
	must(t, g.verifier.Publish("https://ap.example", agentauth.RoleAgentProvider, f.Resources["https://ap.example/jwks.json"]))
	return g
}

// covered is a policy like that of /refresh, with all schemes.
var covered = agentauth.Policy{Schemes: everything.Schemes, Pseudonyms: true, CoverBody: true}

// TestAttackVectors sends every request of the file. The keys in it have no alg,
// as HTTP Signature Keys had it before -08.
func TestAttackVectors(t *testing.T) {
	file := readAttacks(t)
	differ := 0
	for _, c := range file.Cases {
		t.Run(c.ID+" "+c.Name, func(t *testing.T) {
			g := file.attacked(t, agentauth.Compat{HWKWithoutAlg: true, CnfWithoutAlg: true})
			a := g.pass(covered, c.request())
			if code := a.code(t); code != c.want() {
				t.Errorf("got %d %q (%s), want %q", a.status, code, g.cause(), c.want())
			}
			if c.want() != c.Expect.Error {
				differ++
			}
			if c.want() != "" {
				if a.status != c.Expect.Status && c.Expect.Status != 0 || g.seen() != 0 {
					t.Errorf("status %d, want %d; %d markers", a.status, c.Expect.Status, g.seen())
				}
				return
			}
			p := a.principal(t)
			if c.Expect.JKT != "" && p.Credential != c.Expect.JKT || c.Expect.Agent != "" && p.Subject != c.Expect.Agent || c.Expect.Issuer != "" && p.Subject != c.Expect.Issuer {
				t.Errorf("principal %+v, want %+v", p, c.Expect)
			}
		})
	}
	if differ != len(otherwise) {
		t.Errorf("%d cases differ, and %d are said to", differ, len(otherwise))
	}
}

// TestAttackVectorsOfToday sends the requests of scheme hwk with the alg that keys
// have today, signed again, to a verifier without any flag; and all others as
// they are, of which none gets in that is not meant to.
func TestAttackVectorsOfToday(t *testing.T) {
	file := readAttacks(t)
	for _, c := range file.Cases {
		t.Run(c.ID+" "+c.Name, func(t *testing.T) {
			g := file.attacked(t, agentauth.Compat{})
			r := c.request()
			old := r.Header.Get("Signature-Key")
			if !strings.HasPrefix(old, "sig=hwk") {
				in := c.Name == "control: jwt (agent token)" // whose keys have their alg
				if a := g.pass(covered, r); (a.status == 200) != in || (g.seen() != 0) != in {
					t.Errorf("%d %s", a.status, a.body)
				}
				return
			}
			alg, key := `;alg="Ed25519"`, crypto.Signer(rfcEd25519(t))
			if strings.Contains(old, "P-256") {
				alg, key = `;alg="ES256"`, rfcP256(t)
			}
			r.Header.Set("Signature-Key", old+alg)
			if signature := r.Header.Get("Signature"); signature != "" && !strings.Contains(c.Name, "small-order") {
				base := strings.Replace(c.Request.Base, old, old+alg, 1)
				label, _, _ := strings.Cut(signature, "=")
				r.Header.Set("Signature", label+"=:"+base64.StdEncoding.EncodeToString(signBytes(t, key, []byte(base)))+":")
			}
			g.wants(c.want(), covered, r)
			if c.want() != "" && g.seen() != 0 {
				t.Errorf("%d markers", g.seen())
			}
		})
	}
}

// rfcEd25519 is the key of RFC 9421, appendix B.1.4, which the file is signed with.
func rfcEd25519(t testing.TB) ed25519.PrivateKey {
	seed, err := b64.DecodeString("n4Ni-HpISpVObnQMW0wOhCKROaIKqKtW_2ZYb2p9KcU")
	must(t, err)
	return ed25519.NewKeyFromSeed(seed)
}

// rfcP256 is that of appendix B.1.3.
func rfcP256(t testing.TB) *ecdsa.PrivateKey {
	d, err := b64.DecodeString("UpuF81l-kOxbjf7T4mNSv0r5tN67Gim7rnf6EFpcYDs")
	must(t, err)
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d)
	must(t, err)
	return key
}
