package apptoken

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/exchange/exchangetest"
	"github.com/keywright/keywright/internal/jose"
)

// suClaims replace claims of a good token; nil leaves one out.
type suClaims = map[string]any

const suSub = "system:serviceaccount:quay:bootstrap"

// An oidcWorld has one service account.
type oidcWorld struct {
	*suWorld
	issuer *exchangetest.Issuer
	edits  []func(*ZeroTouch)
}

func newOIDCWorld(t testing.TB, edit ...func(*ZeroTouch)) *oidcWorld {
	t.Helper()
	w := &oidcWorld{issuer: exchangetest.NewIssuer(t)}
	w.edits = append([]func(*ZeroTouch){func(c *ZeroTouch) {
		c.Network.InsecureLoopback, c.Guesses.Burst = true, -1
		c.ServiceAccounts = []ServiceAccount{{Issuer: w.issuer.URL(), Subject: suSub, Name: "deployer"}}
	}}, edit...)
	w.suWorld = newSuWorld(t, w.edits...)
	w.issuer.Now, w.issuer.Audience = w.now, suURL
	return w
}

// token is one of the service account.
func (w *oidcWorld) token(change suClaims) string {
	w.t.Helper()
	claims := suClaims{"sub": suSub}
	for name, value := range change {
		claims[name] = value
	}
	return w.issuer.Token(claims)
}

// header is that of the issuer's tokens, with members added.
func (w *oidcWorld) header(members string) []byte {
	return fmt.Appendf(nil, `{"alg":"RS256","typ":"JWT","kid":%q%s}`, w.issuer.KeyID(), members)
}

func suPayload(token string) []byte {
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		panic(err)
	}
	return text
}

// check sends a token that is to be refused for class, or let in if that is empty.
func (w *oidcWorld) check(name, token, class string) {
	w.t.Helper()
	r := suRequest("Bearer " + token)
	if class == "" {
		w.wantIn(name, r)
		return
	}
	e := w.wantOut(name, r, keywright.CodeInvalidToken, "")
	if got := e.Header.Get("WWW-Authenticate"); got != `Bearer error="invalid_token", `+suRealm {
		w.t.Errorf("%s: challenge %s", name, got)
	}
	said := w.last()
	if said.Attrs["class"] != class || said.Attrs["auth_method"] != "OIDC" || len(said.Attrs["token"]) != 64 {
		w.t.Errorf("%s: heard %+v, want %s", name, said, class)
	}
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 10 && strings.Contains(fmt.Sprint(said), part) {
			w.t.Errorf("%s: the audit has a part of the token: %+v", name, said)
		}
	}
}

func TestServiceAccount(t *testing.T) {
	w := newOIDCWorld(t, func(c *ZeroTouch) { c.Label = "LDAP" })
	token := w.token(suClaims{"jti": "id/1", "azp": "x"})
	p := w.wantIn("good", suRequest("Bearer "+token))
	parsed, err := jose.Parse(token)
	if err != nil {
		t.Fatal(err)
	}
	digest := fmt.Sprintf("%x", parsed.Digest())
	want := keywright.Principal{
		Method: keywright.MethodProvisioning, Issuer: w.issuer.URL(), Subject: "deployer", Credential: "oidc:deployer", Scopes: Scopes(),
		Attrs:   map[string]string{"super_user": "true", "auth_method": "OIDC", "sub": suSub, "token": digest, "identity": p.Attrs["identity"]},
		Expires: suStart.Add(5 * time.Minute), Claims: suPayload(token),
	}
	if diff := cmp.Diff(want, p); diff != "" || !strings.HasSuffix(p.Attrs["identity"], "/id%2F1") {
		t.Errorf("%v (-want +got):\n%s", p.Attrs, diff)
	}
	event := keywright.Event{
		Time: suStart, Name: "apptoken.super_user", Actor: "oidc:deployer", Remote: "192.0.2.1",
		Attrs: map[string]string{"auth_method": "OIDC", "user": "deployer", "issuer": w.issuer.URL(), "sub": suSub, "token": digest},
	}
	if diff := cmp.Diff(event, w.last()); diff != "" {
		t.Errorf("heard (-want +got):\n%s", diff)
	}
	w.wantIn("scheme in lower case", suRequest("bearer "+token))
	w.check("another audience", w.token(suClaims{"aud": "x"}), "audience")
	if said := w.last(); said.Attrs["issuer"] != w.issuer.URL() || said.Detail == "" {
		t.Errorf("heard %+v", said)
	}
}

