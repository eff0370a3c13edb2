package exchange_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/exchange"
	"github.com/keywright/keywright/exchange/exchangetest"
)

// An rsaKey is one that no library would make. It signs if d is there.
type rsaKey struct{ n, e, d *big.Int }

func weakRSA(t *testing.T, bits int, exponent int64) rsaKey {
	t.Helper()
	one, e := big.NewInt(1), big.NewInt(exponent)
	for {
		p, err1 := rand.Prime(rand.Reader, bits/2)
		q, err2 := rand.Prime(rand.Reader, bits-bits/2)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		phi := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
		if d := new(big.Int).ModInverse(e, phi); d != nil {
			return rsaKey{new(big.Int).Mul(p, q), e, d}
		}
	}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func (k rsaKey) jwk(kid string, more map[string]any) map[string]any {
	m := map[string]any{"kty": "RSA", "kid": kid, "n": b64(k.n.Bytes()), "e": b64(k.e.Bytes())}
	maps.Copy(m, more)
	return m
}

// sign makes an RS256 token (RFC 8017, section 8.2).
func (k rsaKey) sign(kid string, claims []byte) string {
	input := b64([]byte(`{"alg":"RS256","typ":"JWT","kid":"`+kid+`"}`)) + "." + b64(claims)
	sum := sha256.Sum256([]byte(input))
	size := (k.n.BitLen() + 7) / 8
	prefix := []byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}
	padded := append([]byte{0, 1}, []byte(strings.Repeat("\xff", size-3-len(prefix)-len(sum)))...)
	padded = append(append(append(padded, 0), prefix...), sum[:]...)
	s := new(big.Int).Exp(new(big.Int).SetBytes(padded), k.d, k.n)
	return input + "." + b64(s.FillBytes(make([]byte, size)))
}

