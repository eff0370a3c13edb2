package provisioning_test

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/provisioning"
	"github.com/keywright/keywright/store"
)

func TestARunnerWithAKeyPairEnrols(t *testing.T) {
	for name, signer := range map[string]crypto.Signer{"Ed25519": newEd25519(t), "P-256": newP256(t)} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := w.provisionBound(w.makeKey("ci", `"scopes":["beat"]`, `"tags":["blue"]`), "sdr-1")
			if p.APIKey != "" || p.Challenge == "" || !strings.Contains(p.ConfigYAML, `enrollment_challenge: "`+p.Challenge+`"`) || !strings.Contains(p.ConfigYAML, `api_key: ""`) {
				t.Fatalf("provisioned with key %q and challenge %q in %s", p.APIKey, p.Challenge, p.ConfigYAML)
			}
			if _, err := w.find(signer); !errors.Is(err, agent.ErrRefused) {
				t.Errorf("before the enrolment: %v", err)
			}
			before := len(w.dump(keywright.KindKey))
			a := w.enrollBound(p, signer)
			if want := `{"success":true,"runner_id":"sdr-1","message":"Runner sdr-1 enrolled successfully"}`; a.status != 201 || a.body != want {
				t.Errorf("got %d %s, want 201 %s", a.status, a.body, want)
			}
			if after := len(w.dump(keywright.KindKey)); after != before {
				t.Errorf("the enrolment has made %d bearer keys, want none", after-before)
			}
			_, thumbprint := jwkOf(t, signer.Public())
			if shown := w.call("GET", "/api/runners/sdr-1", w.admin, ""); shown.field("jkt") != thumbprint || shown.field("key_id") != "" {
				t.Errorf("the runner is shown as %s, want jkt %s", shown.body, thumbprint)
			}
			found, err := w.find(signer)
			if err != nil || found.Name != "sdr-1" || fmt.Sprint(found.Scopes) != "[beat]" || found.Attrs["runner"] != "sdr-1" || found.Attrs["tags"] != "blue" || found.Attrs["provisioned_by"] != "provisioning:ci" || !found.Created.Equal(epoch) {
				t.Errorf("the agent is %+v, %v", found, err)
			}
			if found.JWK == nil || strings.Contains(string(found.JWK), `"d"`) {
				t.Errorf("the agent's key is %s", found.JWK)
			}
			w.want("disable", w.call("POST", "/api/runners/sdr-1/disable", w.admin, ""), 200, "")
			if _, err := w.find(signer); !errors.Is(err, agent.ErrRefused) {
				t.Errorf("disabled: %v", err)
			}
			w.want("enable", w.call("POST", "/api/runners/sdr-1/enable", w.admin, ""), 200, "")
			if _, err := w.find(signer); err != nil {
				t.Errorf("enabled: %v", err)
			}
			w.want("delete", w.call("DELETE", "/api/runners/sdr-1", w.admin, ""), 200, "")
			if _, err := w.find(signer); !errors.Is(err, agent.ErrRefused) {
				t.Errorf("deleted: %v", err)
			}
			if left := w.dump(agent.Kind); len(left) != 0 {
				t.Errorf("of the deleted runner is left: %v", left)
			}
		})
	}
}

func TestAnAgentIsNotLetInForAnotherRunnerOfItsName(t *testing.T) {
	w, signer := newWorld(t), newEd25519(t)
	w.bound("sdr-1", signer)
	_, thumbprint := jwkOf(t, signer.Public())
	kept, err := w.db.Get(t.Context(), agent.Key(thumbprint))
	if err != nil {
		t.Fatal(err)
	}
	w.want("delete", w.call("DELETE", "/api/runners/sdr-1", w.admin, ""), 200, "")
	w.want("another", w.enrollBound(w.provisionBound(w.makeKey("other"), "sdr-1"), newEd25519(t)), 201, "")
	if err := w.db.Commit(t.Context(), store.Put(kept[0])); err != nil {
		t.Fatal(err)
	}
	if _, err := w.find(signer); !errors.Is(err, agent.ErrRefused) {
		t.Errorf("got %v, want ErrRefused", err)
	}
}

