package agentauth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/store"
)

// t0 is the time of the vectors of attacks, 2026-01-01T00:00:00Z.
var t0 = time.Unix(1_767_225_600, 0)

// A gate is a verifier at https://ap.example, without the agent provider that a
// world has, and what it has told its audit.
type gate struct {
	tb       testing.TB
	clock    *clock
	store    store.Store
	host     keywright.Host
	verifier *agentauth.Verifier

	mu     sync.Mutex
	events []keywright.Event // guarded by mu
}

// newGate makes a gate. edit may change its configuration, and nil does not.
func newGate(tb testing.TB, edit func(*agentauth.VerifierConfig)) *gate {
	tb.Helper()
	g := &gate{tb: tb, clock: &clock{now: t0}}
	g.store = &store.Memory{Now: g.clock.Now}
	return g.build(edit)
}

// build makes the verifier, of g's store and clock.
func (g *gate) build(edit func(*agentauth.VerifierConfig)) *gate {
	g.tb.Helper()
	u, err := url.Parse(issuer)
	must(g.tb, err)
	g.host, err = keywright.NewHost(keywright.HostConfig{
		Store: g.store, URL: u, Kinds: map[string]string{"admin": "kw_admin"},
		Hooks: keywright.Hooks{Now: g.clock.Now, Logger: slog.New(slog.DiscardHandler), Audit: func(_ context.Context, e keywright.Event) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.events = append(g.events, e)
		}},
	})
	must(g.tb, err)
	c := agentauth.VerifierConfig{Host: g.host}
	if edit != nil {
		edit(&c)
	}
	g.verifier, err = agentauth.NewVerifier(c)
	must(g.tb, err)
	return g
}

// cause is what the audit was told last, for who looks for the reason.
func (g *gate) cause() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.events) == 0 {
		return "nothing"
	}
	return g.events[len(g.events)-1].Detail
}

// everything is a policy that accepts all schemes.
var everything = agentauth.Policy{Schemes: []agentauth.Scheme{
	agentauth.SchemeHWK, agentauth.SchemeJKTJWT, agentauth.SchemeJWT, agentauth.SchemeJWKSURI, agentauth.SchemeJWKS,
}}

// pass sends r to a route of policy p. A request that gets through is answered
// with its Principal.
func (g *gate) pass(p agentauth.Policy, r *http.Request) answer {
	g.tb.Helper()
	rec := httptest.NewRecorder()
	g.verifier.Require(p)(whoami).ServeHTTP(rec, r)
	body, err := io.ReadAll(rec.Result().Body)
	must(g.tb, err)
	return answer{rec.Code, rec.Result().Header, string(body)}
}

// code is the code of a refusal, which must be the same in the field
// Signature-Error and in the body; "" if r got through.
func (a answer) code(tb testing.TB) string {
	tb.Helper()
	if a.status == http.StatusOK {
		return ""
	}
	var body struct {
		Error string `json:"error"`
		Type  string `json:"type"`
	}
	if err := json.Unmarshal([]byte(a.body), &body); err != nil {
		tb.Fatalf("%d %q: %v", a.status, a.body, err)
	}
	field, _, _ := strings.Cut(a.header.Get("Signature-Error"), ", ")
	switch {
	case a.status == http.StatusUnauthorized && (field != "error="+body.Error || body.Type != "urn:ietf:params:sig-error:"+body.Error):
		tb.Errorf("Signature-Error %q and type %q with error %q", field, body.Type, body.Error)
	case a.status != http.StatusUnauthorized && (field != "" || body.Type != "" || a.header.Get("Accept-Signature") != ""):
		tb.Errorf("%d with Signature-Error %q, type %q", a.status, field, body.Type)
	}
	return body.Error
}

// principal is the one that r got through with.
func (a answer) principal(tb testing.TB) keywright.Principal {
	tb.Helper()
	var p keywright.Principal
	if a.status != http.StatusOK {
		tb.Fatalf("%d %s", a.status, a.body)
	}
	must(tb, json.Unmarshal([]byte(a.body), &p))
	return p
}

// wants fails unless r is refused with code, or accepted where that is "".
func (g *gate) wants(code string, p agentauth.Policy, r *http.Request) {
	g.tb.Helper()
	status := http.StatusOK
	if code != "" {
		status = keywright.Code(code).Status()
	}
	a := g.pass(p, r)
	if got := a.code(g.tb); got != code || a.status != status {
		g.tb.Errorf("got %d %q (%s), want %d %q", a.status, got, g.cause(), status, code)
	}
}

// A draft is a request that is signed by hand, so that anything can be wrong
// with it. The zero values of its fields make a good one.
type draft struct {
	method, target string // GET /data
	host           string // ap.example
	body           string // with Content-Type and Content-Digest, unless they are in header

	key        crypto.Signer // required
	member     string        // of Signature-Key, without its label; that of scheme hwk
	label      string        // sig
	components []string      // identifiers; the usual ones
	params     string        // of the signature; created is t0
	header     http.Header   // further fields

	tamper func(*http.Request) // after signing
}

var (
	base4 = []string{`"@method"`, `"@authority"`, `"@path"`, `"signature-key"`}
	base6 = append(slices.Clone(base4), `"content-type"`, `"content-digest"`)
)

