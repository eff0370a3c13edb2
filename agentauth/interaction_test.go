package agentauth_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/agentauth"
)

const interactAt = `requirement=interaction; url="https://ps.example/interact"; code="a1B2 c3"`

func TestInteraction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var shown []agentauth.Interaction
		w := newErrandWorld(t, func(c *agentauth.PersonServerConfig) {
			c.Interact = func(_ context.Context, i agentauth.Interaction) error {
				shown = append(shown, i)
				return nil
			}
		})
		other := `requirement=interaction; url="https://ps.example/interact"; code="other"`
		w.desk.script = []scripted{{202, interactAt, "1", ""}, {202, interactAt, "1", ""}, {202, "", "1", ""}, {202, interactAt, "1", ""}, {202, other, "1", ""}}
		if status, err := w.fetch(shopURL); status != 200 {
			t.Fatal(status, err)
		}
		want := []agentauth.Interaction{
			{URL: "https://ps.example/interact", Code: "a1B2 c3", Resource: "https://shop.example"},
			{URL: "https://ps.example/interact", Code: "other", Resource: "https://shop.example"},
		}
		if !slices.Equal(shown, want) {
			t.Errorf("got %d, want each once", len(shown))
		}
		if link := shown[0].Link(); link != "https://ps.example/interact?code=a1B2+c3" {
			t.Errorf("link %s", link)
		}
		if got := w.desk.tookPaths(); strings.Contains(got, "/relay") {
			t.Errorf("the person server was told of its own: %s", got)
		}
	})
}

func TestInteractionsThatAreRefused(t *testing.T) {
	failure := errors.New("no browser")
	for name, tt := range map[string]struct {
		header string
		none   bool
		want   string
	}{
		"http":          {`requirement=interaction; url="http://ps.example/i"; code="A"`, false, "want https://host/path without a query"},
		"http, local":   {`requirement=interaction; url="http://127.0.0.1/i"; code="A"`, false, "want https://host/path without a query"},
		"a query":       {`requirement=interaction; url="https://ps.example/i?a=b"; code="A"`, false, "want https://host/path without a query"},
		"a fragment":    {`requirement=interaction; url="https://ps.example/i#a"; code="A"`, false, "want https://host/path without a query"},
		"a password":    {`requirement=interaction; url="https://a:b@ps.example/i"; code="A"`, false, "want https://host/path without a query"},
		"a script":      {`requirement=interaction; url="javascript:alert(1)"; code="A"`, false, "want https://host/path without a query"},
		"no URL":        {`requirement=interaction; code="A"`, false, "want https://host/path without a query"},
		"no code":       {`requirement=interaction; url="https://ps.example/i"`, false, "code is missing"},
		"a long code":   {`requirement=interaction; url="https://ps.example/i"; code="` + strings.Repeat("A", 257) + `"`, false, "code is missing"},
		"no callback":   {interactAt, true, "Interact is not set"},
		"its failure":   {interactAt, false, "no browser"},
		"clarify: none": {"requirement=clarification", false, "Clarify is not set"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newErrandWorld(t, func(c *agentauth.PersonServerConfig) {
				if !tt.none {
					c.Interact = func(context.Context, agentauth.Interaction) error { return failure }
				}
			})
			w.desk.script = []scripted{{202, tt.header, "1", `{"clarification":"?"}`}}
			status, err := w.fetch(shopURL)
			refusedAs(t, name, status, err, "person-token", tt.want)
			if got := w.desk.tookPaths(); got != "POST /person, DELETE /pending/1" {
				t.Errorf("%s: the person server saw %s", name, got)
			}
			if _, ok := errors.AsType[*agentauth.CallbackError](err); ok != strings.Contains(tt.want, "not set") {
				t.Errorf("%s: %v", name, err)
			}
			if strings.Contains(err.Error(), "a1B2") {
				t.Errorf("%s: a code in %v", name, err)
			}
		})
	}
}

// TestCapabilities: what no callback is for is not announced.
func TestCapabilities(t *testing.T) {
	interact := func(context.Context, agentauth.Interaction) error { return nil }
	clarify := func(context.Context, agentauth.Clarification) (agentauth.ClarificationReply, error) {
		return agentauth.ClarificationReply{}, nil
	}
	for want, edit := range map[string]func(*agentauth.PersonServerConfig){
		`[]`:                              nil,
		`["interaction"]`:                 func(c *agentauth.PersonServerConfig) { c.Interact = interact },
		`["clarification"]`:               func(c *agentauth.PersonServerConfig) { c.Clarify = clarify },
		`["interaction","clarification"]`: func(c *agentauth.PersonServerConfig) { c.Interact, c.Clarify = interact, clarify },
	} {
		w := newErrandWorld(t, edit)
		w.fetch(shopURL)
		for _, s := range w.desk.took() {
			if !strings.Contains(s, `"capabilities":`+want) {
				t.Errorf("%s: %s", want, s)
			}
		}
	}
}

