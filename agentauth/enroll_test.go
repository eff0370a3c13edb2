package agentauth_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/agentauth"
)

// TestEnrolmentAnswer is section 7.2, the response, and AGT-70.
func TestEnrolmentAnswer(t *testing.T) {
	w := newWorld(t, worldConfig{})
	key := newEd25519(t)
	a := w.tryEnroll(key, `{"agent_id":"aauth:myapp@ap.example","ps":"https://ps.example","jwk":`+jwkOf(t, key, "Ed25519")+`,"unknown":1}`)
	if a.status != 200 || a.header.Get("Cache-Control") != "no-store" || a.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %s %v", a.status, a.body, a.header)
	}
	got := a.json(t)
	token := got["agent_token"].(string)
	delete(got, "agent_token")
	jkt := thumbprint(t, key)
	if diff := cmp.Diff(map[string]any{
		"key_id": jkt, "jwks_uri": issuer + "/agents/aauth:myapp@ap.example/jwks.json", "expires_in": 3600.0, "agent_id": "aauth:myapp@ap.example",
	}, got); diff != "" {
		t.Errorf("the answer (-want +got):\n%s", diff)
	}
	header, claims := claimsOf(t, token)
	jti := claims["jti"].(string)
	if len(jti) < 26 {
		t.Errorf("jti %q has fewer than 128 random bits", jti)
	}
	delete(claims, "jti")
	keys, err := w.keys.List(t.Context())
	must(t, err)
	if diff := cmp.Diff(map[string]any{"alg": "Ed25519", "typ": "aa-agent+jwt", "kid": keys[0].ID}, header); diff != "" {
		t.Errorf("the header (-want +got):\n%s", diff)
	}
	now := float64(w.clock.Now().Unix())
	if diff := cmp.Diff(map[string]any{
		"iss": issuer, "dwk": "aauth-agent.json", "sub": "aauth:myapp@ap.example", "ps": "https://ps.example", "iat": now, "exp": now + 3600,
		"cnf": map[string]any{"jwk": map[string]any{"kty": "OKP", "crv": "Ed25519", "alg": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(key.Public().(ed25519.PublicKey))}},
	}, claims); diff != "" {
		t.Errorf("the claims (-want +got):\n%s", diff)
	}
}

// TestEnrolmentInput gives each member of the request what it must not be. Nothing
// is written, and the answer names the member.
func TestEnrolmentInput(t *testing.T) {
	other := newEd25519(t)
	p256 := newP256(t)
	tests := []struct {
		name, body string
		status     int
		code, says string
	}{
		{"no JSON", "{", 400, "invalid_request", "JSON"},
		{"a list", "[]", 400, "invalid_request", "JSON"},
		{"a member twice", `{"agent_id":"aauth:a@ap.example","agent_id":"aauth:b@ap.example"}`, 400, "invalid_request", "agent_id"},
		{"agent_id of another type", `{"agent_id":1}`, 400, "invalid_request", "agent_id"},
		{"another key in the body", `{"jwk":` + jwkOf(t, other, "Ed25519") + `}`, 400, "invalid_request", "jwk"},
		{"a key without alg", `{"jwk":` + jwkOf(t, p256, "") + `}`, 400, "invalid_request", "jwk"},
		{"a private key", `{"jwk":{"kty":"OKP","crv":"Ed25519","alg":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}}`, 400, "invalid_request", "jwk"},
		{"a symmetric key", `{"jwk":{"kty":"oct","k":"glTDKakoUPbVOd03b0gW7idkUX2l4CNVFK9DMWRIDXo"}}`, 400, "invalid_request", "jwk"},
		{"AGT-65 ps over http", `{"ps":"http://ps.example"}`, 400, "invalid_request", "ps"},
		{"AGT-65 ps a script", `{"ps":"javascript:alert(1)"}`, 400, "invalid_request", "ps"},
		{"AGT-65 ps a private address", `{"ps":"https://10.0.0.1"}`, 400, "invalid_request", "ps"},
		{"AGT-65 ps of 2 KiB", `{"ps":"https://` + strings.Repeat("a", 2048) + `.example"}`, 400, "invalid_request", "ps"},
		{"AGT-65 ps with a path", `{"ps":"https://ps.example/"}`, 400, "invalid_request", "ps"},
		{"another provider's domain", `{"agent_id":"aauth:a@other.example"}`, 400, "invalid_request", "agent_id"},
	}
	for _, id := range []string{ // AGT-61
		"aauth:My Agent@ap.example", "aauth:@ap.example", "aauth:" + strings.Repeat("a", 256) + "@ap.example", "aauth:a@http://ap.example",
		"aauth:a@AP.example", "aauth:a@b@ap.example", "aauth:а@ap.example", "aauth:a%40b@ap.example", "AAUTH:a@ap.example", "aauth:a+b@ap.example",
	} {
		text, _ := json.Marshal(map[string]string{"agent_id": id})
		tests = append(tests, struct {
			name, body string
			status     int
			code, says string
		}{"AGT-61 " + id[:min(len(id), 40)], string(text), 400, "invalid_request", "agent_id"})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, worldConfig{})
			before := w.dump()
			a := w.tryEnroll(newEd25519(t), tt.body)
			w.wantError(a, tt.status, tt.code)
			if !strings.Contains(a.json(t)["detail"].(string), tt.says) {
				t.Errorf("detail %q does not name %q", a.json(t)["detail"], tt.says)
			}
			if diff := cmp.Diff(before, w.dump()); diff != "" {
				t.Errorf("the store was changed:\n%s", diff)
			}
		})
	}
}

