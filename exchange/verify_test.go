package exchange_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/exchange"
	"github.com/keywright/keywright/exchange/exchangetest"
	"github.com/keywright/keywright/store"
)

// changes replace claims of a good token; nil leaves one out.
type changes = map[string]any

const accepted = "accepted" // instead of a class of refusal

// wantClass posts a token and wants what class says.
func (w *world) wantClass(name, token, class string) {
	w.t.Helper()
	before := w.records()
	a := w.post(token)
	if class == accepted {
		if a.status != 200 || a.key() == "" {
			w.t.Errorf("%s: got %d %s, want a key; heard %+v", name, a.status, a.body, w.last())
		}
		return
	}
	w.checkRefused(name, a, class)
	w.checkSecret(name, a, token)
	if diff := cmp.Diff(before, w.records()); diff != "" {
		w.t.Errorf("%s: the store has changed (-before +after):\n%s", name, diff)
	}
}

// B5, B6 and B9: the claims that verification decides about.
func TestRegisteredClaims(t *testing.T) {
	now := t0.Unix()
	null := json.RawMessage("null")
	w := newWorld(t, []exchange.Publisher{github()})
	for _, tt := range []struct {
		name   string
		change changes
		class  string
	}{
		{"as it is", nil, accepted},
		{"expired 29 s ago", changes{"iat": now - 300, "nbf": nil, "exp": now - 29}, accepted},
		{"expired 30 s ago (EXC-11)", changes{"iat": now - 300, "nbf": nil, "exp": now - 30}, "verif"},
		{"no exp (EXC-11)", changes{"exp": nil}, "verif"},
		{"exp null", changes{"exp": null}, "verif"},
		{"exp a string", changes{"exp": "1767225900"}, "verif"},
		{"exp with a fraction", changes{"exp": json.RawMessage("1767225900.5")}, "verif"},
		{"exp with an exponent", changes{"exp": json.RawMessage("1.7672259e9")}, "verif"},
		{"exp negative", changes{"iat": -600, "exp": -1}, "verif"},
		{"exp beyond all integers", changes{"exp": json.RawMessage("99999999999999999999")}, "verif"},
		{"exp in milliseconds", changes{"exp": (now + 300) * 1000}, "verif"},

		{"from 30 s ahead", changes{"nbf": now + 30}, accepted},
		{"from 31 s ahead (EXC-11)", changes{"nbf": now + 31}, "verif"},
		{"no nbf", changes{"nbf": nil}, accepted},
		{"nbf null", changes{"nbf": null}, "verif"},
		{"nbf a string", changes{"nbf": "0"}, "verif"},
		{"nbf zero", changes{"nbf": 0}, accepted},

		{"issued 30 s ahead", changes{"iat": now + 30, "exp": now + 330}, accepted},
		{"issued 31 s ahead (EXC-11)", changes{"iat": now + 31, "exp": now + 330}, "verif"},
		{"no iat (EXC-11)", changes{"iat": nil}, "verif"},
		{"iat null", changes{"iat": null}, "verif"},
		{"iat a string", changes{"iat": "1767225600"}, "verif"},
		{"exp at iat", changes{"iat": now, "exp": now}, "verif"},
		{"exp before iat", changes{"iat": now, "exp": now - 1}, "verif"},
		{"for 24 hours", changes{"exp": now + 86400}, accepted},
		{"for a second more (EXC-11)", changes{"exp": now + 86401}, "verif"},
		{"for 24 hours, from the past", changes{"iat": now - 86000, "exp": now + 400}, accepted},

		{"aud as a list of one", changes{"aud": []string{audience}}, accepted},
		{"aud as a list with another (EXC-10)", changes{"aud": []string{audience, "https://other.example"}}, ""},
		{"aud as a list with another before", changes{"aud": []string{"https://other.example", audience}}, ""},
		{"aud twice in a list", changes{"aud": []string{audience, audience}}, ""},
		{"aud and an empty one", changes{"aud": []string{audience, ""}}, ""},
		{"aud an empty list", changes{"aud": []string{}}, ""},
		{"no aud (EXC-10)", changes{"aud": nil}, ""},
		{"aud empty", changes{"aud": ""}, ""},
		{"aud null", changes{"aud": null}, ""},
		{"aud a number", changes{"aud": 5}, ""},
		{"aud an object", changes{"aud": changes{audience: true}}, ""},
		{"aud a list of a list", changes{"aud": [][]string{{audience}}}, ""},
		{"aud with ours as a prefix (EXC-10)", changes{"aud": audience + "/x"}, ""},
		{"aud a prefix of ours", changes{"aud": "https://connect"}, ""},
		{"aud with a slash", changes{"aud": audience + "/"}, ""},
		{"aud with a port", changes{"aud": audience + ":443"}, ""},
		{"aud in another case (EXC-10)", changes{"aud": "https://CONNECT.example"}, ""},
		{"aud with a space", changes{"aud": audience + " "}, ""},
		{"aud the server's URL, which is not the audience here", changes{"aud": w.url}, ""},
		{"aud GitHub's default", changes{"aud": "https://github.com/octo-org"}, ""},

		{"iss with a slash", changes{"iss": w.issuer.URL() + "/"}, "verif"},
		{"iss in upper case", changes{"iss": strings.ToUpper(w.issuer.URL())}, "verif"},
		{"iss of another scheme", changes{"iss": strings.Replace(w.issuer.URL(), "http:", "https:", 1)}, "verif"},
		{"iss without a scheme", changes{"iss": strings.TrimPrefix(w.issuer.URL(), "http://")}, "verif"},
		{"iss with a space", changes{"iss": w.issuer.URL() + " "}, "verif"},
		{"iss another name of the host", changes{"iss": strings.Replace(w.issuer.URL(), "127.0.0.1", "localhost", 1)}, "verif"},
		{"iss a list (EXC-09)", changes{"iss": []string{w.issuer.URL()}}, "verif"},
		{"iss a number (EXC-09)", changes{"iss": 5}, "verif"},
		{"iss null (EXC-09)", changes{"iss": null}, "verif"},
		{"no iss (EXC-09)", changes{"iss": nil}, "verif"},
		{"iss empty", changes{"iss": ""}, "verif"},
	} {
		w.wantClass(tt.name, w.issuer.GitHub(tt.change), tt.class)
	}
}