// jwks makes a set of the issuer's keys and of others.
func jwks(t *testing.T, issuer *exchangetest.Issuer, others ...map[string]any) []byte {
	t.Helper()
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal(issuer.JWKS(), &set); err != nil {
		t.Fatal(err)
	}
	set.Keys = append(others, set.Keys...) // the good ones come last
	text, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// withJWKS is newWorld whose issuer's keys are given, or fetched from a URL.
func withJWKS(t *testing.T, issuer *exchangetest.Issuer, set []byte, url string) *world {
	t.Helper()
	c := new(clock)
	issuer.Now, issuer.Audience = c.Now, audience
	return newWorld(t, nil, func(cfg *exchange.Config) {
		p := github()
		p.Issuer = issuer.URL()
		cfg.Publishers = []exchange.Publisher{p}
		cfg.Issuers = []exchange.Issuer{{URL: issuer.URL(), JWKS: set, JWKSURL: url}}
	})
}

// EXC-05: keys that are too weak, or too large to verify with, verify nothing
// and do not spoil the good ones.
func TestWeakRSAKeys(t *testing.T) {
	issuer := exchangetest.NewIssuer(t)
	odd := new(big.Int).SetBit(new(big.Int).SetBit(new(big.Int), 65536, 1), 0, 1)
	keys := map[string]rsaKey{
		"1024 bits":   weakRSA(t, 1024, 65537),
		"e 3":         weakRSA(t, 2048, 3),
		"e 1":         {weakRSA(t, 2048, 65537).n, big.NewInt(1), big.NewInt(1)},
		"e even":      {weakRSA(t, 2048, 65537).n, big.NewInt(65538), big.NewInt(1)},
		"65,537 bits": {odd, big.NewInt(65537), nil},
	}
	var set []map[string]any
	for kid, k := range keys {
		set = append(set, k.jwk(kid, nil))
	}
	control := weakRSA(t, 2048, 65537)
	w := withJWKS(t, issuer, jwks(t, issuer, append(set, control.jwk("control", nil))...), "")
	for kid, k := range keys {
		token := issuer.RawToken([]byte(`{"alg":"RS256","kid":"`+kid+`"}`), payload(issuer.GitHub(nil)))
		if k.d != nil {
			token = k.sign(kid, payload(issuer.GitHub(nil)))
		}
		fastest := time.Hour
		for range 5 {
			began := time.Now()
			w.wantRefused("EXC-05 "+kid, token, "verif")
			fastest = min(fastest, time.Since(began))
		}
		if fastest > 100*time.Millisecond {
			t.Errorf("EXC-05 %s: took %v at best", kid, fastest)
		}
	}
	w.wantKey(issuer.GitHub(nil))
	w.wantKey(control.sign("control", payload(issuer.GitHub(nil)))) // so the rest was signed well, too
}

// EXC-40: which keys of a set are used.
func TestSelectionOfKeys(t *testing.T) {
	good := weakRSA(t, 2048, 65537)
	ec := map[string]any{"kty": "EC", "crv": "P-256", "kid": "k", "x": "qIVYZVLCrPZHGHjP17CTW0_-D9Lfw0EkjqF7xB4FivA", "y": "Mc4nN9LTDOBhfoUeg8Ye9WedFRhnZXZJA12Qp0zZ6F0"}
	oct := map[string]any{"kty": "oct", "kid": "k", "k": b64([]byte(strings.Repeat("k", 32))), "alg": "HS256"}
	for _, tt := range []struct {
		name string
		keys []map[string]any
		ok   bool
		log  string
	}{
		{"as it is", []map[string]any{good.jwk("k", nil)}, true, ""},
		{"use sig", []map[string]any{good.jwk("k", map[string]any{"use": "sig", "alg": "RS256", "key_ops": []string{"verify"}})}, true, ""},
		{"two of one kid and of different kty", []map[string]any{ec, good.jwk("k", nil)}, true, ""},
		{"a symmetric key of the same kid (EXC-03)", []map[string]any{oct, good.jwk("k", nil)}, true, "a published key is not used"},
		{"use enc", []map[string]any{good.jwk("k", map[string]any{"use": "enc"})}, false, "use is not sig"},
		{"key_ops encrypt", []map[string]any{good.jwk("k", map[string]any{"key_ops": []string{"encrypt"}})}, false, "key_ops do not have verify"},
		{"a private key", []map[string]any{good.jwk("k", map[string]any{"d": b64(good.d.Bytes())})}, false, "private member"},
		{"of another algorithm", []map[string]any{good.jwk("k", map[string]any{"alg": "PS256"})}, false, "a published key is not used"},
		{"of an unknown kty beside it", []map[string]any{{"kty": "AKP", "kid": "k", "alg": "ML-DSA-44", "pub": "AA"}, good.jwk("k", nil)}, true, "a published key is not used"},
		{"without a kid", []map[string]any{good.jwk("", nil)}, false, ""},
		{"of another kid", []map[string]any{good.jwk("K", nil)}, false, ""},
		{"an EC key alone", []map[string]any{ec}, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			issuer := exchangetest.NewIssuer(t)
			set := jwks(t, issuer, tt.keys...)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(set) }))
			t.Cleanup(server.Close)
			for _, url := range []string{"", server.URL + "/keys"} {
				w := withJWKS(t, issuer, nil, url)
				if url == "" {
					w = withJWKS(t, issuer, set, "")
				}
				token := good.sign("k", payload(issuer.GitHub(nil)))
				if tt.ok {
					w.wantKey(token)
				} else {
					w.wantRefused("EXC-40", token, "verif")
				}
				w.wantKey(issuer.GitHub(nil))
				if url != "" && !strings.Contains(w.log.String(), tt.log) || strings.Contains(w.log.String(), b64(good.d.Bytes())) {
					t.Errorf("the log: %s, want %q", w.log, tt.log)
				}
			}
		})
	}
}

// EXC-35: tokens with invented key ids make at most one fetch a minute, and
// hold up neither the issuer's good tokens nor another issuer's.
func TestFloodOfUnknownKeyIDs(t *testing.T) {
	other := exchangetest.NewIssuer(t)
	second := func(p *exchange.Publisher) { p.ID, p.Issuer = "second", other.URL() }
	w := newWorld(t, []exchange.Publisher{github(), github(second)})
	other.Now, other.Audience = w.clock.Now, audience
	w.wantKey(w.issuer.GitHub(nil))
	claims := payload(w.issuer.GitHub(nil))
	before := w.records()
	for minute := 1; minute <= 4; minute++ {
		w.clock.Advance(time.Minute)
		for i := range 250 {
			token := w.issuer.RawToken([]byte(`{"alg":"RS256","kid":"`+rand.Text()+`"}`), claims)
			a := w.wantRefused("EXC-35", token, "verif")
			if i == 0 {
				w.checkSecret("EXC-35", a, token)
			}
		}
		if discovery, jwks := w.issuer.Fetches(); discovery != 1+minute || jwks != 1+minute {
			t.Fatalf("after %d minutes: %d and %d fetches, want %d", minute, discovery, jwks, 1+minute)
		}
	}
	if diff := cmp.Diff(before, w.records()); diff != "" {
		t.Errorf("the store has changed (-before +after):\n%s", diff)
	}
	if discovery, jwks := other.Fetches(); discovery+jwks != 0 {
		t.Errorf("the other issuer: %d and %d fetches, want none", discovery, jwks)
	}
	w.wantKey(w.issuer.GitHub(nil))
	w.wantKey(other.GitHub(nil))
}

