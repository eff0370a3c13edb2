package interop_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
)

// A counter counts the requests that it passes on.
type counter struct{ n atomic.Int64 }

// RoundTrip implements [http.RoundTripper].
func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return http.DefaultTransport.RoundTrip(r)
}

// A program is one with an agent of its own, whose person is at mockin.
type program struct {
	*http.Client
	resource     string
	asked        counter      // requests to mockin
	interactions atomic.Int64 // that a person was shown
	questions    atomic.Int64
}

// A programConfig says what a program is like.
type programConfig struct {
	algorithm keystore.Algorithm
	twoKeys   bool
	compat    agentauth.Compat                    // of the resource
	person    func(consentURL, code string) error // nil: nobody to ask
	answer    string                              // to a question; "": none
}

func newProgram(t *testing.T, mockin string, c programConfig) *program {
	t.Helper()
	provider := newProvider(t)
	p := &program{resource: newResource(t, provider, mockin, c.compat)}
	e, err := agentauth.Enroll(t.Context(), agentauth.EnrollConfig{
		Provider: provider, PersonServer: mockin, Keys: new(keystore.Memory), Options: agentauth.EnrollOptions{Key: keystore.KeyOptions{Algorithm: c.algorithm}}, Development: true,
	})
	must(t, err)
	agent, err := agentauth.NewEnrolled(agentauth.EnrolledConfig{
		Key: e.Key, Provider: provider, Token: e.AgentToken, TwoKeys: c.twoKeys, Ephemeral: c.algorithm, Development: true,
	})
	must(t, err)
	person, err := agentauth.NewPersonServer(p.personServer(c))
	must(t, err)
	p.Client = &http.Client{Transport: newTransport(t, agentauth.TransportConfig{
		Identity: agent, Origins: []string{p.resource}, Person: person, Development: true,
	})}
	return p
}

func (p *program) personServer(c programConfig) agentauth.PersonServerConfig {
	config := agentauth.PersonServerConfig{HTTP: &http.Client{Transport: &p.asked}, Development: true}
	if c.person != nil {
		config.Interact = func(_ context.Context, i agentauth.Interaction) error {
			p.interactions.Add(1)
			return c.person(i.URL, i.Code)
		}
	}
	if c.answer != "" {
		config.Clarify = func(context.Context, agentauth.Clarification) (agentauth.ClarificationReply, error) {
			p.questions.Add(1)
			return agentauth.ClarificationReply{Text: c.answer}, nil
		}
	}
	return config
}

// call is try for what gets an answer.
func (p *program) call(t *testing.T, method, path, body string) reply {
	t.Helper()
	got, err := p.try(t, method, path, body)
	must(t, err)
	return got
}

// try sends a request to the resource, with a body that is JSON; "": with none.
func (p *program) try(t *testing.T, method, path, body string) (reply, error) {
	t.Helper()
	var text io.Reader
	if body != "" {
		text = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, p.resource+path, text)
	must(t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := p.Do(r)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(got)}, err
}

// What mockin wants before it grants.
const (
	nothing         = `{}`
	forEach         = `{"person_requirement": "interaction", "requirement": "interaction", "auto_approve": false}`
	forPersonToken  = `{"person_requirement": "interaction", "auto_approve": false}`
	forAuthToken    = `{"requirement": "interaction", "auto_approve": false}`
	agreedBefore    = `{"requirement": "interaction"}`
	someApproval    = `{"person_requirement": "approval", "requirement": "approval"}`
	someExplanation = `{"requirement": "clarification"}`
)

