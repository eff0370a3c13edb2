package provisioning_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/provisioning"
)

func TestAnEnrolmentNeedsAPublicKey(t *testing.T) {
	const text = "public_key: want the JWK of an Ed25519 or P-256 public key"
	w, signer := newWorld(t, unlimited), newEd25519(t)
	p := w.provisionBound(w.makeKey("ci"), "sdr-1")
	publicKey, proof, err := provisioning.SignEnrollment(signer, p, epoch)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaJWK, _ := jwkOf(t, rsaKey.Public())
	rsaProof, err := jose.Sign(rsaKey, jose.Header{Type: "runner-enrollment+jwt"}, map[string]any{"aud": base, "sub": "sdr-1", "iat": epoch.Unix(), "exp": epoch.Unix() + 60, "nonce": p.Challenge})
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	coordinates, err := p384.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	with := func(members string) string { return strings.TrimSuffix(string(publicKey), "}") + "," + members + "}" }
	okp := func(x []byte) string { return `{"kty":"OKP","crv":"Ed25519","x":"` + b64(x) + `"}` }
	one := append([]byte{1}, make([]byte, 31)...)
	for _, tt := range []struct{ name, key, proof, text string }{
		{"with its private member", with(`"d":"` + b64(make([]byte, 32)) + `"`), proof, text},
		{"that is symmetric", `{"kty":"oct","k":"` + b64(make([]byte, 32)) + `"}`, proof, text},
		{"of order one", okp(one), proof, text},
		{"of order four", okp(make([]byte, 32)), proof, text},
		{"that is short", okp(make([]byte, 31)), proof, text},
		{"of RSA", rsaJWK, rsaProof, text},
		{"of RSA and 16 KiB", `{"kty":"RSA","e":"AQAB","n":"` + b64(bytes.Repeat([]byte{0xff}, 12<<10)) + `"}`, proof, "public_key: longer than 4096 bytes"},
		{"of 16 KiB that nobody needs", with(`"more":"` + strings.Repeat("a", 16<<10) + `"`), proof, "public_key: longer than 4096 bytes"},
		{"on P-384", `{"kty":"EC","crv":"P-384","x":"` + b64(coordinates[1:49]) + `","y":"` + b64(coordinates[49:]) + `"}`, proof, text},
		{"that is not on its curve", `{"kty":"EC","crv":"P-256","x":"` + b64(make([]byte, 32)) + `","y":"` + b64(make([]byte, 32)) + `"}`, proof, text},
		{"for encryption", with(`"use":"enc"`), proof, text},
		{"with a member twice", with(`"kty":"OKP"`), proof, "the body is not one JSON object"},
		{"that is a text", `"` + b64(publicKey) + `"`, proof, text},
		{"that is a list", `[` + string(publicKey) + `]`, proof, text},
		{"that is empty", `{}`, proof, text},
	} {
		before := w.dump(kinds...)
		a := w.call("POST", "/api/enrollment/enroll", "", boundEnrollment(p, tt.key, tt.proof, nil))
		if a.status != 400 || !strings.HasPrefix(a.field("error"), tt.text) {
			t.Errorf("a key %s: got %d %s, want 400 %s", tt.name, a.status, a.body, tt.text)
		}
		w.unchanged("a key "+tt.name, before)
	}
	w.want("a key with an id, for signatures", w.call("POST", "/api/enrollment/enroll", "", boundEnrollment(p, with(`"kid":"mine","use":"sig","alg":"EdDSA"`), proof, nil)), 201, "")
	w.want("its refresh", w.refresh("sdr-1", w.proof(signer, "sdr-1", 0)), 200, "")
}

func TestSignEnrollmentWantsAKeyThatCanSign(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := provisioning.SignEnrollment(p384, provisioning.Provisioned{}, epoch); err == nil {
		t.Error("a key on P-384 signs")
	}
	w, signer := newWorld(t), newP256(t)
	p := w.provisionBound(w.makeKey("ci"), "sdr-1")
	p.ServerURL += "/"
	w.want("a server with a slash at the end", w.enrollBound(p, signer), 201, "")
	proof, err := provisioning.SignRefresh(signer, base+"/", "sdr-1", 0, epoch)
	if err != nil {
		t.Fatal(err)
	}
	w.want("its refresh", w.refresh("sdr-1", proof), 200, "")
}

