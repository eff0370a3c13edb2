package exchange_test

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/exchange"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/store"
)

// vectors are the tokens that an independent program has made.
type vectors struct {
	Issuer   string          `json:"issuer"`
	Audience string          `json:"audience"`
	JWKS     json.RawMessage `json:"jwks"`
	Now      int64           `json:"now"`
	Cases    []struct {
		ID     string `json:"id"`
		Name   string `json:"name"`
		Token  string `json:"subject_token"`
		Expect struct {
			Status   int    `json:"status"`
			Error    string `json:"error"`
			Contains string `json:"description_contains"`
		} `json:"expect"`
	} `json:"cases"`
}

func readVectors(t *testing.T) vectors {
	t.Helper()
	text, err := os.ReadFile("testdata/exchange.json")
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestVectors plays the ready-made tokens of the attack catalogue.
func TestVectors(t *testing.T) {
	v := readVectors(t)
	if v.Now != t0.Unix() || v.Audience != audience || len(v.Cases) < 31 {
		t.Fatalf("the vectors are others than the fixture is made for: %d %s, %d cases", v.Now, v.Audience, len(v.Cases))
	}
	policy := exchange.Publisher{
		ID: "release", Provider: exchange.GitHub, Issuer: v.Issuer, Subject: "deployer", Scopes: []string{"deploy"},
		Claims: map[string]exchange.Values{
			"repository": {"octo-org/app"}, "repository_id": {"456789"}, "repository_owner_id": {"123456"},
			"workflow_file": {"release.yml"}, "ref": {"refs/heads/main"}, "environment": {"prod"},
		},
	}
	for _, tt := range v.Cases {
		t.Run(tt.ID+" "+tt.Name, func(t *testing.T) {
			w := newWorld(t, []exchange.Publisher{policy}, func(c *exchange.Config) {
				c.Issuers = []exchange.Issuer{{URL: v.Issuer, JWKS: v.JWKS}}
			})
			if tt.Expect.Status == 200 {
				w.wantKey(tt.Token)
				return
			}
			before := w.records()
			a := w.post(tt.Token)
			w.checkOAuth(tt.Name, a)
			w.checkSecret(tt.Name, a, tt.Token)
			description := a.text("error_description")
			if a.status != tt.Expect.Status || a.text("error") != tt.Expect.Error || !strings.Contains(description, tt.Expect.Contains) {
				t.Errorf("got %d %s, want %+v", a.status, a.body, tt.Expect)
			}
			if diff := cmp.Diff(before, w.records()); diff != "" {
				t.Errorf("the store has changed (-before +after):\n%s", diff)
			}
			for _, c := range v.Cases {
				if c.ID == "EXC-00" {
					w.wantKey(c.Token) // the genuine token is none the worse
				}
			}
		})
	}
}

// A canary counts the connections that somebody made to it.
type canary struct {
	url   string
	calls atomic.Int64
}

func newCanary(t *testing.T) *canary {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c := &canary{url: "http://" + l.Addr().String()}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.calls.Add(1)
			conn.Close()
		}
	}()
	return c
}

// header is what the world's issuer would write, with members added.
func (w *world) header(members string) []byte {
	return []byte(`{"alg":"RS256","typ":"JWT","kid":"` + w.issuer.KeyID() + `"` + members + `}`)
}

// payload is that of a token.
func payload(token string) []byte {
	text, _ := jose.Parse(token) // only to see that it is one
	if text == nil {
		return nil
	}
	return decodeSegment(strings.Split(token, ".")[1])
}