// TestEnrolmentNeedsProof is item 1 of section 7.2, AGT-10 and AGT-63.
func TestEnrolmentNeedsProof(t *testing.T) {
	w := newWorld(t, worldConfig{})
	key := newEd25519(t)
	body := `{"agent_id":"aauth:a@ap.example","jwk":` + jwkOf(t, key, "Ed25519") + `}`

	a := w.do(w.request("POST", "/enrol", body))
	w.wantError(a, 401, "invalid_signature")
	if got := a.header.Get("Accept-Signature-Scheme"); got != "hwk" {
		t.Errorf("Accept-Signature-Scheme: %q", got)
	}

	r := w.sign(w.request("POST", "/enrol", ""), key, agentauth.SignOptions{})
	full := w.request("POST", "/enrol", body)
	full.Header = r.Header
	full.Header.Set("Content-Type", "application/json")
	a = w.do(full)
	w.wantError(a, 401, "invalid_input")
	if got := a.header.Get("Signature-Error"); !strings.Contains(got, `"content-type"`) || !strings.Contains(got, `"content-digest"`) {
		t.Errorf("Signature-Error: %q", got)
	}

	token := w.enroll(key, body)
	a = w.do(w.sign(w.request("POST", "/enrol", body), key, agentauth.SignOptions{Token: token}))
	w.wantError(a, 401, "unsupported_scheme")
	if got := a.header.Get("Accept-Signature-Scheme"); got != "hwk" {
		t.Errorf("Accept-Signature-Scheme: %q", got)
	}
	if len(w.agents()) != 1 {
		t.Errorf("agents: %v", w.agents())
	}
}

// TestEnrolmentAgain is item 4 of section 7.2, and AGT-62.
func TestEnrolmentAgain(t *testing.T) {
	asked := 0
	w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
		c.Admission = func(ctx context.Context, a agentauth.Applicant) (agentauth.Admitted, error) {
			asked++
			return agentauth.AdmitAnybody(ctx, a)
		}
	}})
	key := newEd25519(t)
	body := `{"agent_id":"aauth:a@ap.example","ps":"https://ps.example"}`
	first := w.tryEnroll(key, body).json(t)
	for _, again := range []string{body, `{}`, `{"agent_id":"aauth:a@ap.example"}`} {
		w.clock.advance(time.Second)
		a := w.tryEnroll(key, again)
		w.wantToken(a)
		got := a.json(t)
		if got["agent_token"] == first["agent_token"] || got["key_id"] != first["key_id"] || got["agent_id"] != first["agent_id"] {
			t.Errorf("again: %v, first %v", got, first)
		}
	}
	if asked != 1 {
		t.Errorf("the admission was asked %d times", asked)
	}
	w.wantError(w.tryEnroll(newEd25519(t), body), 409, "agent_id_in_use")
	w.wantError(w.tryEnroll(key, `{"agent_id":"aauth:b@ap.example"}`), 409, "conflict")
	w.wantError(w.tryEnroll(key, `{"ps":"https://other.example"}`), 409, "conflict")
	w.clock.advance(time.Second)
	w.wantToken(w.refresh(key, agentauth.SignOptions{}))
	if diff := cmp.Diff(map[string]string{thumbprint(t, key): "aauth:a@ap.example"}, w.agents()); diff != "" {
		t.Errorf("agents (-want +got):\n%s", diff)
	}
}

// TestAgentIDOfItsOwn: without an identifier asked for it is the key's thumbprint.
func TestAgentIDOfItsOwn(t *testing.T) {
	w := newWorld(t, worldConfig{})
	key := newEd25519(t)
	if got, want := w.tryEnroll(key, `{}`).json(t)["agent_id"], "aauth:"+thumbprint(t, key)+"@ap.example"; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestThumbprintsAreNoNamesForOthers: nobody takes the identifier of a key that has
// not enrolled yet, nor is given it.
func TestThumbprintsAreNoNamesForOthers(t *testing.T) {
	key, other := newEd25519(t), newEd25519(t)
	own, spare := thumbprint(t, key), strings.Repeat("A", 42)+"B" // spare bits: no thumbprint looks like this
	tests := map[string]struct {
		name   string
		status int
	}{
		"its own":                 {own, 200},
		"another's":               {thumbprint(t, other), 400},
		"that of no known key":    {strings.Repeat("A", 43), 400},
		"43 characters":           {spare, 200},
		"42 characters":           {strings.Repeat("A", 42), 200},
		"44 characters":           {strings.Repeat("A", 44), 200},
		"43 characters and a dot": {strings.Repeat("A", 42) + ".", 200},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			id := "aauth:" + tt.name + "@ap.example"
			asked := newWorld(t, worldConfig{})
			given := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
				c.Admission = func(context.Context, agentauth.Applicant) (agentauth.Admitted, error) {
					return agentauth.Admitted{AgentID: id}, nil
				}
			}})
			for w, body := range map[*world]string{asked: `{"agent_id":"` + id + `"}`, given: "{}"} {
				a := w.tryEnroll(key, body)
				if tt.status == 200 {
					w.wantToken(a)
					continue
				}
				w.wantError(a, tt.status, "invalid_request")
				if got := w.agents(); len(got) != 0 {
					t.Errorf("agents: %v", got)
				}
			}
		})
	}
	waits := newApprovalWorld(t)
	waits.wantError(waits.tryEnroll(other, `{"agent_id":"aauth:`+own+`@ap.example"}`), 400, "invalid_request")
}