func TestAnEnrolmentNeedsAGoodProof(t *testing.T) {
	further := func(s *setup) { s.config.ServerURLs = []string{"https://Second.example/"} }
	w := newWorld(t, unlimited, further)
	key, signer, other := w.makeKey("ci"), newEd25519(t), newEd25519(t)
	p, neighbour := w.provisionBound(key, "sdr-1"), w.provisionBound(key, "sdr-2")
	publicKey, _ := jwkOf(t, signer.Public())
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	type token = map[string]any
	now := epoch.Unix()
	sign := withEd25519(signer)
	good := func(change func(header, claims token)) string {
		header := token{"alg": "EdDSA", "typ": "runner-enrollment+jwt"}
		claims := token{"aud": base, "sub": "sdr-1", "iat": now, "exp": now + 60, "nonce": p.Challenge}
		change(header, claims)
		return signed(header, claims, sign)
	}
	set := func(name string, v any) string { return good(func(_, c token) { c[name] = v }) }
	for name, proof := range map[string]string{
		"without a type":                good(func(h, _ token) { delete(h, "typ") }),
		"of the type of a refresh":      good(func(h, _ token) { h["typ"] = "runner-refresh+jwt" }),
		"of the type of any token":      good(func(h, _ token) { h["typ"] = "JWT" }),
		"with a header of another kind": good(func(h, _ token) { h["crit"] = []string{"exp"} }),
		"by another key":                signed(token{"alg": "EdDSA", "typ": "runner-enrollment+jwt"}, token{"aud": base, "sub": "sdr-1", "iat": now, "exp": now + 60, "nonce": p.Challenge}, withEd25519(other)),
		"none":                          signed(token{"alg": "none", "typ": "runner-enrollment+jwt"}, token{"aud": base, "sub": "sdr-1", "iat": now, "exp": now + 60, "nonce": p.Challenge}, func([]byte) []byte { return nil }),
		"HS256 by the public key": signed(token{"alg": "HS256", "typ": "runner-enrollment+jwt"}, token{"aud": base, "sub": "sdr-1", "iat": now, "exp": now + 60, "nonce": p.Challenge}, func(input []byte) []byte {
			mac := hmac.New(sha256.New, []byte(publicKey))
			mac.Write(input)
			return mac.Sum(nil)
		}),
		"RS256": signed(token{"alg": "RS256", "typ": "runner-enrollment+jwt"}, token{"aud": base, "sub": "sdr-1", "iat": now, "exp": now + 60, "nonce": p.Challenge}, func(input []byte) []byte {
			digest := sha256.Sum256(input)
			signature, _ := rsaKey.Sign(rand.Reader, digest[:], crypto.SHA256)
			return signature
		}),
		"that has expired":             good(func(_, c token) { c["iat"], c["exp"] = now-300, now-60 }),
		"without an end":               good(func(_, c token) { delete(c, "exp") }),
		"without a beginning":          good(func(_, c token) { delete(c, "iat") }),
		"for longer than ten minutes":  set("exp", now+601),
		"of the future":                good(func(_, c token) { c["iat"], c["exp"] = now+61, now+120 }),
		"not valid yet":                set("nbf", now+61),
		"for another server":           set("aud", "https://other.example"),
		"for two servers":              set("aud", []string{base, "https://other.example"}),
		"for a path of this server":    set("aud", base+"/api"),
		"for nobody":                   good(func(_, c token) { delete(c, "aud") }),
		"about another runner":         set("sub", "sdr-2"),
		"about nobody":                 good(func(_, c token) { delete(c, "sub") }),
		"of the neighbour's challenge": set("nonce", neighbour.Challenge),
		"of an empty challenge":        set("nonce", ""),
		"without a challenge":          good(func(_, c token) { delete(c, "nonce") }),
		"that is no token":             "proof",
		"that is cut off":              strings.TrimSuffix(good(func(_, _ token) {}), "A")[:100],
		"that is too long":             set("more", strings.Repeat("a", jose.MaxToken)),
	} {
		before := w.dump(kinds...)
		w.want("a proof "+name, w.call("POST", "/api/enrollment/enroll", "", boundEnrollment(p, publicKey, proof, nil)), 401, badToken)
		w.unchanged("a proof "+name, before)
	}
	proof := good(func(_, _ token) {})
	stolen := boundEnrollment(neighbour, publicKey, proof, nil)
	w.want("the proof of another runner", w.call("POST", "/api/enrollment/enroll", "", stolen), 401, badToken)
	for name, proof := range map[string]string{
		"as it should be":          proof,
		"for a further server":     set("aud", "https://second.example"),
		"for one server in a list": set("aud", []string{base}),
		"for ten minutes":          set("exp", now+600),
		"by a clock that is fast":  good(func(_, c token) { c["iat"], c["exp"] = now+60, now+120 }),
		"by a clock that is slow":  good(func(_, c token) { c["iat"], c["exp"] = now-300, now-59 }),
		"with the other algorithm": good(func(h, _ token) { h["alg"] = "Ed25519" }),
		"with a claim of its own":  set("more", true),
	} {
		w.want("a proof "+name, w.call("POST", "/api/enrollment/enroll", "", boundEnrollment(p, publicKey, proof, nil)), 201, "")
	}
}

