package exchange_test

import (
	"bytes"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/exchange"
	"github.com/keywright/keywright/exchange/exchangetest"
	"github.com/keywright/keywright/store"
)

func decodeSegment(s string) []byte {
	b, _ := base64.RawURLEncoding.DecodeString(s)
	return b
}

// EXC-12: one token, one key, and the key goes on working.
func TestReplay(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	token := w.issuer.GitHub(nil)
	key := w.wantKey(token)
	after := w.records()
	a := w.wantRefused("EXC-12 twice", token, "")
	w.checkSecret("EXC-12", a, token, key)
	w.wantRefused("EXC-12 by the other path", token, "")
	if a := w.send("POST", exchange.CredentialsPath, "", form(token)); a.status != 400 {
		t.Errorf("by the other path: got %d %s", a.status, a.body)
	}
	again := w.issuer.GitHub(map[string]any{"jti": claim(t, token, "jti"), "run_id": "2"})
	w.wantRefused("another token with the same jti", again, "")
	if diff := cmp.Diff(after, w.records()); diff != "" {
		t.Errorf("the store has changed (-before +after):\n%s", diff)
	}
	if e := w.last(); e.Attrs["class"] != "used" || e.Attrs["token"] == "" {
		t.Errorf("heard %+v", e)
	}
	if me := w.send("GET", "/whoami", "Bearer "+key, nil); me.status != 200 {
		t.Errorf("the key: got %d", me.status)
	}
}

func claim(t *testing.T, token, name string) any {
	t.Helper()
	var claims map[string]any
	if err := json.Unmarshal(payload(token), &claims); err != nil {
		t.Fatal(err)
	}
	return claims[name]
}

// E14: the marker of a token's use outlives the token, skew included.
func TestReplayAroundTheEndOfTheToken(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github(func(p *exchange.Publisher) { p.Lifetime = time.Hour })})
	token := w.issuer.GitHub(nil) // for five minutes
	late := w.issuer.GitHub(nil)
	w.wantKey(token)
	for _, at := range []time.Duration{4 * time.Minute, 5*time.Minute + 29*time.Second, 5*time.Minute + 30*time.Second - 1} {
		w.clock.Advance(at - w.clock.Now().Sub(t0))
		w.wantRefused(fmt.Sprint("used, after ", at), token, "")
	}
	w.wantKey(late) // in the last moment
	w.wantRefused("used in the last moment", late, "")
	for range 200 {
		w.clock.Advance(time.Second)
		w.wantRefused("after its end", token, "verif")
		w.wantRefused("after its end", late, "verif")
	}
	if n := w.count(exchange.KindToken); n != 0 {
		t.Errorf("%d markers of tokens that ended three minutes ago", n)
	}
}

// EXC-13: any number of posts of one token, to any number of processes.
func TestReplayRace(t *testing.T) {
	c := new(clock)
	issuer := exchangetest.NewIssuer(t)
	issuer.Now, issuer.Audience = c.Now, audience
	db := &store.Memory{Now: c.Now}
	var replicas [4]*world
	for i := range replicas {
		replicas[i] = worldOn(t, db, c, issuer, "", []exchange.Publisher{github()})
	}
	for range 5 {
		token := issuer.GitHub(nil)
		before := replicas[0].records()
		var wg sync.WaitGroup
		answers := make([]answer, 64)
		start := make(chan struct{})
		for i := range answers {
			wg.Go(func() {
				<-start
				answers[i], _ = replicas[i%len(replicas)].try("POST", exchange.TokenPath, "", form(token))
			})
		}
		close(start)
		wg.Wait()
		keys := 0
		for _, a := range answers {
			if a.status == 200 {
				keys++
				continue
			}
			replicas[0].checkRefused("EXC-13", a, "")
		}
		after := replicas[0].records()
		if keys != 1 || after[keywright.KindKey]-before[keywright.KindKey] != 1 || after[exchange.KindToken]-before[exchange.KindToken] != 1 {
			t.Errorf("%d answers with a key; records before %v, after %v", keys, before, after)
		}
	}
}

// Different tokens do not stand in each other's way, not even at the very
// first, when the records of the publisher and of the issuer are made.
func TestManyTokensAtOnce(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	var wg sync.WaitGroup
	tokens := make([]string, 64)
	for i := range tokens {
		tokens[i] = w.issuer.GitHub(nil)
	}
	for _, token := range tokens {
		wg.Go(func() {
			if a, err := w.try("POST", exchange.TokenPath, "", form(token)); err != nil || a.status != 200 {
				t.Errorf("got %d %s, %v", a.status, a.body, err)
			}
		})
	}
	wg.Wait()
	if w.count(exchange.KindToken) != 64 || w.count(keywright.KindKey) != 64 {
		t.Errorf("%v, want 64 keys and markers", w.records())
	}
}

// EXC-15: a forgery does not use up the jti that it has copied, nor does a
// token that matches nothing.
func TestAForgeryBurnsNothing(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	token := w.issuer.GitHub(nil)
	w.wantKey(w.issuer.GitHub(nil))
	parts := strings.Split(token, ".")
	signature := decodeSegment(parts[2])
	signature[0] ^= 1
	before := w.records()
	w.wantRefused("EXC-15", parts[0]+"."+parts[1]+"."+base64.RawURLEncoding.EncodeToString(signature), "verif")
	w.wantRefused("a token that does not match", w.issuer.GitHub(map[string]any{"jti": claim(t, token, "jti"), "repository_id": "1"}), "")
	w.wantRefused("a token for somebody else", w.issuer.GitHub(map[string]any{"jti": claim(t, token, "jti"), "aud": "x"}), "")
	if diff := cmp.Diff(before, w.records()); diff != "" {
		t.Errorf("the store has changed (-before +after):\n%s", diff)
	}
	w.wantKey(token)
}