var faults = map[string]exchangetest.Fault{
	"refused": exchangetest.Down, "silent": exchangetest.Silent, "slow": exchangetest.Slow, "huge": exchangetest.Huge, "500": exchangetest.Status500,
	"reset": exchangetest.Reset, "of another issuer": exchangetest.WrongIssuer, "empty": exchangetest.EmptySet, "redirect": exchangetest.Redirect,
	"HTML": exchangetest.HTML, "404": exchangetest.NotFound,
}

// EXC-36 and EXC-37. Where nothing is known yet: 503, in time, and good again a
// minute after the issuer is. Where keys are known, they go on working for a day.
func TestIssuerInTrouble(t *testing.T) {
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cold := newWorld(t, []exchange.Publisher{github()})
			cold.issuer.SetFault(fault)
			token := cold.issuer.GitHub(nil)
			before := cold.records()
			answers := make(chan answer, 8)
			for range cap(answers) { // while these wait, the others are at it
				go func() {
					began := time.Now()
					a, err := cold.try("POST", exchange.TokenPath, "", form(token))
					if took := time.Since(began); err != nil || took > 6*time.Second {
						t.Errorf("%v after %v, want 6s at most", err, took)
					}
					answers <- a
				}()
			}
			issuerAwayLater(t, fault)
			for range cap(answers) {
				a := <-answers
				cold.checkOAuth(name, a)
				cold.checkSecret(name, a, token)
				seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
				if a.status != 503 || a.text("error") != "temporarily_unavailable" || err != nil || seconds < 1 || seconds > 60 {
					t.Errorf("got %d %s, Retry-After %q", a.status, a.body, a.header.Get("Retry-After"))
				}
			}
			if discovery, jwks := cold.issuer.Fetches(); discovery != 1 || jwks > 1 {
				t.Errorf("%d and %d fetches for 8 requests, want one", discovery, jwks)
			}
			if diff := cmp.Diff(before, cold.records()); diff != "" {
				t.Errorf("the store has changed (-before +after):\n%s", diff)
			}
			if e := cold.last(); e.Attrs["class"] != "keys unavailable" || e.Attrs["issuer"] != cold.issuer.URL() {
				t.Errorf("heard %+v", e)
			}
			cold.issuer.SetFault(exchangetest.None)
			cold.clock.Advance(time.Minute)
			cold.wantKey(token)
		})
	}
}

func issuerAwayLater(t *testing.T, fault exchangetest.Fault) {
	w := newWorld(t, []exchange.Publisher{github()})
	w.wantKey(w.issuer.GitHub(nil))
	w.issuer.SetFault(fault)
	for _, after := range []time.Duration{time.Minute, 2 * time.Hour, 20 * time.Hour} {
		w.clock.Advance(after)
		began := time.Now()
		w.wantKey(w.issuer.GitHub(nil))
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("after %v: took %v, though the key is known", after, took)
		}
	}
	unknown := w.issuer.RawToken([]byte(`{"alg":"RS256","kid":"new"}`), payload(w.issuer.GitHub(nil)))
	began := time.Now()
	a := w.post(unknown)
	if a.status != 400 || !strings.Contains(a.text("error_description"), "verif") || time.Since(began) > 6*time.Second {
		t.Errorf("an unknown key: got %d %s after %v", a.status, a.body, time.Since(began))
	}
	if fault == exchangetest.Silent || fault == exchangetest.Slow {
		return // one wait of five seconds is enough
	}
	w.clock.Advance(24*time.Hour - 1) // the fetch of t0 was a day and more ago
	if a := w.post(w.issuer.GitHub(nil)); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("after a day: got %d %s", a.status, a.body)
	}
	w.issuer.SetFault(exchangetest.None)
	w.clock.Advance(time.Minute)
	w.wantKey(w.issuer.GitHub(nil))
}

// A new key is found as soon as a fetch may be made, and the old one is
// withdrawn then.
func TestRotation(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	w.wantKey(w.issuer.GitHub(nil))
	old := w.issuer.GitHub(nil)
	w.issuer.Rotate()
	fresh := w.issuer.GitHub(nil)
	w.wantRefused("too soon", fresh, "verif")
	w.clock.Advance(time.Minute)
	w.wantKey(fresh)
	w.wantRefused("of the withdrawn key", old, "verif")
	if discovery, jwks := w.issuer.Fetches(); fmt.Sprint(discovery, jwks) != "2 2" {
		t.Errorf("%d and %d fetches, want 2", discovery, jwks)
	}
}