func TestAnEnrolmentNeedsTheRightKindOfCredential(t *testing.T) {
	w, signer := newWorld(t, unlimited), newEd25519(t)
	key := w.makeKey("ci")
	p := w.provisionBound(key, "sdr-1")
	token, apiKey := w.provision(key, "sdr-2")
	bearer := provisioning.Provisioned{Token: token, ID: "sdr-2", ServerURL: base}
	publicKey, proof, err := provisioning.SignEnrollment(signer, p, epoch)
	if err != nil {
		t.Fatal(err)
	}
	_, noChallenge, err := provisioning.SignEnrollment(signer, bearer, epoch)
	if err != nil {
		t.Fatal(err)
	}
	type members = map[string]any
	for _, tt := range []struct {
		name   string
		body   string
		status int
		text   string
	}{
		{"a public key without a proof", boundEnrollment(p, string(publicKey), "", members{"proof": nil}), 400, "public_key and proof: both are needed"},
		{"a proof without a public key", boundEnrollment(p, "null", proof, members{"public_key": nil}), 400, "public_key and proof: both are needed"},
		{"an API key beside both", boundEnrollment(p, string(publicKey), proof, members{"api_key": apiKey}), 400, "api_key: not beside public_key and proof"},
		{"an API key beside a public key", boundEnrollment(p, string(publicKey), "", members{"api_key": apiKey, "proof": nil}), 400, "api_key: not beside public_key and proof"},
		{"none of them", boundEnrollment(p, "null", "", members{"proof": nil, "public_key": nil}), 400, "Missing required field: api_key"},
		{"a proof that is no text", boundEnrollment(p, string(publicKey), "", members{"proof": 7}), 400, "proof: want a string, got number"},
		{"an API key for a token that wants a public key", enrollment(p.Token, apiKey, "sdr-1"), 401, badToken},
		{"a public key for a token that wants an API key", boundEnrollment(bearer, string(publicKey), noChallenge, nil), 401, badToken},
		{"a public key with another token", boundEnrollment(provisioning.Provisioned{Token: token, ID: "sdr-1"}, string(publicKey), proof, nil), 401, badToken},
		{"a public key for another runner", boundEnrollment(provisioning.Provisioned{Token: p.Token, ID: "sdr-3"}, string(publicKey), proof, nil), 401, badToken},
	} {
		before := w.dump(kinds...)
		w.want(tt.name, w.call("POST", "/api/enrollment/enroll", "", tt.body), tt.status, tt.text)
		w.unchanged(tt.name, before)
	}
	w.want("the right one", w.call("POST", "/api/enrollment/enroll", "", boundEnrollment(p, string(publicKey), proof, nil)), 201, "")
	w.want("the right one of the other", w.enroll(token, apiKey, "sdr-2"), 201, "")
}
