package agentauth_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keywright/keywright/agentauth"
)

// A slowShop answers requests for /slow by the steps given, which end with its last.
type slowShop struct {
	steps []scripted
	seen  []string
}

func (s *slowShop) serve(rw http.ResponseWriter, r *http.Request, typ string, _ map[string]any) bool {
	if !strings.HasPrefix(r.URL.Path, "/slow") && !strings.HasPrefix(r.URL.Path, "/pending") {
		return false
	}
	body, _ := io.ReadAll(r.Body)
	typ = strings.TrimSuffix(strings.TrimPrefix(typ, "aa-"), "+jwt")
	s.seen = append(s.seen, strings.TrimSpace(typ+" "+r.Method+" "+r.URL.Path+" "+string(body)))
	if r.Method != "GET" && r.URL.Path != "/slow" {
		rw.WriteHeader(204)
		return true
	}
	step := s.steps[0]
	s.steps = s.steps[1:]
	if step.status == 0 { // a long poll
		<-r.Context().Done()
		return true
	}
	if step.status == 202 {
		rw.Header().Set("Location", "/pending/1")
	}
	if step.header != "" {
		rw.Header().Set("AAuth-Requirement", step.header)
	}
	if step.retry != "" {
		rw.Header().Set("Retry-After", step.retry)
	}
	rw.WriteHeader(step.status)
	io.WriteString(rw, step.body)
	return true
}

// follow sends a request and has the transport follow the answer.
func (w *errandWorld) follow(ctx context.Context) (*http.Response, error) {
	w.t.Helper()
	c := credentialOf(w.agent, w.token)
	req, err := http.NewRequestWithContext(ctx, "POST", w.shop.id+"/slow", strings.NewReader("order"))
	must(w.t, err)
	req.Header.Set("Content-Type", "text/plain")
	sent := req.Clone(ctx)
	sent.Body, _ = req.GetBody()
	must(w.t, agentauth.SignRequest(sent, c.Key, agentauth.SignOptions{Token: w.token, Created: w.clock.Now()}))
	resp, err := w.servers.RoundTrip(sent)
	must(w.t, err)
	return w.transport().Follow(req, resp, c)
}

func TestResourcesPutRequestsOff(t *testing.T) {
	const elsewhere = `requirement=interaction; url="https://login.example/i"; code="ABC"`
	answer := agentauth.ClarificationReply{Text: "because"}
	for name, tt := range map[string]struct {
		steps []scripted
		relay int // status of the person server's answer
		want  string
		seen  []string // by the resource
		desk  string
		shown int
	}{
		"approval": {
			[]scripted{{202, "requirement=approval", "1", ""}, {202, "", "1", ""}, {200, "", "", "done"}}, 0, "200 done",
			[]string{"agent POST /slow order", "agent GET /pending/1", "agent GET /pending/1"}, "", 0,
		},
		"an unknown requirement": {
			[]scripted{{202, "requirement=dance", "1", ""}, {200, "", "", "done"}}, 0, "200 done",
			[]string{"agent POST /slow order", "agent GET /pending/1"}, "", 0,
		},
		"denied": {
			[]scripted{{202, "requirement=approval", "1", ""}, {429, "", "", ""}, {503, "", "", ""}, {403, "", "", `{"error":"denied"}`}}, 0, `403 {"error":"denied"}`,
			[]string{"agent POST /slow order", "agent GET /pending/1", "agent GET /pending/1", "agent GET /pending/1"}, "", 0,
		},
		"a gateway's end": {
			[]scripted{{202, "requirement=approval", "1", ""}, {502, "", "", `{"error":"as_unreachable"}`}, {502, "", "", "no"}}, 0, "502 no",
			[]string{"agent POST /slow order", "agent GET /pending/1", "agent GET /pending/1"}, "", 0,
		},
		"the person server shows where to go": {
			[]scripted{{202, elsewhere, "1", ""}, {202, elsewhere, "1", ""}, {200, "", "", "done"}}, 200, "200 done",
			[]string{"agent POST /slow order", "agent GET /pending/1", "agent GET /pending/1"}, "POST /relay", 0,
		},
		"it cannot": {
			[]scripted{{202, elsewhere, "1", ""}, {202, elsewhere, "1", ""}, {200, "", "", "done"}}, 424, "200 done",
			[]string{"agent POST /slow order", "agent GET /pending/1", "agent GET /pending/1"}, "POST /relay", 1,
		},
		"clarification": {
			[]scripted{{202, "requirement=clarification", "1", `{"clarification":"why?"}`}, {200, "", "", "done"}}, 0, "200 done",
			[]string{"agent POST /slow order", `agent POST /pending/1 {"action":"clarification_response","clarification_response":"because"}`, "agent GET /pending/1"}, "", 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				shown := 0
				w := newErrandWorld(t, func(c *agentauth.PersonServerConfig) {
					c.Interact = func(context.Context, agentauth.Interaction) error { shown++; return nil }
					c.Clarify = func(context.Context, agentauth.Clarification) (agentauth.ClarificationReply, error) {
						return answer, nil
					}
				})
				slow := &slowShop{steps: tt.steps}
				w.shop.serve = slow.serve
				if tt.relay != 0 {
					w.desk.script = []scripted{{tt.relay, "", "", `{"error":"interaction_unavailable"}`}}
				}
				resp, err := w.follow(t.Context())
				must(t, err)
				body, err := io.ReadAll(resp.Body)
				must(t, err)
				resp.Body.Close()
				if got := strings.TrimSpace(resp.Status[:3] + " " + string(body)); got != tt.want || shown != tt.shown {
					t.Errorf("got %s, shown %d times, want %s, %d times", got, shown, tt.want, tt.shown)
				}
				if got, want := strings.Join(slow.seen, "\n"), strings.Join(tt.seen, "\n"); got != want {
					t.Errorf("the resource saw\n%s\nwant\n%s", got, want)
				}
				if got := w.desk.tookPaths(); got != tt.desk {
					t.Errorf("the person server saw %s, want %s", got, tt.desk)
				}
			})
		})
	}
}

