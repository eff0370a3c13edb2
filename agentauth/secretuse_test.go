package agentauth_test

import (
	"context"
	"crypto"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/agentauth"
)

// enrollBy enrols key with credentials in the field Authorization.
func (w *world) enrollBy(key crypto.Signer, body string, credentials ...string) answer {
	w.t.Helper()
	r := w.request("POST", "/enrol", body)
	r.Header["Authorization"] = credentials
	return w.do(w.sign(r, key, agentauth.SignOptions{}))
}

func TestSecretAdmitsOneAgent(t *testing.T) {
	w, secrets := newSecretWorld(t)
	made := makeSecret(t, secrets, agentauth.SecretSettings{})
	key := newEd25519(t)
	w.wantToken(w.enrollBy(key, `{"agent_id":"aauth:a@ap.example"}`, "Bearer "+made.Text))
	if n := usedOf(t, secrets, made.ID); n != 1 {
		t.Errorf("used %d times, want 1", n)
	}
	w.clock.advance(time.Second)
	w.wantToken(w.enrollBy(key, `{"agent_id":"aauth:a@ap.example"}`, "Bearer "+made.Text))
	w.clock.advance(time.Second)
	w.wantToken(w.tryEnroll(key, `{}`))
	if n := usedOf(t, secrets, made.ID); n != 1 {
		t.Errorf("a repeat was counted: %d", n)
	}
	w.wantError(w.enrollBy(newEd25519(t), `{"agent_id":"aauth:b@ap.example"}`, "Bearer "+made.Text), 403, "denied")
	if a, err := w.provider.Agent(t.Context(), "aauth:a@ap.example"); err != nil || a.AdmittedBy != made.ID {
		t.Errorf("got %+v, %v, admitted by %s", a, err, made.ID)
	}
}

// TestSecretDecides: what was chosen with the secret is what its agent has.
func TestSecretDecides(t *testing.T) {
	w, secrets := newSecretWorld(t)
	made := makeSecret(t, secrets, agentauth.SecretSettings{
		AgentID: "aauth:bound@ap.example", PersonServer: "https://ps.example", Scopes: []string{"read", "write"}, TokenLife: 10 * time.Minute,
	})
	key := newEd25519(t)
	token := w.wantToken(w.enrollBy(key, `{}`, "bearer "+made.Text))
	_, claims := claimsOf(t, token)
	if claims["sub"] != "aauth:bound@ap.example" || claims["ps"] != "https://ps.example" || claims["exp"].(float64)-claims["iat"].(float64) != 600 {
		t.Errorf("claims: %v", claims)
	}
	if got := w.whoami(key, token).json(t)["Scopes"]; !cmp.Equal(got, []any{"read", "write"}) {
		t.Errorf("scopes: %v", got)
	}
}

// TestSecretMustBeCovered: a secret that was put beside a signature, or taken
// from another request, is none.
func TestSecretMustBeCovered(t *testing.T) {
	w, secrets := newSecretWorld(t)
	made := makeSecret(t, secrets, agentauth.SecretSettings{})
	key := newEd25519(t)
	r := w.sign(w.request("POST", "/enrol", `{}`), key, agentauth.SignOptions{})
	r.Header.Set("Authorization", "Bearer "+made.Text)
	a := w.do(r)
	w.wantError(a, 401, "invalid_input")
	if got := a.header.Get("Signature-Error"); !strings.Contains(got, `"authorization"`) {
		t.Errorf("Signature-Error: %q", got)
	}

	other := makeSecret(t, secrets, agentauth.SecretSettings{})
	r = w.request("POST", "/enrol", `{}`)
	r.Header.Set("Authorization", "Bearer "+other.Text)
	w.sign(r, key, agentauth.SignOptions{})
	r.Header.Set("Authorization", "Bearer "+made.Text)
	w.wantError(w.do(r), 401, "invalid_signature")
	if usedOf(t, secrets, made.ID) != 0 || usedOf(t, secrets, other.ID) != 0 || len(w.agents()) != 0 {
		t.Error("a secret was used")
	}
}

func TestSecretExpires(t *testing.T) {
	w, secrets := newSecretWorld(t)
	for _, life := range []time.Duration{0, time.Minute, 30 * 24 * time.Hour} {
		first := makeSecret(t, secrets, agentauth.SecretSettings{Life: life})
		second := makeSecret(t, secrets, agentauth.SecretSettings{Life: life})
		if life == 0 {
			life = 24 * time.Hour
		}
		if !first.Expires.Equal(w.clock.Now().Add(life)) {
			t.Errorf("expires %v, want in %v", first.Expires, life)
		}
		w.clock.advance(life - time.Second)
		w.wantToken(w.enrollBy(newEd25519(t), `{}`, "Bearer "+first.Text))
		w.clock.advance(time.Second)
		w.wantError(w.enrollBy(newEd25519(t), `{}`, "Bearer "+second.Text), 403, "denied")
	}
	if list, err := secrets.List(t.Context(), "", 0); err != nil || len(list) != 0 {
		t.Errorf("listed: %v, %v", list, err)
	}
}