// B5, B6 and B9: the claims that verification decides about.
func TestClaimsOfServiceAccounts(t *testing.T) {
	w := newOIDCWorld(t)
	now := suStart.Unix()
	null := json.RawMessage("null")
	for _, tt := range []struct {
		name   string
		change suClaims
		class  string
	}{
		{"as it is", nil, ""},
		{"expired 29 s ago", suClaims{"iat": now - 300, "nbf": nil, "exp": now - 29}, ""},
		{"expired 30 s ago", suClaims{"iat": now - 300, "nbf": nil, "exp": now - 30}, "time"},
		{"no exp", suClaims{"exp": nil}, "time"},
		{"exp a string", suClaims{"exp": "1767225900"}, "time"},
		{"exp in milliseconds", suClaims{"exp": (now + 300) * 1000}, "time"},
		{"from 31 s ahead", suClaims{"nbf": now + 31}, "time"},
		{"issued 31 s ahead", suClaims{"iat": now + 31, "exp": now + 330}, "time"},
		{"no iat", suClaims{"iat": nil}, "time"},
		{"exp at iat", suClaims{"iat": now, "exp": now}, "time"},
		{"for 24 hours", suClaims{"exp": now + 86400}, ""},
		{"for a second more", suClaims{"exp": now + 86401}, "time"},

		{"aud as a list of one", suClaims{"aud": []string{suURL}}, ""},
		{"aud as a list with another", suClaims{"aud": []string{suURL, "https://other.example"}}, "audience"},
		{"no aud", suClaims{"aud": nil}, "audience"},
		{"aud empty", suClaims{"aud": ""}, "audience"},
		{"aud a number", suClaims{"aud": 5}, "audience"},
		{"aud with ours as a prefix", suClaims{"aud": suURL + "/x"}, "audience"},
		{"aud a prefix of ours", suClaims{"aud": "https://quay.example"}, "audience"},
		{"aud with a slash", suClaims{"aud": suURL + "/"}, "audience"},
		{"aud in another case", suClaims{"aud": "https://QUAY.example/api"}, "audience"},

		{"iss with a slash", suClaims{"iss": w.issuer.URL() + "/"}, "issuer"},
		{"iss in upper case", suClaims{"iss": strings.ToUpper(w.issuer.URL())}, "issuer"},
		{"iss a list", suClaims{"iss": []string{w.issuer.URL()}}, "issuer"},
		{"no iss", suClaims{"iss": nil}, "issuer"},
		{"iss empty", suClaims{"iss": ""}, "issuer"},

		{"no jti", suClaims{"jti": nil}, ""},
		{"jti null", suClaims{"jti": null}, "jti"},
		{"jti empty", suClaims{"jti": ""}, "jti"},
		{"jti a number", suClaims{"jti": 5}, "jti"},
		{"jti too long", suClaims{"jti": strings.Repeat("j", 257)}, "jti"},

		{"no sub", suClaims{"sub": nil}, "no match"},
		{"sub null", suClaims{"sub": null}, "no match"},
		{"sub empty", suClaims{"sub": ""}, "no match"},
		{"sub a list", suClaims{"sub": []string{suSub}}, "no match"},
		{"sub of another", suClaims{"sub": suSub + "2"}, "no match"},
		{"sub a prefix", suClaims{"sub": suSub[:10]}, "no match"},
		{"sub in another case", suClaims{"sub": strings.ToUpper(suSub)}, "no match"},
		{"sub with a letter that is not seen", suClaims{"sub": suSub + "\u200b"}, "no match"},
		{"sub with a space", suClaims{"sub": suSub + " "}, "no match"},
		{"sub the super user's name", suClaims{"sub": "deployer"}, "no match"},
	} {
		w.check(tt.name, w.token(tt.change), tt.class)
	}
}

