package provisioning_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/provisioning"
)

const badToken = "Invalid or expired enrollment token"

// unlimited keeps an address that fails often from being slowed down.
func unlimited(s *setup) { s.config.Failures.Burst = -1 }

func newEd25519(t testing.TB) crypto.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newP256(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func jwkOf(t testing.TB, public crypto.PublicKey) (jwk, thumbprint string) {
	t.Helper()
	key, err := jose.PublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	b, err := jose.MarshalJWK(key, "")
	if err != nil {
		t.Fatal(err)
	}
	if thumbprint, err = key.Thumbprint(); err != nil {
		t.Fatal(err)
	}
	return string(b), thumbprint
}

// provisionBound makes what a runner with a key pair is given; more are further
// members of the request.
func (w *world) provisionBound(key, name string, more ...string) provisioning.Provisioned {
	w.t.Helper()
	body := strings.Join(append([]string{`"use_public_key":true`, `"runner_name":"` + name + `"`}, more...), ",")
	return w.offered(w.call("POST", "/api/provisioning/provision", key, "{"+body+"}"))
}

func (w *world) offered(a answer) provisioning.Provisioned {
	w.t.Helper()
	p := provisioning.Provisioned{ServerURL: base}
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.status != 201 {
		w.t.Fatalf("offer: %d %s", a.status, a.body)
	}
	return p
}

// reEnroll makes new credentials for an enrolled runner.
func (w *world) reEnroll(id string) provisioning.Provisioned {
	w.t.Helper()
	a := w.call("POST", "/api/enrollment/re-enroll/"+id, w.admin, "")
	p := w.offered(a)
	p.ID, p.Token = id, a.field("token")
	return p
}

// boundEnrollment is the request of an enrolment. A member of more replaces
// one; null takes it out.
func boundEnrollment(p provisioning.Provisioned, publicKey, proof string, more map[string]any) string {
	m := map[string]any{"enrollment_token": p.Token, "runner_id": p.ID, "hostname": "host-1", "devices": []any{}, "public_key": json.RawMessage(publicKey), "proof": proof}
	maps.Copy(m, more)
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil })
	b, _ := json.Marshal(m)
	return string(b)
}

func (w *world) enrollBound(p provisioning.Provisioned, signer crypto.Signer) answer {
	w.t.Helper()
	publicKey, proof, err := provisioning.SignEnrollment(signer, p, w.clock.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return w.call("POST", "/api/enrollment/enroll", "", boundEnrollment(p, string(publicKey), proof, nil))
}

// bound makes a runner that is enrolled with signer.
func (w *world) bound(name string, signer crypto.Signer) {
	w.t.Helper()
	key := w.makeKey("for-" + name)
	if a := w.enrollBound(w.provisionBound(key, name), signer); a.status != 201 {
		w.t.Fatalf("enrol %s: %d %s", name, a.status, a.body)
	}
}

// find is how the runner's signatures will be accepted.
func (w *world) find(signer crypto.Signer) (agent.Record, error) {
	w.t.Helper()
	_, thumbprint := jwkOf(w.t, signer.Public())
	a, key, err := agent.Find(w.t.Context(), w.host.Store, thumbprint)
	if err == nil && !signer.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(key.Public()) {
		w.t.Errorf("agent %s has another public key", a.Name)
	}
	return a, err
}

// A token signed by hand can be wrong in every way.
func signed(header, claims map[string]any, sign func(input []byte) []byte) string {
	h, _ := json.Marshal(header)
	c, _ := json.Marshal(claims)
	input := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(c)
	return input + "." + base64.RawURLEncoding.EncodeToString(sign([]byte(input)))
}

func withEd25519(key crypto.Signer) func([]byte) []byte {
	return func(input []byte) []byte { return ed25519.Sign(key.(ed25519.PrivateKey), input) }
}
