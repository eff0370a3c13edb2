package agentauth_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
)

// TestAgentGetsWhatResourcesWant is the whole way with the resource of this package:
// agent token, person token, auth token, and a wider one.
func TestAgentGetsWhatResourcesWant(t *testing.T) {
	for _, compat := range []bool{false, true} {
		w := newResourceWorld(t, nil, func(c *agentauth.VerifierConfig) { c.Profile.Compat.EmitPersonTokenJTI = compat })
		w.mux.Handle("/post", w.resource.RequireAuth(agentauth.Policy{CoverBody: true}, "data.read")(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			io.Copy(rw, r.Body)
		})))
		d := &desk{personServer: w.ps, agent: w.agent}
		u, err := url.Parse(w.ps.id)
		must(t, err)
		servers := local{"ap.example": w.mux, u.Host: d.handler(w.world)}
		identity, err := agentauth.FixedIdentity(w.agent, agentauth.SignOptions{Token: w.token})
		must(t, err)
		person, err := agentauth.NewPersonServer(agentauth.PersonServerConfig{ID: w.ps.id, HTTP: &http.Client{Transport: servers}, Now: w.clock.Now, Development: true})
		must(t, err)
		transport, err := agentauth.NewTransport(agentauth.TransportConfig{Identity: identity, Origins: []string{issuer}, Next: servers, Person: person, Now: w.clock.Now})
		must(t, err)
		client := &http.Client{Transport: transport}
		for i, tt := range []struct{ path, want string }{
			{"/agent", ""},
			{"/post", "POST /person, POST /auth"},
			{"/read", ""},
			{"/write", "POST /auth"},
			{"/read", ""}, {"/person", ""}, {"/agent", ""}, {"/write", ""}, {"/person", ""},
		} {
			req, err := http.NewRequest("POST", issuer+tt.path, strings.NewReader("hello"))
			must(t, err)
			req.Header.Set("Content-Type", "text/plain")
			w.clock.advance(time.Second)
			resp, err := client.Do(req)
			must(t, err)
			body, _ := io.ReadAll(resp.Body)
			if got := d.tookPaths(); resp.StatusCode != 200 || got != tt.want {
				t.Errorf("%d %s: %d %s; the person server saw %s, want %s", i, tt.path, resp.StatusCode, body, got, tt.want)
			}
			if tt.path == "/post" && string(body) != "hello" {
				t.Errorf("body %q", body)
			}
		}
	}
}

func TestWhatThePersonServerIsAsked(t *testing.T) {
	w := newErrandWorld(t, func(c *agentauth.PersonServerConfig) {
		c.Interact = func(context.Context, agentauth.Interaction) error { return nil }
		c.Hints = agentauth.Hints{Justification: "why", LoginHint: "ann@a.example", Tenant: "acme", Mission: "m"}
	})
	w.shop.changes = map[string]any{"login_hint": "bob@b.example"}
	if status, err := w.fetch(shopURL); status != 200 {
		t.Fatal(status, err)
	}
	seen := w.desk.took()
	want := `POST /person {"resource":"https://shop.example","mission_s256":"m","capabilities":["interaction"],"justification":"why","login_hint":"ann@a.example","tenant":"acme"}`
	if len(seen) != 2 || seen[0] != want {
		t.Fatalf("got %q, want %s", seen, want)
	}
	for _, part := range []string{`"resource_token":"ey`, `"presented_token":"ey`, `"login_hint":"bob@b.example"`, `"capabilities":["interaction"]`} {
		if !strings.Contains(seen[1], part) {
			t.Errorf("%s has no %s", seen[1], part)
		}
	}
	for _, h := range w.desk.headers {
		if h.Get("Prefer") != "wait=45" {
			t.Errorf("Prefer: %q", h.Get("Prefer"))
		}
	}
}

// TestAccessServer: the auth token is by whom the resource token is for.
func TestAccessServer(t *testing.T) {
	w := newErrandWorld(t, nil)
	w.shop.changes = map[string]any{"aud": "https://as.example"}
	if status, err := w.fetch(shopURL); status != 200 {
		t.Error(status, err)
	}
	w = newErrandWorld(t, nil)
	w.shop.changes = map[string]any{"aud": "https://as.example"}
	w.shop.serve = func(_ http.ResponseWriter, _ *http.Request, typ string, _ map[string]any) bool {
		if typ == "aa-person+jwt" {
			w.desk.set(func() { w.desk.changes = map[string]any{"iss": w.desk.id} })
		}
		return false
	}
	status, err := w.fetch(shopURL)
	refusedAs(t, "by the person server", status, err, "auth-token", "iss")
}

// TestOneAttemptForAll: who wants the same at once waits for the first.
func TestOneAttemptForAll(t *testing.T) {
	w := newErrandWorld(t, nil)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if status, err := w.fetch(shopURL); status != 200 {
				t.Error(status, err)
			}
		})
	}
	wg.Wait()
	if got := w.desk.tookPaths(); got != "POST /person, POST /auth" {
		t.Errorf("the person server saw %s", got)
	}
}