// Names of claims are exact: neither another case nor a second spelling counts.
func TestNamesOfClaims(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	text := payload(w.issuer.GitHub(nil))
	edit := func(old, new string) string {
		if !bytes.Contains(text, []byte(old)) {
			t.Fatalf("no %s in the claims", old)
		}
		return w.issuer.RawToken(w.header(""), bytes.Replace(text, []byte(old), []byte(new), 1))
	}
	w.wantClass("as it is", edit("{", "{ "), accepted)
	text = payload(w.issuer.GitHub(nil))
	w.wantClass("exp twice", edit(`"exp":`, `"exp":0,"exp":`), "verif")
	w.wantClass("aud twice", edit(`"aud":`, `"aud":"x","aud":`), "verif")
	w.wantClass("repository_id twice", edit(`"repository_id":`, `"repository_id":"1","repository_id":`), "verif")
	w.wantClass("a name twice, once escaped", edit(`"repository_id":`, `"repositor\u0079_id":"1","repository_id":`), "verif")
	w.wantClass("names in another case", edit(`"repository_id":`, `"Repository_ID":`), "")
	w.wantClass("Exp", edit(`"exp":`, `"Exp":`), "verif")
	w.wantClass("Aud", edit(`"aud":`, `"Aud":`), "")
	w.wantClass("jti in another case", edit(`"jti":`, `"JTI":`), "")
	w.wantClass("claims in another case beside the good ones", edit("{", `{"Repository_ID":"1","EXP":0,"AUD":"x","ISS":"x",`), accepted)
}