// request signs d with nothing but the standard library.
func (d draft) request(tb testing.TB) *http.Request {
	tb.Helper()
	for _, f := range []struct {
		to    *string
		usual string
	}{{&d.method, "GET"}, {&d.target, "/data"}, {&d.host, "ap.example"}, {&d.label, "sig"}, {&d.params, fmt.Sprintf(";created=%d", t0.Unix())}} {
		if *f.to == "" {
			*f.to = f.usual
		}
	}
	if d.member == "" {
		d.member = hwk(tb, d.key)
	}
	r := httptest.NewRequest(d.method, "https://"+d.host+d.target, nil)
	if d.body != "" {
		r = httptest.NewRequest(d.method, "https://"+d.host+d.target, strings.NewReader(d.body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Content-Digest", digestOf(d.body))
	}
	r.RequestURI, r.Host = d.target, d.host
	for name, values := range d.header {
		r.Header[name] = values
	}
	if d.components == nil {
		d.components = base4
		if d.body != "" {
			d.components = base6
		}
	}
	r.Header.Set("Signature-Key", d.label+"="+d.member)
	input := "(" + strings.Join(d.components, " ") + ")" + d.params
	r.Header.Set("Signature-Input", d.label+"="+input)
	signature := signBytes(tb, d.key, []byte(d.base(r)+`"@signature-params": `+input))
	r.Header.Set("Signature", d.label+"=:"+base64.StdEncoding.EncodeToString(signature)+":")
	if d.tamper != nil {
		d.tamper(r)
	}
	return r
}

// base is what is signed, without the last line (RFC 9421, section 2.5).
func (d draft) base(r *http.Request) string {
	var b strings.Builder
	path, query, _ := strings.Cut(d.target, "?")
	for _, id := range d.components {
		name, _, _ := strings.Cut(strings.TrimPrefix(id, `"`), `"`)
		value, derived := map[string]string{
			"@method": d.method, "@authority": strings.ToLower(strings.TrimSuffix(d.host, ":443")), "@path": path, "@query": "?" + query,
			"@request-target": d.target,
		}[name]
		if !derived {
			value = strings.Join(r.Header[textproto.CanonicalMIMEHeaderKey(name)], ", ")
		}
		fmt.Fprintf(&b, "%s: %s\n", id, value)
	}
	return b.String()
}

func digestOf(body string) string {
	sum := sha256.Sum256([]byte(body))
	return "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":"
}

// signBytes signs as JOSE and RFC 9421 both have it.
func signBytes(tb testing.TB, key crypto.Signer, text []byte) []byte {
	tb.Helper()
	switch key := key.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(key, text)
	case *ecdsa.PrivateKey:
		sum := sha256.Sum256(text)
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		must(tb, err)
		return slices.Concat(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32)))
	}
	tb.Fatalf("no signature by %T", key)
	return nil
}

// twin is the other signature of P-256 that is as good as the one given.
func twin(signature []byte) []byte {
	s := new(big.Int).SetBytes(signature[32:])
	s.Sub(elliptic.P256().Params().N, s)
	return slices.Concat(signature[:32], s.FillBytes(make([]byte, 32)))
}

var b64 = base64.RawURLEncoding

// jwk is the public key of key, with its alg.
func jwk(tb testing.TB, key crypto.Signer) map[string]any {
	tb.Helper()
	switch pub := key.Public().(type) {
	case ed25519.PublicKey:
		return map[string]any{"kty": "OKP", "crv": "Ed25519", "x": b64.EncodeToString(pub), "alg": "Ed25519"}
	case *ecdsa.PublicKey:
		point, err := pub.Bytes()
		must(tb, err)
		return map[string]any{"kty": "EC", "crv": "P-256", "x": b64.EncodeToString(point[1:33]), "y": b64.EncodeToString(point[33:]), "alg": "ES256"}
	}
	tb.Fatal("no such key")
	return nil
}

// jktOf is the thumbprint of key (RFC 7638).
func jktOf(tb testing.TB, key crypto.Signer) string {
	tb.Helper()
	members := jwk(tb, key)
	delete(members, "alg")
	text, err := json.Marshal(members) // in the order of names
	must(tb, err)
	sum := sha256.Sum256(text)
	return b64.EncodeToString(sum[:])
}

// hwk is the member of Signature-Key for key.
func hwk(tb testing.TB, key crypto.Signer) string {
	tb.Helper()
	k := jwk(tb, key)
	text := fmt.Sprintf(`hwk;alg=%q;kty=%q;crv=%q;x=%q`, k["alg"], k["kty"], k["crv"], k["x"])
	if y, ok := k["y"]; ok {
		text += fmt.Sprintf(";y=%q", y)
	}
	return text
}

// seedKey is the same key whenever it is asked for.
func seedKey(seed string) ed25519.PrivateKey {
	sum := sha256.Sum256([]byte(seed))
	return ed25519.NewKeyFromSeed(sum[:])
}

func unhex(tb testing.TB, text string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(text)
	must(tb, err)
	return b
}

// A failing store is in trouble whenever a call is one that it fails at.
type failing struct {
	store.Store
	get    func(store.Key) bool
	commit error
}

var errStore = errors.New("disk on fire")

func (f *failing) Get(ctx context.Context, keys ...store.Key) ([]store.Record, error) {
	if f.get != nil && slices.ContainsFunc(keys, f.get) {
		return nil, errStore
	}
	return f.Store.Get(ctx, keys...)
}

func (f *failing) Commit(ctx context.Context, ops ...store.Op) error {
	if f.commit != nil {
		return f.commit
	}
	return f.Store.Commit(ctx, ops...)
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec
}