// TestDraftBeforePersonTokens: a resource of an older draft answers an agent token
// with a resource token at once, and its person server has one endpoint.
func TestDraftBeforePersonTokens(t *testing.T) {
	w := newErrandWorld(t, nil)
	w.desk.old = true
	w.shop.changes = map[string]any{"ps": nil, "sub": nil, "presented_jti": nil}
	w.desk.changes = map[string]any{"sub": "someone", "ps": nil}
	w.shop.serve = func(rw http.ResponseWriter, _ *http.Request, typ string, c map[string]any) bool {
		if typ == "aa-agent+jwt" {
			w.shop.askAuth(rw, c)
			return true
		}
		return false
	}
	if status, err := w.fetch(shopURL); status != 200 {
		t.Fatal(status, err)
	}
	seen := w.desk.took()
	if len(seen) != 1 || !strings.HasPrefix(seen[0], "POST /auth ") || strings.Contains(seen[0], "presented_token") {
		t.Errorf("the person server saw %q", seen)
	}
}

// TestStepUpAtAnOldPersonServer: it does not know that auth tokens are presented, so
// the agent goes back to its person token.
func TestStepUpAtAnOldPersonServer(t *testing.T) {
	w := newErrandWorld(t, nil)
	if status, err := w.fetch(shopURL); status != 200 {
		t.Fatal(status, err)
	}
	w.desk.took()
	w.shop.took()
	w.shop.set(func() { w.shop.wants = "sell" })
	w.desk.set(func() {
		w.desk.script = []scripted{{400, "", "", `{"error":"invalid_resource_token","detail":"no person token of mine"}`}}
	})
	if status, err := w.fetch(shopURL); status != 200 {
		t.Errorf("%d, %v", status, err)
	}
	if got := w.shop.took(); got != "auth /data, person /data, auth /data" {
		t.Errorf("the shop saw %s", got)
	}
	w.shop.set(func() { w.shop.wants = "give" })
	w.desk.set(func() { w.desk.script = []scripted{{403, "", "", `{"error":"denied"}`}} })
	status, err := w.fetch(shopURL)
	refusedAs(t, "denied", status, err, "auth-token", "denied")
	if e, ok := errors.AsType[*agentauth.StatusError](err); !ok || e.Status != 403 || e.Code != "denied" {
		t.Errorf("%v", err)
	}
}

// TestUnsatisfiable: the answer is the caller's, and tells what it wants.
func TestUnsatisfiable(t *testing.T) {
	for name, edit := range map[string]func(w *errandWorld){
		"the agent has no person server": func(w *errandWorld) {
			w.agent = newEd25519(t)
			w.token = w.enroll(w.agent, `{"agent_id":"aauth:alone@ap.example"}`)
		},
		"an unknown requirement": func(w *errandWorld) {
			w.shop.serve = func(rw http.ResponseWriter, _ *http.Request, _ string, _ map[string]any) bool {
				rw.Header().Set("AAuth-Requirement", "requirement=person-token-2")
				rw.WriteHeader(401)
				return true
			}
		},
		"the same again": func(w *errandWorld) {
			w.shop.serve = func(rw http.ResponseWriter, _ *http.Request, _ string, _ map[string]any) bool {
				rw.Header().Set("AAuth-Requirement", "requirement=person-token")
				rw.WriteHeader(401)
				return true
			}
		},
		"an agent token in place of one": func(w *errandWorld) {
			w.shop.serve = func(rw http.ResponseWriter, _ *http.Request, _ string, _ map[string]any) bool {
				rw.Header().Set("AAuth-Requirement", "requirement=agent-token")
				rw.WriteHeader(401)
				return true
			}
		},
	} {
		w := newErrandWorld(t, nil)
		edit(w)
		identity, err := agentauth.FixedIdentity(w.agent, agentauth.SignOptions{Token: w.token})
		must(t, err)
		resp, err := w.as(identity).Get(shopURL)
		must(t, err)
		e, ok := errors.AsType[*agentauth.ChallengeError](agentauth.RefusalOf(resp))
		if resp.StatusCode != 401 || !ok || e.Origin != "https://shop.example" || e.Requirement.Name == "" || e.Err != nil {
			t.Errorf("%s: %d, %v", name, resp.StatusCode, agentauth.RefusalOf(resp))
		}
		if n := strings.Count(w.shop.took(), "/data"); n > 3 {
			t.Errorf("%s: %d requests", name, n)
		}
	}
	if err := agentauth.RefusalOf(&http.Response{StatusCode: 200, Header: http.Header{"Aauth-Requirement": {"requirement=agent-token"}}}); err != nil {
		t.Error(err)
	}
}