// B1 and B3: the form of a token, and its header.
func TestFormOfTokens(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	token := func() string { return w.issuer.GitHub(nil) }
	kid := w.issuer.KeyID()
	parts := strings.Split(token(), ".")
	for name, text := range map[string]string{
		"no dot": "x", "two parts": parts[0] + "." + parts[1], "no signature": parts[0] + "." + parts[1] + ".", "no payload": parts[0] + ".." + parts[2],
		"no header": "." + parts[1] + "." + parts[2], "four parts": token() + ".x", "five parts, encrypted": "a.b.c.d.e", "spaces": parts[0] + ". " + parts[1] + "." + parts[2],
		"padded": parts[0] + "=." + parts[1] + "." + parts[2], "a line break": token() + "\n", "a Bearer before": "Bearer " + token(), "JSON": `{"payload":""}`,
		"a payload that is no JSON":       w.issuer.RawToken(w.header(""), []byte("x")),
		"a payload that is a list":        w.issuer.RawToken(w.header(""), []byte("[]")),
		"a payload with more behind":      w.issuer.RawToken(w.header(""), append(payload(token()), '{', '}')),
		"a payload that is no UTF-8":      w.issuer.RawToken(w.header(""), bytes.Replace(payload(token()), []byte("octocat"), []byte("octo\xff"), 1)),
		"a header that is no JSON":        w.issuer.RawToken([]byte("x"), payload(token())),
		"alg twice":                       w.issuer.RawToken(w.header(`,"alg":"none"`), payload(token())),
		"b64":                             w.issuer.RawToken(w.header(`,"b64":false`), payload(token())),
		"zip":                             w.issuer.RawToken(w.header(`,"zip":"DEF"`), payload(token())),
		"cty":                             w.issuer.RawToken(w.header(`,"cty":"JWT"`), payload(token())),
		"alg in another case":             w.issuer.RawToken([]byte(`{"alg":"rs256","kid":"`+kid+`"}`), payload(token())),
		"alg RS512":                       w.issuer.RawToken([]byte(`{"alg":"RS512","kid":"`+kid+`"}`), payload(token())),
		"alg PS256":                       w.issuer.RawToken([]byte(`{"alg":"PS256","kid":"`+kid+`"}`), payload(token())),
		"alg none (EXC-01)":               w.issuer.RawToken([]byte(`{"alg":"none","kid":"`+kid+`"}`), payload(token())),
		"alg HS256":                       w.issuer.RawToken([]byte(`{"alg":"HS256","kid":"`+kid+`"}`), payload(token())),
		"alg a list":                      w.issuer.RawToken([]byte(`{"alg":["RS256"],"kid":"`+kid+`"}`), payload(token())),
		"no alg":                          w.issuer.RawToken([]byte(`{"kid":"`+kid+`"}`), payload(token())),
		"no kid":                          w.issuer.RawToken([]byte(`{"alg":"RS256"}`), payload(token())),
		"kid empty":                       w.issuer.RawToken([]byte(`{"alg":"RS256","kid":""}`), payload(token())),
		"kid a number":                    w.issuer.RawToken([]byte(`{"alg":"RS256","kid":5}`), payload(token())),
		"kid of no key":                   w.issuer.RawToken([]byte(`{"alg":"RS256","kid":"x"}`), payload(token())),
		"typ of an access token":          w.issuer.RawToken([]byte(`{"alg":"RS256","typ":"at+jwt","kid":"`+kid+`"}`), payload(token())),
		"typ of a logout token":           w.issuer.RawToken([]byte(`{"alg":"RS256","typ":"logout+jwt","kid":"`+kid+`"}`), payload(token())),
		"typ a number":                    w.issuer.RawToken([]byte(`{"alg":"RS256","typ":5,"kid":"`+kid+`"}`), payload(token())),
		"the payload of one and the rest": parts[0] + "." + strings.Split(w.issuer.GitHub(changes{"run_id": "1"}), ".")[1] + "." + parts[2],
		"longer than 8 KiB":               w.issuer.RawToken(w.header(""), bytes.Replace(payload(token()), []byte("octocat"), bytes.Repeat([]byte("o"), 8<<10), 1)),
	} {
		w.wantClass(name, text, "verif")
	}
	for name, text := range map[string]string{
		"no typ":             w.issuer.RawToken([]byte(`{"alg":"RS256","kid":"`+kid+`"}`), payload(token())),
		"typ in lower case":  w.issuer.RawToken([]byte(`{"alg":"RS256","typ":"jwt","kid":"`+kid+`"}`), payload(token())),
		"x5t, as GitHub has": w.issuer.RawToken(w.header(`,"x5t":"`+kid+`"`), payload(token())),
	} {
		w.wantClass(name, text, accepted)
	}
}