func TestNamesOfClaimsOfServiceAccounts(t *testing.T) {
	w := newOIDCWorld(t)
	edit := func(old, new string) string {
		text := suPayload(w.token(nil))
		if !bytes.Contains(text, []byte(old)) {
			t.Fatalf("no %s in the claims", old)
		}
		return w.issuer.RawToken(w.header(""), bytes.Replace(text, []byte(old), []byte(new), 1))
	}
	w.check("as it is", edit("{", "{ "), "")
	w.check("sub twice", edit(`"sub":`, `"sub":"x","sub":`), "issuer")
	w.check("aud twice", edit(`"aud":`, `"aud":"x","aud":`), "issuer")
	w.check("sub twice, once escaped", edit(`"sub":`, `"s\u0075b":"x","sub":`), "issuer")
	w.check("Sub", edit(`"sub":`, `"Sub":`), "no match")
	w.check("Aud", edit(`"aud":`, `"Aud":`), "audience")
	w.check("Exp", edit(`"exp":`, `"Exp":`), "time")
}

// B1 and B3: the form of a token and its header. All of these are meant to be
// JWTs, and none is anybody else's.
func TestFormOfIdentityTokens(t *testing.T) {
	w := newOIDCWorld(t)
	good, kid := w.token(nil), w.issuer.KeyID()
	parts := strings.Split(good, ".")
	raw := func(header string, payload []byte) string { return w.issuer.RawToken([]byte(header), payload) }
	long := w.issuer.RawToken(w.header(""), bytes.Replace(suPayload(good), []byte("{"), []byte(`{"x":"`+strings.Repeat("o", 6000)+`",`), 1))
	for name, tt := range map[string]struct{ token, class string }{
		"no signature":                    {parts[0] + "." + parts[1] + ".", "malformed"},
		"no payload":                      {parts[0] + ".." + parts[2], "malformed"},
		"a payload that is a list":        {w.issuer.RawToken(w.header(""), []byte("[]")), "issuer"},
		"a payload that is no JSON":       {w.issuer.RawToken(w.header(""), []byte("x")), "issuer"},
		"a header that is no JSON":        {raw("{", suPayload(good)), "malformed"},
		"space before the header":         {raw(" \n{", suPayload(good)), "malformed"},
		"alg twice":                       {w.issuer.RawToken(w.header(`,"alg":"none"`), suPayload(good)), "malformed"},
		"crit":                            {w.issuer.RawToken(w.header(`,"crit":["x"],"x":1`), suPayload(good)), "malformed"},
		"jku":                             {w.issuer.RawToken(w.header(`,"jku":"`+w.issuer.URL()+`"`), suPayload(good)), "malformed"},
		"jwk":                             {w.issuer.RawToken(w.header(`,"jwk":{}`), suPayload(good)), "malformed"},
		"alg none":                        {raw(`{"alg":"none","kid":"`+kid+`"}`, suPayload(good)), "algorithm"},
		"alg HS256":                       {raw(`{"alg":"HS256","kid":"`+kid+`"}`, suPayload(good)), "algorithm"},
		"alg RS512":                       {raw(`{"alg":"RS512","kid":"`+kid+`"}`, suPayload(good)), "algorithm"},
		"no kid":                          {raw(`{"alg":"RS256"}`, suPayload(good)), "key"},
		"kid of no key":                   {raw(`{"alg":"RS256","kid":"x"}`, suPayload(good)), "key"},
		"typ of an access token":          {raw(`{"alg":"RS256","typ":"at+jwt","kid":"`+kid+`"}`, suPayload(good)), "malformed"},
		"the payload of one and the rest": {parts[0] + "." + strings.Split(w.token(suClaims{"x": "y"}), ".")[1] + "." + parts[2], "signature"},
		"longer than 8 KiB":               {long, "malformed"},
	} {
		w.check(name, tt.token, tt.class)
	}
	w.check("as it is", good, "")
	w.check("no typ", raw(`{"alg":"RS256","kid":"`+kid+`"}`, suPayload(good)), "")
}