func TestProgramWithMockin(t *testing.T) {
	mockin := startNode(t, installNode(t), "mockin.mjs")
	idle := func(string, string) error { return nil }
	for _, tt := range []struct {
		name                    string
		config                  string
		program                 programConfig
		interactions, questions int64
	}{
		{"at once", nothing, programConfig{}, 0, 0},
		{"at once, by ES256", nothing, programConfig{algorithm: keystore.ES256}, 0, 0},
		{"at once, with two keys", nothing, programConfig{twoKeys: true}, 0, 0},
		{"after an interaction for each token", forEach, programConfig{person: agree}, 2, 0},
		{"after an interaction for the person token", forPersonToken, programConfig{person: agree}, 1, 0},
		{"after an interaction for the auth token", forAuthToken, programConfig{person: agree}, 1, 0},
		{"after an interaction that nobody does", agreedBefore, programConfig{person: idle}, 1, 0},
		{"after an approval", someApproval, programConfig{}, 0, 0},
		{"after a question", someExplanation, programConfig{answer: "To test it."}, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			configure(t, mockin, tt.config)
			tt.program.compat.EmitPersonTokenJTI = true
			p := newProgram(t, mockin, tt.program)
			if got := p.call(t, "GET", "/agent", ""); got.status != 200 || p.asked.n.Load() != 0 {
				t.Errorf("a route for agents: %d %s", got.status, got.body)
			}
			for _, a := range []string{`{"a":1}`, `{"a":2}`} {
				got := p.call(t, "POST", "/data", a)
				if got.status != 200 || got.member("body") != a || got.member("iss") != mockin || !strings.Contains(got.body, `"scopes":["data.read"]`) {
					t.Fatalf("a route with a scope: %d %s %v", got.status, got.body, got.header)
				}
			}
			if i, q := p.interactions.Load(), p.questions.Load(); i != tt.interactions || q != tt.questions {
				t.Errorf("%d interactions and %d questions, want %d and %d", i, q, tt.interactions, tt.questions)
			}
			// The tokens are kept, for routes that want one or the other.
			asked := p.asked.n.Load()
			for _, path := range []string{"/person", "/data", "/agent", "/data"} {
				if got := p.call(t, "GET", path, ""); got.status != 200 {
					t.Errorf("%s: %d %s", path, got.status, got.body)
				}
			}
			if again := p.asked.n.Load() - asked; again != 0 {
				t.Errorf("%d requests to mockin for what there was", again)
			}
		})
	}
}

// What mockin answers gets to the program, whatever it is.
func TestProgramIsToldWhatMockinSays(t *testing.T) {
	mockin := startNode(t, installNode(t), "mockin.mjs")
	old := agentauth.Compat{EmitPersonTokenJTI: true}
	for _, tt := range []struct {
		name, config string
		program      programConfig
		status       int
		code, text   string
	}{
		// The flag is there for mockin, which has the names of a draft before -11.
		{"with the names of -11", nothing, programConfig{}, 400, "invalid_resource_token", "resource_token missing person_token_jti"},
		{"with nobody to ask", forEach, programConfig{compat: old}, 403, "user_unreachable", "user interaction is required and the agent did not declare the interaction capability"},
		{"denied", `{"error": "denied", "error_endpoint": "token"}`, programConfig{compat: old}, 403, "denied", "Mock error: denied"},
		{"in trouble", `{"error": "server_error", "error_endpoint": "person"}`, programConfig{compat: old}, 500, "server_error", "Mock error: server_error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			configure(t, mockin, tt.config)
			p := newProgram(t, mockin, tt.program)
			got, err := p.try(t, "POST", "/data", "{}")
			var challenge *agentauth.ChallengeError
			var said *agentauth.StatusError
			if !errors.As(err, &challenge) || !errors.As(err, &said) {
				t.Fatalf("got %d %s and %v, want a ChallengeError with a StatusError", got.status, got.body, err)
			}
			if challenge.Origin != p.resource || said.Status != tt.status || said.Code != tt.code || said.Text != tt.text {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Mockin knows no auth token that is presented for a wider one: it looks for a
// person token of that name. The program gets there by its person token.
func TestProgramGetsMoreScopeOfMockin(t *testing.T) {
	mockin := startNode(t, installNode(t), "mockin.mjs")
	p := newProgram(t, mockin, programConfig{compat: agentauth.Compat{EmitPersonTokenJTI: true}})
	for _, path := range []string{"/data", "/write", "/data"} {
		if got := p.call(t, "POST", path, "{}"); got.status != 200 {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
}