// EXC-16 beyond the vectors.
func TestTokenIDs(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	for name, id := range map[string]any{
		"EXC-16 null": json.RawMessage("null"), "EXC-16 a number": 7, "EXC-16 a list": []string{"x"}, "EXC-16 true": true, "EXC-16 an object": map[string]any{},
		"EXC-16 empty": "", "EXC-16 none": nil, "257 bytes": strings.Repeat("j", 257),
	} {
		w.wantRefused(name, w.issuer.GitHub(map[string]any{"jti": id}), "")
	}
	huge := bytes.Replace(payload(w.issuer.GitHub(nil)), []byte(`"jti":"`), append([]byte(`"jti":"`), bytes.Repeat([]byte("j"), 1<<20)...), 1)
	if a := w.post(w.issuer.RawToken(w.header(""), huge)); a.status != 413 {
		t.Errorf("EXC-16 1 MiB: got %d %s, want 413", a.status, a.body)
	}
	large := bytes.Replace(payload(w.issuer.GitHub(nil)), []byte(`"jti":"`), append([]byte(`"jti":"`), bytes.Repeat([]byte("j"), 8<<10)...), 1)
	w.wantRefused("EXC-16 8 KiB", w.issuer.RawToken(w.header(""), large), "verif")
	if n := w.count(exchange.KindToken) + w.count(keywright.KindKey); n != 0 {
		t.Errorf("%d records of refused tokens", n)
	}
	for _, id := range []string{"j", strings.Repeat("j", 256), "a/b", "a%2Fb", "\u00e9", "e\u0301", "\x00", "A", "a"} {
		w.wantKey(w.issuer.GitHub(map[string]any{"jti": id}))
		w.wantRefused("the same id", w.issuer.GitHub(map[string]any{"jti": id}), "")
	}
}

// EXC-18: the ids of one issuer are not those of another, whatever they look like.
func TestTheSameTokenIDOfTwoIssuers(t *testing.T) {
	other := exchangetest.NewIssuer(t)
	second := func(p *exchange.Publisher) { p.ID, p.Issuer = "second", other.URL() }
	w := newWorld(t, []exchange.Publisher{github(), github(second)})
	other.Now, other.Audience = w.clock.Now, audience
	w.wantKey(w.issuer.GitHub(map[string]any{"jti": "1"}))
	w.wantKey(other.GitHub(map[string]any{"jti": "1"}))
	w.wantRefused("EXC-18", w.issuer.GitHub(map[string]any{"jti": "1"}), "")
	w.wantRefused("EXC-18", other.GitHub(map[string]any{"jti": "1"}), "")
}

// otherSignature is the other signature of the same key over the same text (r, n-s).
func otherSignature(token string) string {
	last := strings.LastIndexByte(token, '.') + 1
	signature := decodeSegment(token[last:])
	s := new(big.Int).SetBytes(signature[32:])
	s.Sub(elliptic.P256().Params().N, s).FillBytes(signature[32:])
	return token[:last] + base64.RawURLEncoding.EncodeToString(signature)
}

// EXC-19: a token spelled in another way is the same token. The providers
// without a jti are those where the text of the token would be all there is.
func TestReplayWithMalleatedText(t *testing.T) {
	steps := exchange.Publisher{
		ID: "steps", Provider: exchange.Buildkite, Subject: "deployer", Scopes: []string{"deploy"},
		Claims: map[string]exchange.Values{"organization_slug": {"acme-inc"}, "pipeline_slug": {"super-duper-app"}},
	}
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		issuer := exchangetest.NewIssuer(t)
		c := new(clock)
		issuer.Now, issuer.Audience, issuer.Algorithm = c.Now, audience, alg
		w := worldOn(t, &store.Memory{Now: c.Now}, c, issuer, "", []exchange.Publisher{steps}, func(cfg *exchange.Config) {
			cfg.Issuers = []exchange.Issuer{{URL: issuer.URL(), Algorithms: []string{"RS256", "ES256", "EdDSA"}}}
		})
		token := issuer.Buildkite(nil)
		if strings.Contains(string(payload(token)), `"jti"`) {
			t.Fatal("a token with a jti proves nothing here")
		}
		w.wantKey(token)
		w.wantRefused(alg+" as it is", token, "")
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		last := strings.IndexByte(alphabet, token[len(token)-1])
		for name, text := range map[string]string{
			"unused bits": token[:len(token)-1] + alphabet[last|1:last|1+1], "padding": token + "==", "a line break": token + "\n", "a space": " " + token,
			"another alphabet": strings.NewReplacer("-", "+", "_", "/").Replace(token) + "=", "a fourth part": token + ".", "a NUL": token + "\x00",
		} {
			if a := w.wantRefused("EXC-19 "+alg+" "+name, text, "verif"); a.key() != "" {
				t.Errorf("%s %s: a second key", alg, name)
			}
		}
		if alg == "ES256" {
			w.wantRefused("EXC-19 the twin", otherSignature(token), "")
			fresh := issuer.Buildkite(map[string]any{"build_number": 422})
			w.wantKey(otherSignature(fresh)) // the twin verifies: only the marker stops it
			w.wantRefused("EXC-19 the twin's twin", fresh, "")
		}
		if n := w.count(exchange.KindToken); n != w.count(keywright.KindKey) {
			t.Errorf("%s: %d markers for %d keys", alg, n, w.count(keywright.KindKey))
		}
	}
}