// B3: which algorithms an issuer may use is the operator's to say, not the
// token's, though the issuer has keys for all of them.
func TestAlgorithms(t *testing.T) {
	for _, tt := range []struct{ configured, good string }{
		{"", "RS256"}, {"RS256", "RS256"}, {"ES256", "ES256"}, {"EdDSA", "EdDSA"}, {"Ed25519", "EdDSA"}, {"RS256 ES256", "RS256 ES256"}, {"ES256 EdDSA RS256", "RS256 ES256 EdDSA"},
	} {
		c := new(clock)
		signers := make(map[string]*exchangetest.Issuer)
		for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
			i := exchangetest.NewIssuer(t)
			i.Now, i.Audience, i.Algorithm = c.Now, audience, alg
			signers[alg] = i
			var publishers []exchange.Publisher
			w := worldOn(t, &store.Memory{Now: c.Now}, c, i, "", append(publishers, github()), func(cfg *exchange.Config) {
				cfg.Issuers = []exchange.Issuer{{URL: i.URL(), Algorithms: strings.Fields(tt.configured)}}
			})
			class := "verif"
			if strings.Contains(tt.good, alg) {
				class = accepted
			}
			w.wantClass(tt.configured+": "+alg+" (EXC-04)", i.GitHub(nil), class)
		}
	}
}

// B2, E6: the keys of one issuer are not those of another.
func TestIssuersAreNotConfused(t *testing.T) {
	other := exchangetest.NewIssuer(t)
	second := func(p *exchange.Publisher) { p.ID, p.Issuer, p.Subject = "second", other.URL(), "other" }
	w := newWorld(t, []exchange.Publisher{github(), github(second)})
	other.Now, other.Audience = w.clock.Now, audience
	w.wantClass("the other's key", other.GitHub(changes{"iss": w.issuer.URL()}), "verif")
	w.wantClass("the other's key by our key's id", other.RawToken(w.header(""), payload(w.issuer.GitHub(nil))), "verif")
	w.wantClass("its own key for the other's tokens", w.issuer.GitHub(changes{"iss": other.URL()}), "verif")
	w.wantClass("as it is", w.issuer.GitHub(nil), accepted)
	if a := w.post(other.GitHub(nil)); a.status != 200 {
		t.Errorf("the other's: got %d %s", a.status, a.body)
	}
	issued := w.events("exchange.issued")
	if len(issued) != 2 || issued[0].Attrs["subject"] != "deployer" || issued[1].Attrs["subject"] != "other" {
		t.Errorf("heard %+v", issued)
	}
}

