package interop_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/keywright/keywright/agentauth"
)

type object = map[string]any

// resourceTokenIn is what a resource wants the person server to have.
var resourceTokenIn = regexp.MustCompile(`^requirement=auth-token; ?resource-token="([^"]+)"`)

// interactionIn is what a person server wants a person to see.
var interactionIn = regexp.MustCompile(`^requirement=interaction; ?url="([^"]+)"; ?code="([^"]+)"`)

// A chain is an agent's way to a resource by way of mockin.
type chain struct {
	agentByHand
	mockin, resource string
	token            string // of the agent
	deferred         bool   // mockin wants a person for each token
}

func newChain(t *testing.T, mockin string, compat agentauth.Compat) chain {
	t.Helper()
	provider := newProvider(t)
	c := chain{mockin: mockin, resource: newResource(t, provider, mockin, compat)}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	c.agentByHand = agentByHand{t, key}
	c.enroll(provider)
	return c
}

func (c *chain) enroll(provider string) {
	c.t.Helper()
	enrolled := c.send("POST", provider+"/enrol", "", object{"ps": c.mockin})
	if c.token = enrolled.member("agent_token"); c.token == "" {
		c.t.Fatalf("enrol: %d %s", enrolled.status, enrolled.body)
	}
}

// personToken asks the resource, is sent for a person token, and returns it.
func (c *chain) personToken() string {
	c.t.Helper()
	got := c.send("GET", c.resource+"/data", c.token, nil)
	if got.status != 401 || got.header.Get("AAuth-Requirement") != "requirement=person-token" {
		c.t.Fatalf("with the agent token: %d %v %s", got.status, got.header, got.body)
	}
	got = c.granted(c.send("POST", c.mockin+"/aauth/token/person", c.token, object{"resource": c.resource, "capabilities": []string{"interaction"}}))
	if got.member("person_token") == "" {
		c.t.Fatalf("person token: %d %s", got.status, got.body)
	}
	return got.member("person_token")
}

// authToken asks the resource with a person token, and mockin with what the
// resource answers. It returns what mockin answers.
func (c *chain) authToken(person string) reply {
	c.t.Helper()
	got := c.send("GET", c.resource+"/data", person, nil)
	rt := resourceTokenIn.FindStringSubmatch(got.header.Get("AAuth-Requirement"))
	if got.status != 401 || rt == nil {
		c.t.Fatalf("with the person token: %d %v %s", got.status, got.header, got.body)
	}
	return c.granted(c.send("POST", c.mockin+"/aauth/token/auth", c.token, object{"resource_token": rt[1], "presented_token": person, "capabilities": []string{"interaction"}}))
}

// granted returns the answer, or that which there is after a person has agreed.
func (c *chain) granted(got reply) reply {
	c.t.Helper()
	if !c.deferred {
		return got
	}
	where := interactionIn.FindStringSubmatch(got.header.Get("AAuth-Requirement"))
	location := got.header.Get("Location")
	if got.status != 202 || where == nil || !strings.HasPrefix(location, c.mockin+"/") {
		c.t.Fatalf("want a deferred answer, got %d %v %s", got.status, got.header, got.body)
	}
	if waiting := c.send("GET", location, c.token, nil); waiting.status != 202 {
		c.t.Errorf("before a person has agreed: %d %s", waiting.status, waiting.body)
	}
	must(c.t, agree(where[1], where[2]))
	return c.send("GET", location, c.token, nil)
}

// agree is the person.
func agree(consentURL, code string) error {
	resp, err := http.Get(consentURL + "?code=" + url.QueryEscape(code))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New("the person: " + resp.Status)
	}
	return nil
}

func TestResourceWithMockin(t *testing.T) {
	mockin := startNode(t, installNode(t), "mockin.mjs")
	for _, tt := range []struct {
		name     string
		config   string
		deferred bool
	}{
		{"at once", nothing, false},
		{"after an interaction", forEach, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			configure(t, mockin, tt.config)
			c := newChain(t, mockin, agentauth.Compat{EmitPersonTokenJTI: true})
			c.deferred = tt.deferred
			person := c.personToken()
			if got := c.send("GET", c.resource+"/person", person, nil); got.status != 200 || got.member("iss") != mockin || got.member("sub") == "" {
				t.Errorf("a route for persons: %d %s", got.status, got.body)
			}
			auth := c.authToken(person)
			got := c.send("POST", c.resource+"/data", auth.member("auth_token"), object{"a": 1})
			if got.status != 200 || got.member("body") != `{"a":1}` || !strings.Contains(got.body, `"scopes":["data.read"]`) {
				t.Errorf("with the auth token: %d %s", got.status, got.body)
			}
		})
	}
}

// The flag is there for mockin, which has the names of a draft before -11.
func TestMockinNeedsTheOldName(t *testing.T) {
	mockin := startNode(t, installNode(t), "mockin.mjs")
	c := newChain(t, mockin, agentauth.Compat{})
	got := c.authToken(c.personToken())
	if got.status != 400 || got.member("error") != "invalid_resource_token" || got.member("detail") != "resource_token missing person_token_jti" {
		t.Errorf("got %d %s, want 400 invalid_resource_token", got.status, got.body)
	}
}