// EXC-06 and EXC-07: nothing that a token says is dialled.
func TestNothingThatATokenSaysIsDialled(t *testing.T) {
	bird := newCanary(t)
	w := newWorld(t, []exchange.Publisher{github()})
	good := w.issuer.GitHub(nil)
	for name, token := range map[string]string{
		"EXC-06 jku":                         w.issuer.RawToken(w.header(`,"jku":"`+bird.url+`"`), payload(good)),
		"EXC-06 x5u":                         w.issuer.RawToken(w.header(`,"x5u":"`+bird.url+`"`), payload(good)),
		"EXC-06 jwk":                         w.issuer.RawToken(w.header(`,"jwk":{"kty":"RSA","n":"AQAB","e":"AQAB"}`), payload(good)),
		"EXC-06 x5c":                         w.issuer.RawToken(w.header(`,"x5c":["AQAB"]`), payload(good)),
		"crit":                               w.issuer.RawToken(w.header(`,"crit":["exp"]`), payload(good)),
		"EXC-07 another issuer":              w.issuer.GitHub(map[string]any{"iss": bird.url}),
		"EXC-07 below the issuer":            w.issuer.GitHub(map[string]any{"iss": w.issuer.URL() + "/x"}),
		"EXC-07 the issuer with a user name": w.issuer.GitHub(map[string]any{"iss": strings.Replace(w.issuer.URL(), "//", "//x@", 1)}),
		"EXC-07 a file":                      w.issuer.GitHub(map[string]any{"iss": "file:///etc/passwd"}),
	} {
		before := w.records()
		a := w.wantRefused(name, token, "verif")
		w.checkSecret(name, a, token)
		if diff := cmp.Diff(before, w.records()); diff != "" {
			t.Errorf("%s: the store has changed (-before +after):\n%s", name, diff)
		}
	}
	if discovery, jwks := w.issuer.Fetches(); discovery+jwks+int(bird.calls.Load()) != 0 {
		t.Errorf("%d and %d requests to the issuer, %d to the canary; want none", discovery, jwks, bird.calls.Load())
	}
	w.wantKey(good)
}

// EXC-43, E19: what a key is, and what is kept of it.
func TestMintedKey(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	token := w.issuer.GitHub(nil)
	a := w.post(token)
	w.checkOAuth("EXC-43", a)
	seconds, isNumber := a.fields["expires_in"].(float64)
	if a.status != 200 || !isNumber || seconds != 900 || a.text("issued_token_type") != tokenTypes+"access_token" || a.text("token_type") != "Bearer" || a.text("scope") != allScopes {
		t.Errorf("got %d %s", a.status, a.body)
	}
	w.checkSecret("EXC-43", answer{}, token, a.key())
	w.checkStore(token, a.key())
	info, err := w.host.Keys.Check(t.Context(), a.key())
	if err != nil || !info.Expires.Equal(t0.Add(15*60*1e9)) || info.Kind != "ci" || info.Method != keywright.MethodExchange {
		t.Errorf("got %+v, %v", info, err)
	}
	issued := w.events("exchange.issued")
	if len(issued) != 1 || issued[0].Target != info.ID || issued[0].Actor != "publisher-deploy" || len(issued[0].Attrs["token"]) != 64 || issued[0].Attrs["run"] == "" {
		t.Errorf("heard %+v", issued)
	}
	if info.Attrs["token"] != issued[0].Attrs["token"] {
		t.Error("the key and the event name different tokens")
	}
}

// checkStore fails if a text is in some record.
func (w *world) checkStore(secrets ...string) {
	w.t.Helper()
	for _, kind := range append([]string{keywright.KindKeyLast, keywright.KindKeyFirst}, recordKinds...) {
		for r, err := range w.db.List(w.t.Context(), store.Query{Kind: kind}) {
			if err != nil {
				w.t.Fatal(err)
			}
			for _, s := range secrets {
				for _, part := range append(strings.Split(s, "."), s) {
					if len(part) > 20 && strings.Contains(r.ID+string(r.Data), part) {
						w.t.Errorf("record %s %s holds a secret", r.Kind, r.ID)
					}
				}
			}
		}
	}
}