// TestSecretUsesAreExact: of many that come at once to several providers on one
// store, as many are admitted as there are uses.
func TestSecretUsesAreExact(t *testing.T) {
	w, secrets := newSecretWorld(t)
	made := makeSecret(t, secrets, agentauth.SecretSettings{Uses: 7})
	muxes := []*http.ServeMux{w.mux, http.NewServeMux()}
	replica, err := agentauth.NewProvider(agentauth.ProviderConfig{Host: w.host, Keys: w.keys, Admission: secrets.Admit})
	must(t, err)
	replica.Register(muxes[1], "")
	var requests []*http.Request
	for range 40 {
		r := w.request("POST", "/enrol", `{}`)
		r.Header.Set("Authorization", "Bearer "+made.Text)
		requests = append(requests, w.sign(r, newEd25519(t), agentauth.SignOptions{}))
	}
	if diff := cmp.Diff(map[int]int{200: 7, 403: 33}, atOnce(muxes, requests)); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	if n := usedOf(t, secrets, made.ID); n != 7 || len(w.agents()) != 7 {
		t.Errorf("%d uses, %d agents", n, len(w.agents()))
	}
}

// TestOneKeyAtOnceIsOneUse: a client that is impatient does not lose its secret
// to itself.
func TestOneKeyAtOnceIsOneUse(t *testing.T) {
	w, secrets := newSecretWorld(t)
	made := makeSecret(t, secrets, agentauth.SecretSettings{})
	key := newEd25519(t)
	request := func(second int) *http.Request {
		r := w.request("POST", "/enrol", `{}`)
		r.Header.Set("Authorization", "Bearer "+made.Text)
		return w.sign(r, key, agentauth.SignOptions{Expires: w.clock.Now().Add(time.Duration(second) * time.Second)})
	}
	first := request(1)
	slow, err := agentauth.NewProvider(agentauth.ProviderConfig{Host: w.host, Keys: w.keys, Admission: func(ctx context.Context, a agentauth.Applicant) (agentauth.Admitted, error) {
		w.wantToken(w.do(first))
		return secrets.Admit(ctx, a)
	}})
	must(t, err)
	mux := http.NewServeMux()
	slow.Register(mux, "")
	w.wantToken((&world{mux: mux}).do(request(2)))

	key, made = newEd25519(t), makeSecret(t, secrets, agentauth.SecretSettings{})
	if diff := cmp.Diff(map[int]int{200: 3}, atOnce([]*http.ServeMux{w.mux}, []*http.Request{request(1), request(2), request(3)})); diff != "" {
		t.Fatalf("answers (-want +got):\n%s", diff)
	}
}

// TestSecretIsDeletedMeanwhile: what was asked before counts no more when the agent
// is written.
func TestSecretIsDeletedMeanwhile(t *testing.T) {
	var secrets *agentauth.EnrollmentSecrets
	id, asked := "", 0
	w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
		secrets, _ = agentauth.NewEnrollmentSecrets(c.Host)
		c.Admission = func(ctx context.Context, a agentauth.Applicant) (agentauth.Admitted, error) {
			to, err := secrets.Admit(ctx, a)
			if asked++; asked == 1 {
				must(t, secrets.Delete(ctx, person, id))
			}
			return to, err
		}
	}})
	made := makeSecret(t, secrets, agentauth.SecretSettings{})
	id = made.ID
	w.wantError(w.enrollBy(newEd25519(t), `{}`, "Bearer "+made.Text), 403, "denied")
	if asked != 2 || len(w.agents()) != 0 {
		t.Errorf("asked %d times, agents %v", asked, w.agents())
	}
}

// atOnce sends requests to the muxes in turn, and counts the answers by status.
func atOnce(muxes []*http.ServeMux, requests []*http.Request) map[int]int {
	var wg sync.WaitGroup
	var mu sync.Mutex
	statuses := make(map[int]int)
	start := make(chan struct{})
	for i, r := range requests {
		w := world{mux: muxes[i%len(muxes)]}
		wg.Go(func() {
			<-start
			a := w.do(r)
			mu.Lock()
			defer mu.Unlock()
			statuses[a.status]++
		})
	}
	close(start)
	wg.Wait()
	return statuses
}