// B2 and B4: cheap and local checks come before any fetch, and of an issuer
// that nobody trusts, or no longer, nothing is fetched.
func TestNothingIsFetchedInVain(t *testing.T) {
	bystander := exchangetest.NewIssuer(t) // has settings, but no publisher
	w := newWorld(t, []exchange.Publisher{github()}, func(c *exchange.Config) {
		c.Issuers = []exchange.Issuer{{URL: bystander.URL()}}
	})
	bystander.Now, bystander.Audience = w.clock.Now, audience
	w.wantClass("an issuer with settings alone", bystander.GitHub(nil), "verif")
	kid := w.issuer.KeyID()
	for name, header := range map[string]string{
		"alg none": `{"alg":"none","kid":"` + kid + `"}`, "ES256": `{"alg":"ES256","kid":"` + kid + `"}`, "HS256": `{"alg":"HS256","kid":"` + kid + `"}`,
		"no kid": `{"alg":"RS256"}`, "typ": `{"alg":"RS256","typ":"at+jwt","kid":"` + kid + `"}`, "jku": `{"alg":"RS256","kid":"` + kid + `","jku":"` + w.issuer.URL() + `"}`,
	} {
		w.wantClass(name, w.issuer.RawToken([]byte(header), payload(w.issuer.GitHub(nil))), "verif")
	}
	if err := w.DisableIssuer(t.Context(), operator, w.issuer.URL()); err != nil {
		t.Fatal(err)
	}
	token := w.issuer.GitHub(nil)
	w.wantClass("a disabled issuer", token, "verif")
	for _, i := range []*exchangetest.Issuer{w.issuer, bystander} {
		if discovery, jwks := i.Fetches(); discovery+jwks != 0 {
			t.Errorf("%d and %d fetches, want none", discovery, jwks)
		}
	}
	if err := w.EnableIssuer(t.Context(), operator, w.issuer.URL()); err != nil {
		t.Fatal(err)
	}
	w.wantClass("enabled again", token, accepted)
}

// B5: an operator may want shorter lives.
func TestMaxLifetime(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()}, nil...)
	i := w.issuer
	w = worldOn(t, &store.Memory{Now: w.clock.Now}, w.clock, i, "", []exchange.Publisher{github()}, func(c *exchange.Config) {
		c.Issuers = []exchange.Issuer{{URL: i.URL(), MaxLifetime: 10 * time.Minute}}
	})
	w.wantClass("ten minutes", i.GitHub(changes{"exp": t0.Unix() + 600}), accepted)
	w.wantClass("a second more", i.GitHub(changes{"exp": t0.Unix() + 601}), "verif")
}

// B9: providers whose tokens have no jti need none; where there is one all the
// same, it must be a good one.
func TestTokensWithoutID(t *testing.T) {
	for provider, bound := range map[exchange.Provider]map[string]exchange.Values{
		exchange.Buildkite: {"organization_slug": {"acme-inc"}, "pipeline_slug": {"super-duper-app"}},
		exchange.Generic:   {"sub": {"organization:acme-inc"}},
	} {
		p := exchange.Publisher{ID: "p", Provider: provider, Subject: "s", Scopes: []string{"x"}, Claims: bound}
		w := newWorld(t, []exchange.Publisher{p})
		token := func(id any) string { return w.issuer.Buildkite(changes{"sub": "organization:acme-inc", "jti": id}) }
		none := accepted
		if provider == exchange.Generic {
			none = ""
		}
		w.wantClass(string(provider)+": none", token(nil), none)
		w.wantClass(string(provider)+": good", token("1"), accepted)
		w.wantClass(string(provider)+": the same again", w.issuer.Buildkite(changes{"sub": "organization:acme-inc", "jti": "1", "build_number": 1}), "")
		for name, id := range map[string]any{"null": json.RawMessage("null"), "empty": "", "a number": 5, "too long": strings.Repeat("j", 257)} {
			w.wantClass(string(provider)+": "+name, token(id), "")
		}
		if provider != exchange.Generic {
			w.wantClass("another build", w.issuer.Buildkite(changes{"sub": "organization:acme-inc", "build_number": 422}), accepted)
		}
	}
}