func TestClarification(t *testing.T) {
	const clarify = "requirement=clarification"
	question := `{"status":"pending","clarification":"**Why?**","timeout":120,"options":["a","b"]}`
	reply := agentauth.ClarificationReply{Text: "because"}
	var asked []agentauth.Clarification
	world := func(t *testing.T) *errandWorld {
		asked = nil
		return newErrandWorld(t, func(c *agentauth.PersonServerConfig) {
			c.Clarify = func(_ context.Context, q agentauth.Clarification) (agentauth.ClarificationReply, error) {
				asked = append(asked, q)
				return reply, nil
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := world(t)
		// The question, its answer's answer, and the question that was answered again.
		w.desk.script = []scripted{{202, clarify, "1", question}, {202, "", "", `{"status":"pending"}`}, {202, "", "1", question}, {202, clarify, "1", question}}
		if status, err := w.fetch(shopURL); status != 200 {
			t.Fatal(status, err)
		}
		want := []agentauth.Clarification{{Question: "**Why?**", Options: []string{"a", "b"}, Timeout: 2 * time.Minute, Resource: "https://shop.example"}}
		if diff := cmp.Diff(want, asked); diff != "" {
			t.Error(diff)
		}
		seen := w.desk.took()
		if len(seen) < 2 || seen[1] != `POST /pending/1 {"action":"clarification_response","clarification_response":"because"}` {
			t.Errorf("the person server saw %q", seen)
		}
	})
	for name, tt := range map[string]struct {
		reply agentauth.ClarificationReply
		body  string
		want  error
		why   string
	}{
		"withdrawn":        {agentauth.ClarificationReply{Cancel: true}, question, agentauth.ErrCancelled, "withdrawn"},
		"nothing":          {agentauth.ClarificationReply{}, question, nil, "want one of"},
		"two":              {agentauth.ClarificationReply{Text: "a", Cancel: true}, question, nil, "want one of"},
		"no resource":      {agentauth.ClarificationReply{ResourceToken: "a.b.c"}, question, nil, "no resource token"},
		"no question":      {reply, `{"status":"pending"}`, nil, "question"},
		"a long question":  {reply, `{"clarification":"` + strings.Repeat("a", 16<<10+1) + `"}`, nil, "question"},
		"options of what?": {reply, `{"clarification":"a","options":[1]}`, nil, "options"},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := world(t)
			reply = tt.reply
			w.desk.script = []scripted{{202, clarify, "1", tt.body}}
			status, err := w.fetch(shopURL)
			refusedAs(t, name, status, err, "person-token", tt.why)
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("%s: %v", name, err)
			}
			if got := w.desk.tookPaths(); got != "POST /person, DELETE /pending/1" {
				t.Errorf("%s: the person server saw %s", name, got)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // it is not asked for ever
		w := world(t)
		reply = agentauth.ClarificationReply{Text: "because"}
		for _, q := range "abcdefghijklmnop" {
			w.desk.script = append(w.desk.script, scripted{202, clarify, "1", `{"clarification":"` + string(q) + `"}`}, scripted{202, "", "", ""})
		}
		status, err := w.fetch(shopURL)
		refusedAs(t, "without end", status, err, "person-token", "too much")
		if len(asked) != 10 {
			t.Errorf("asked %d times", len(asked))
		}
	})
}

// TestUpdatedRequest: another resource token may take the place of the first, and is
// checked as that was.
func TestUpdatedRequest(t *testing.T) {
	for _, good := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			var w *errandWorld
			var shown map[string]any
			w = newErrandWorld(t, func(c *agentauth.PersonServerConfig) {
				c.Clarify = func(context.Context, agentauth.Clarification) (agentauth.ClarificationReply, error) {
					w.shop.mu.Lock()
					defer w.shop.mu.Unlock()
					if !good {
						w.shop.changes = map[string]any{"sub": "person-2"}
					}
					return agentauth.ClarificationReply{ResourceToken: w.shop.resourceToken(shown)}, nil
				}
			})
			w.shop.serve = func(_ http.ResponseWriter, _ *http.Request, typ string, c map[string]any) bool {
				if typ == "aa-person+jwt" {
					shown = c
					w.desk.set(func() {
						w.desk.script = []scripted{{202, "requirement=clarification", "1", `{"clarification":"all of it?"}`}, {202, "", "", ""}}
					})
				}
				return false
			}
			status, err := w.fetch(shopURL)
			if good && status != 200 {
				t.Errorf("%d, %v", status, err)
			}
			if !good {
				refusedAs(t, "a bad one", status, err, "auth-token", "sub")
			}
			if got := strings.Join(w.desk.took(), "\n"); strings.Contains(got, `{"action":"updated_request","resource_token":"ey`) != good {
				t.Errorf("the person server saw %s", got)
			}
		})
	}
}