func TestAPublicKeyIsOneRunner(t *testing.T) {
	const taken = "public_key: it is in use, each enrollment needs a new one"
	w, signer := newWorld(t), newEd25519(t)
	w.bound("sdr-1", signer)
	p := w.provisionBound(w.makeKey("ci"), "sdr-2")
	before := w.dump(kinds...)
	w.want("for a second runner", w.enrollBound(p, signer), 409, taken)
	w.unchanged("refused", before)
	w.want("with a key of its own", w.enrollBound(p, newEd25519(t)), 201, "")
	w.want("the first is deleted", w.call("DELETE", "/api/runners/sdr-1", w.admin, ""), 200, "")
	w.want("its key is free", w.enrollBound(w.provisionBound(w.makeKey("more"), "sdr-3"), signer), 201, "")
}

func TestTheSameEnrolmentAgainIsAnsweredAlike(t *testing.T) {
	w, signer := newWorld(t, unlimited), newEd25519(t)
	p := w.provisionBound(w.makeKey("ci"), "sdr-1")
	publicKey, proof, err := provisioning.SignEnrollment(signer, p, w.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	same := boundEnrollment(p, string(publicKey), proof, nil)
	first := w.call("POST", "/api/enrollment/enroll", "", same)
	again := func(name string) {
		t.Helper()
		before := w.dump(kinds...)
		for range 3 {
			if a := w.call("POST", "/api/enrollment/enroll", "", same); a.status != 201 || a.body != first.body {
				t.Errorf("%s: got %d %s, want 201 %s", name, a.status, a.body, first.body)
			}
			if a := w.enrollBound(p, signer); a.status != 201 || a.body != first.body {
				t.Errorf("%s, signed anew: got %d %s, want 201 %s", name, a.status, a.body, first.body)
			}
		}
		w.unchanged(name, before)
	}
	again("the answer got lost")
	w.want("another key pair", w.enrollBound(p, newEd25519(t)), 401, badToken)
	refreshed := w.refresh("sdr-1", w.proof(signer, "sdr-1", 0))
	w.want("the key is used", w.call("GET", "/runner", refreshed.field("api_key"), ""), 200, "")
	again("after a refresh")
	w.want("disable", w.call("POST", "/api/runners/sdr-1/disable", w.admin, ""), 200, "")
	w.want("disabled", w.enrollBound(p, signer), 403, ended)
	w.want("another key pair, disabled", w.enrollBound(p, newEd25519(t)), 401, badToken)
	w.want("enable", w.call("POST", "/api/runners/sdr-1/enable", w.admin, ""), 200, "")
	again("enabled again")
	w.clock.Advance(10 * time.Minute)
	w.want("the proof has expired", w.call("POST", "/api/enrollment/enroll", "", same), 401, badToken)
	w.want("a year later", w.later(365*24*time.Hour).enrollBound(p, signer), 201, "")
	w.want("delete", w.call("DELETE", "/api/runners/sdr-1", w.admin, ""), 200, "")
	w.want("deleted", w.enrollBound(p, signer), 403, ended)
}

// later is w after a while.
func (w *world) later(d time.Duration) *world {
	w.clock.Advance(d)
	return w
}

func TestATokenForManyKeyPairsIsOneRunner(t *testing.T) {
	w := newWorld(t, unlimited)
	p := w.provisionBound(w.makeKey("ci"), "sdr-1")
	signers := make([]crypto.Signer, 50)
	for i := range signers {
		signers[i] = newEd25519(t)
	}
	var winner atomic.Int32
	w.tallied("enrolments", parallel(len(signers), func(i int) answer {
		a := w.enrollBound(p, signers[i])
		if a.status == 201 {
			winner.Store(int32(i))
		}
		return a
	}), tally{201: 1, 401: 49})
	if runners, agents := w.dump(provisioning.KindRunner), w.dump(agent.Kind); len(runners) != 1 || len(agents) != 1 {
		t.Errorf("there are %d runners and %d agents, want one of each", len(runners), len(agents))
	}
	if _, err := w.find(signers[winner.Load()]); err != nil {
		t.Errorf("the agent is not the one that was told: %v", err)
	}
}

func TestAKeyPairForManyTokensIsOneRunner(t *testing.T) {
	w, signer := newWorld(t, unlimited), newEd25519(t)
	key := w.makeKey("ci")
	var offers []provisioning.Provisioned
	for _, name := range []string{"sdr-1", "sdr-2", "sdr-3", "sdr-4", "sdr-5", "sdr-6", "sdr-7", "sdr-8"} {
		offers = append(offers, w.provisionBound(key, name))
	}
	w.tallied("enrolments", parallel(len(offers), func(i int) answer { return w.enrollBound(offers[i], signer) }), tally{201: 1, 409: 7})
	if runners, agents := w.dump(provisioning.KindRunner), w.dump(agent.Kind); len(runners) != 1 || len(agents) != 1 {
		t.Errorf("there are %d runners and %d agents, want one of each", len(runners), len(agents))
	}
}

// The other one comes when the key pair has been found to be free.
func TestAKeyPairForTwoTokensAtOnceIsOneRunner(t *testing.T) {
	st := new(spy)
	w, signer := newWorld(t, spied(st)), newEd25519(t)
	key := w.makeKey("ci")
	one, two := w.provisionBound(key, "sdr-1"), w.provisionBound(key, "sdr-2")
	st.once("commit", agent.Kind, func() { w.want("the other", w.enrollBound(two, signer), 201, "") })
	w.want("the one", w.enrollBound(one, signer), 409, "")
	if found, err := w.find(signer); err != nil || found.Name != "sdr-2" {
		t.Errorf("the agent is %+v, %v", found, err)
	}
}

func TestReEnrolmentReplacesTheKeyPair(t *testing.T) {
	w, old, next := newWorld(t, unlimited), newEd25519(t), newP256(t)
	first := w.provisionBound(w.makeKey("ci", `"scopes":["beat"]`), "sdr-1")
	w.want("enrol", w.enrollBound(first, old), 201, "")
	var keys []string
	for range 2 {
		a := w.refresh("sdr-1", w.proof(old, "sdr-1", 0))
		keys = append(keys, a.field("api_key"))
		w.want("its key", w.call("GET", "/runner", a.field("api_key"), ""), 200, "")
	}
	p := w.reEnroll("sdr-1")
	if p.Challenge == "" || p.Challenge == first.Challenge || p.APIKey != "" {
		t.Fatalf("re-enrolment with challenge %q and key %q", p.Challenge, p.APIKey)
	}
	w.want("the old key pair", w.enrollBound(p, old), 409, "public_key: it is in use, each enrollment needs a new one")
	replayed := p
	replayed.Challenge = first.Challenge
	w.want("the first challenge", w.enrollBound(replayed, next), 401, badToken)
	w.want("until then", w.call("GET", "/runner", keys[0], ""), 200, "")
	w.want("the new key pair", w.enrollBound(p, next), 201, "")
	for _, key := range keys {
		w.want("a key of the old one", w.call("GET", "/runner", key, ""), 401, "Invalid API key")
	}
	if _, err := w.find(old); !errors.Is(err, agent.ErrRefused) {
		t.Errorf("the old agent: %v", err)
	}
	found, err := w.find(next)
	if err != nil || found.Name != "sdr-1" || len(found.Scopes) != 1 || len(w.dump(agent.Kind)) != 1 {
		t.Errorf("the new agent is %+v, %v", found, err)
	}
	w.want("a refresh by the old one", w.refresh("sdr-1", w.proof(old, "sdr-1", 0)), 401, "Invalid API key")
	w.want("the first enrolment again", w.enrollBound(first, old), 403, ended)
	w.want("the second enrolment again", w.enrollBound(p, next), 201, "")
	w.want("a refresh by the new one", w.refresh("sdr-1", w.proof(next, "sdr-1", 0)), 200, "")
}

// A re-enrolment does not undo what an administrator has decided.
func TestReEnrolmentLeavesADisabledRunnerDisabled(t *testing.T) {
	w, next := newWorld(t), newEd25519(t)
	w.bound("sdr-1", newEd25519(t))
	w.want("disable", w.call("POST", "/api/runners/sdr-1/disable", w.admin, ""), 200, "")
	w.want("re-enrol", w.enrollBound(w.reEnroll("sdr-1"), next), 201, "")
	if _, err := w.find(next); !errors.Is(err, agent.ErrRefused) {
		t.Errorf("got %v, want ErrRefused", err)
	}
}

func TestAnAdministratorIssuesTokensForKeyPairs(t *testing.T) {
	w := newWorld(t)
	a := w.call("POST", "/api/enrollment/token", w.admin, `{"runner_name":"sdr-1","use_public_key":true}`)
	p := w.offered(a)
	p.ID, p.Token = "sdr-1", a.field("token")
	if p.Challenge == "" || p.APIKey != "" {
		t.Fatalf("issued with challenge %q and key %q", p.Challenge, p.APIKey)
	}
	w.want("enrol", w.enrollBound(p, newEd25519(t)), 201, "")
}

func TestTroubleOfTheStoreIsNoRefusalOfAKeyPair(t *testing.T) {
	st := new(spy)
	w := newWorld(t, spied(st))
	p, signer := w.provisionBound(w.makeKey("ci"), "sdr-1"), newEd25519(t)
	st.set(func(c storeCall) error {
		if c.kinds[0] == agent.Kind {
			return errors.New("trouble")
		}
		return nil
	})
	w.want("the store fails", w.enrollBound(p, signer), 503, "")
	st.set(nil)
	w.want("and works again", w.enrollBound(p, signer), 201, "")
}