// TestDeferredDelivery: the auth token is shown where the answer waits, and the body
// is not sent again.
func TestDeferredDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newErrandWorld(t, nil)
		slow := &slowShop{}
		w.shop.changes = map[string]any{"ps": nil, "sub": nil, "presented_jti": nil}
		w.desk.changes = map[string]any{"sub": "someone"}
		need := `requirement=auth-token; resource-token="` + w.shop.resourceToken(nil) + `"`
		slow.steps = []scripted{{202, need, "1", ""}, {202, need, "1", ""}, {200, "", "", "done"}}
		w.shop.serve = slow.serve
		resp, err := w.follow(t.Context())
		must(t, err)
		resp.Body.Close()
		if got := strings.Join(slow.seen, ", "); resp.StatusCode != 200 || got != "agent POST /slow order, auth GET /pending/1, auth GET /pending/1" {
			t.Errorf("%d; the resource saw %s", resp.StatusCode, got)
		}
		if got := w.desk.tookPaths(); got != "POST /auth" {
			t.Errorf("the person server saw %s", got)
		}
	})
}

func TestPutOffWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newErrandWorld(t, func(c *agentauth.PersonServerConfig) { c.Patience = time.Minute })
		slow := &slowShop{}
		for range 100 {
			slow.steps = append(slow.steps, scripted{202, "requirement=approval", "", ""})
		}
		w.shop.serve = slow.serve
		_, err := w.follow(t.Context())
		refusedAs(t, "patience", 0, err, "approval", "in time")
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Second, cancel)
		if _, err = w.follow(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		slow.steps = []scripted{{202, "requirement=approval", "1", ""}, {}}
		began := time.Now()
		if w.follow(t.Context()); time.Since(began) != time.Minute {
			t.Errorf("a poll without an answer took %v", time.Since(began))
		}
		slow.steps = []scripted{{202, "requirement=clarification", "", `{"clarification":"?"}`}}
		slow.seen = nil
		_, err = w.follow(t.Context())
		refusedAs(t, "no callback", 0, err, "clarification", "Clarify is not set")
		if got := slow.seen[len(slow.seen)-1]; got != "agent DELETE /pending/1" {
			t.Errorf("it ended with %s", got)
		}
		slow.steps = []scripted{{202, "", "", "plain"}}
		resp, err := w.follow(t.Context())
		must(t, err)
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 202 || string(body) != "plain" {
			t.Errorf("a 202 that requires nothing: %d %s", resp.StatusCode, body)
		}
	})
}
