package agentauth_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
)

// TestNothingPrintsAPrivateKeyOrToken looks for the bytes of a private key, in every
// spelling, and for a token in whatever prints a value of the agent's side (KST-10).
func TestNothingPrintsAPrivateKeyOrToken(t *testing.T) {
	w := newWorld(t, worldConfig{})
	client := &http.Client{Transport: local{"ap.example": w.mux}}
	raw := newEd25519(t)
	token := w.enroll(raw, `{}`)
	key, err := keystore.FromSigner("agent", raw)
	must(t, err)
	ec := agentauth.EnrolledConfig{Key: key, Provider: issuer, Token: token, HTTP: client, Now: w.clock.Now}
	agent, err := agentauth.NewEnrolled(ec)
	must(t, err)
	credential, err := agent.Credential(t.Context())
	must(t, err)
	as := agentauth.SignOptions{Durable: raw}
	fixed, err := agentauth.FixedIdentity(raw, as)
	must(t, err)
	tc := agentauth.TransportConfig{Identity: fixed, Origins: []string{issuer}}
	transport, err := agentauth.NewTransport(tc)
	must(t, err)
	person, err := agentauth.NewPersonServer(agentauth.PersonServerConfig{ID: "https://ps.example"})
	must(t, err)
	values := map[string]any{
		"the configuration of an Enrolled": ec, "an Enrolled": agent, "its Credential": credential, "a pointer to it": &credential,
		"a Credential of the raw key": agentauth.Credential{Key: raw, As: agentauth.SignOptions{Token: token}},
		"SignOptions with a token":    agentauth.SignOptions{Token: token}, "SignOptions with a key": as,
		"a fixed Identity": fixed, "a TransportConfig": tc, "a Transport": transport, "a PersonServer": person,
		"an Enrollment":   agentauth.Enrollment{AgentToken: token, Key: key},
		"an EnrollConfig": agentauth.EnrollConfig{Keys: new(keystore.Memory)}, "a RotateConfig": agentauth.RotateConfig{Keys: new(keystore.Memory)},
	}
	seed := raw.Seed()
	secrets := map[string]string{
		"the seed": string(seed), "the seed in hex": hex.EncodeToString(seed), "the seed in base64url": base64.RawURLEncoding.EncodeToString(seed),
		"the seed in base64": base64.StdEncoding.EncodeToString(seed), "the seed in numbers": strings.Trim(fmt.Sprint(seed), "[]"),
		"the key in base64": base64.StdEncoding.EncodeToString(raw), "the token": token, "the token's signature": token[strings.LastIndexByte(token, '.'):],
	}
	for name, v := range values {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		if text, err := json.Marshal(v); err == nil {
			out.Write(text)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("text", "value", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "value", v)
		for what, secret := range secrets {
			if strings.Contains(out.String(), secret) {
				t.Errorf("%s shows %s", name, what)
			}
		}
	}
}