// E21: none of the credentials that the host knows passes for another.
func TestConfusedEndpoints(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	identity := w.issuer.GitHub(nil)
	for _, scheme := range []string{"Bearer ", "Key "} {
		for _, path := range []string{"/whoami", exchange.AdminPath + "/publishers"} {
			if a := w.send("GET", path, scheme+identity, nil); a.status != 401 {
				t.Errorf("an identity token as an API key at %s: got %d %s", path, a.status, a.body)
			}
		}
	}
	key := w.wantKey(identity)
	if a := w.send("GET", exchange.AdminPath+"/publishers", "Bearer "+key, nil); a.status != 403 {
		t.Errorf("a key of a job at the admin API: got %d %s, want 403", a.status, a.body)
	}
	bootstrap, err := jose.SignHS256([]byte(strings.Repeat("s", 32)), map[string]any{
		"iss": "rsconnect-python", "aud": "rsconnect", "scope": "bootstrap", "iat": t0.Unix(), "exp": t0.Unix() + 60,
	})
	if err != nil {
		t.Fatal(err)
	}
	admin := strings.TrimPrefix(w.adminKey(), "Bearer ")
	before := w.records()
	for name, text := range map[string]string{"a job's key": key, "an admin key": admin, "a bootstrap token": bootstrap} {
		for _, kind := range []string{"id_token", "jwt"} {
			body := form(text)
			body.Set("subject_token_type", tokenTypes+kind)
			a := w.send("POST", exchange.TokenPath, "", body)
			w.checkRefused(name, a, "verif")
			w.checkSecret(name, a, text)
		}
	}
	if diff := cmp.Diff(before, w.records()); diff != "" {
		t.Errorf("the store has changed (-before +after):\n%s", diff)
	}
	for _, good := range []string{key, admin} {
		if _, err := w.host.Keys.Check(t.Context(), good); err != nil {
			t.Errorf("a key has ended by being shown: %v", err)
		}
	}
}

// EXC-30: who does not match learns nothing of why.
func TestNoOracle(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github(func(p *exchange.Publisher) { p.Claims["ref"] = exchange.Values{"refs/heads/main"} })})
	var first answer
	for i, change := range []map[string]any{
		{"repository_id": "1"}, {"repository_owner_id": "1"}, {"repository": "a/b"}, {"ref": "refs/heads/x"}, {"ref": nil}, {"ref": 5},
		{"event_name": "pull_request"}, {"job_workflow_ref": "a/b/.github/workflows/c.yml@refs/heads/main"},
	} {
		a := w.wantRefused("EXC-30", w.issuer.GitHub(change), "")
		a.header.Del("Date")
		if i == 0 {
			first = a
		}
		if diff := cmp.Diff([]any{first.body, first.header}, []any{a.body, a.header}); diff != "" {
			t.Errorf("%v: (-first +this):\n%s", change, diff)
		}
	}
	if err := w.DisableIssuer(t.Context(), operator, w.issuer.URL()); err != nil {
		t.Fatal(err)
	}
	disabled := w.wantRefused("disabled issuer", w.issuer.GitHub(nil), "verif")
	unknown := w.wantRefused("unknown issuer", w.issuer.GitHub(map[string]any{"iss": "https://evil.example"}), "verif")
	if disabled.body != unknown.body {
		t.Errorf("disabled: %s, unknown: %s; want the same", disabled.body, unknown.body)
	}
}

// EXC-21: a repository's name alone cannot be trusted.
func TestNamesAlone(t *testing.T) {
	w := newWorld(t, nil)
	p := w.own(github(func(p *exchange.Publisher) { delete(p.Claims, "repository_id") }))
	if _, err := exchange.New(exchange.Config{Host: w.host, Publishers: []exchange.Publisher{p}, Network: exchange.Network{InsecureLoopback: true}}); err == nil {
		t.Error("in the configuration: want an error")
	}
	_, err := w.Create(t.Context(), operator, p)
	if e, ok := errors.AsType[*keywright.Error](err); !ok || e.Code != keywright.CodeInvalidRequest {
		t.Errorf("stored: got %v, want invalid_request", err)
	}
}
