package exchange_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/exchange"
	"github.com/keywright/keywright/store"
)

func named(id, subject string, edits ...edit) exchange.Publisher {
	return github(append([]edit{func(p *exchange.Publisher) { p.ID, p.Subject = id, subject }}, edits...)...)
}

func scopes(s ...string) edit { return func(p *exchange.Publisher) { p.Scopes = s } }
func targets(s ...string) edit {
	return func(p *exchange.Publisher) { p.Targets = s }
}
func lasting(d time.Duration) edit { return func(p *exchange.Publisher) { p.Lifetime = d } }
func environment(e string) edit    { return claims("environment", e) }
func federated(claim string) edit {
	return func(p *exchange.Publisher) { p.Subject, p.SubjectClaim = "", claim }
}

// environments is a pattern beside what there is.
func environments(e string) edit { return pattern("environment", e) }

var (
	disabled   edit = func(p *exchange.Publisher) { p.Disabled = true }
	reportOnly edit = func(p *exchange.Publisher) { p.ReportOnly = true }
)

// TestChoosing is what becomes of a token that several publishers match.
func TestChoosing(t *testing.T) {
	type publishers = []exchange.Publisher
	for _, tt := range []struct {
		name       string
		publishers publishers
		change     map[string]any
		want       string // the publisher, or the class of the refusal behind a "!"
	}{
		{"one", publishers{named("a", "x")}, nil, "a"},
		{"EXC-29: two principals", publishers{named("a", "x"), named("b", "y")}, nil, "!ambiguous"},
		{"EXC-29: three, two of one principal", publishers{named("a", "x"), named("b", "x"), named("c", "y")}, nil, "!ambiguous"},
		{"EXC-29: two principals, one of them more specific", publishers{named("a", "x", environment("prod")), named("b", "y")}, nil, "!ambiguous"},
		{"one principal twice", publishers{named("b", "x"), named("a", "x")}, nil, "a"},
		{"one principal, the same scopes in another order", publishers{named("a", "x", scopes("r", "s")), named("b", "x", scopes("s", "r", "s"))}, nil, "a"},
		{"one principal, other scopes", publishers{named("a", "x"), named("b", "x", scopes("deploy"))}, nil, "!ambiguous"},
		{"one principal, other targets", publishers{named("a", "x"), named("b", "x", targets("urn:t"))}, nil, "!ambiguous"},
		{"one principal, another lifetime", publishers{named("a", "x"), named("b", "x", lasting(time.Minute))}, nil, "!ambiguous"},
		{"one principal, the same lifetime in other words", publishers{named("a", "x"), named("b", "x", lasting(15*time.Minute))}, nil, "a"},
		{"subjects in another case", publishers{named("a", "x"), named("b", "X")}, nil, "!ambiguous"},

		{"E13: the named environment wins", publishers{named("a", "x", scopes("admin")), named("b", "x", environment("prod"))}, nil, "b"},
		{"E13: over a pattern too", publishers{named("a", "x", environments("p*"), scopes("admin")), named("b", "x", environment("prod"))}, nil, "b"},
		{"E13: a pattern over none", publishers{named("a", "x", scopes("admin")), named("b", "x", environments("p*"))}, nil, "b"},
		{"E13: whatever their order", publishers{named("b", "x", environment("prod")), named("c", "x", scopes("admin"))}, nil, "b"},
		{"E13: two that are as specific", publishers{named("a", "x", scopes("admin")), named("b", "x", environment("prod")), named("c", "x", environment("prod"), scopes("deploy"))}, nil, "!ambiguous"},
		{"E13: two patterns", publishers{named("a", "x", environments("p*")), named("b", "x", environments("*d"), scopes("deploy"))}, nil, "!ambiguous"},
		{"E13: the environment that is named is another", publishers{named("a", "x"), named("b", "x", environment("dev"), scopes("admin"))}, nil, "a"},
		{"E13: none for a job without one", publishers{named("a", "x", environment("prod")), named("b", "x", environments("*d"))}, map[string]any{"environment": nil}, "!"},
		{"E13: less for a job without one", publishers{named("a", "x", scopes("less")), named("b", "x", environment("prod"), scopes("more"))}, map[string]any{"environment": nil}, "a"},

		{"federated, of one claim", publishers{named("a", "", federated("actor")), named("b", "", federated("actor"))}, nil, "a"},
		{"federated, of two claims with one value", publishers{named("a", "", federated("actor")), named("b", "", federated("actor_id"))}, map[string]any{"actor_id": "octocat"}, "a"},
		{"federated, of two values", publishers{named("a", "", federated("actor")), named("b", "", federated("actor_id"))}, nil, "!ambiguous"},
		{"federated, and fixed with the same text", publishers{named("a", "octocat"), named("b", "", federated("actor"))}, nil, "!ambiguous"},
		{"the same the other way", publishers{named("a", "", federated("actor")), named("b", "octocat")}, nil, "!ambiguous"},
		{"federated without a subject does not count", publishers{named("a", "octocat"), named("b", "", federated("nickname"))}, nil, "a"},
		{"federated without a subject", publishers{named("b", "", federated("nickname"))}, nil, "!"},

		{"disabled", publishers{named("a", "x", disabled)}, nil, "!"},
		{"a disabled one has no say", publishers{named("a", "x", disabled), named("b", "y")}, nil, "b"},
		{"report-only", publishers{named("a", "x", reportOnly)}, nil, "!"},
		{"a report-only one has no say", publishers{named("a", "x", reportOnly, environment("prod")), named("b", "y")}, nil, "b"},
		{"the same publisher by one value twice", publishers{named("a", "x", func(p *exchange.Publisher) { p.Claims["repository_id"] = exchange.Values{"74", "74"} })}, nil, "a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, tt.publishers, func(c *exchange.Config) {
				c.Account = func(context.Context, keywright.Principal) (bool, error) { return true, nil }
			})
			token := w.issuer.GitHub(tt.change)
			report, err := w.ExplainToken(t.Context(), token)
			if err != nil {
				t.Fatal(err)
			}
			class, refused := strings.CutPrefix(tt.want, "!")
			outcome := map[string]string{"": "refuse", "ambiguous": "ambiguous"}[class]
			if refused {
				w.wantRefused(tt.name, token, class)
			} else {
				outcome = "issue"
				info, err := w.host.Keys.Check(t.Context(), w.wantKey(token))
				if err != nil || info.Attrs["publisher"] != tt.want || report.Publisher != tt.want {
					t.Errorf("by %q, explained as %q, want %q", info.Attrs["publisher"], report.Publisher, tt.want)
				}
			}
			if report.Outcome != outcome {
				t.Errorf("explained as %q, want %q", report.Outcome, outcome)
			}
		})
	}
}

func TestReportOnly(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{
		named("a", "x", reportOnly, func(p *exchange.Publisher) { p.Claims["repository_id"] = exchange.Values{"74", "74"} }),
		named("b", "x", reportOnly, environment("dev")), named("c", "x", reportOnly, disabled),
	})
	token := w.issuer.GitHub(nil)
	w.wantRefused("report-only", token, "")
	events := w.events("exchange.would_issue")
	if len(events) != 1 || events[0].Target != "a" || events[0].Attrs["publisher"] != "a" || events[0].Attrs["run"] == "" || !events[0].Time.Equal(t0) {
		t.Errorf("heard %+v", events)
	}
	if w.count(keywright.KindKeyFirst)+w.count(exchange.KindToken) != 0 {
		t.Error("something was minted or burned")
	}
	w.wantRefused("another environment", w.issuer.GitHub(map[string]any{"repository_id": "1"}), "")
	if n := len(w.events("exchange.would_issue")); n != 1 {
		t.Errorf("%d events, want one", n)
	}
	w.create(named("d", "x"))
	w.wantKey(token)
}

// pending waits for a repository of the owner 65 that does not exist yet.
func pending(id string, edits ...edit) exchange.Publisher {
	return named(id, "newcomer", append([]edit{claims("repository", "octo-org/new", "repository_id", ""), pendingFor(30 * days)}, edits...)...)
}

func newcomer(id any, more map[string]any) map[string]any {
	c := running("octo-org/new/.github/workflows/release.yml", mainRef)
	c["repository"], c["repository_id"] = "octo-org/new", id
	return plus(c, more)
}

func TestPending(t *testing.T) {
	w := newWorld(t, nil)
	w.create(pending("p"))
	for name, change := range map[string]map[string]any{
		"another repository": nil, "another owner": newcomer("9", map[string]any{"repository_owner_id": "66"}), "no id": newcomer(nil, nil), "a number": newcomer(9, nil),
		"a pull request": newcomer("9", map[string]any{"event_name": "pull_request"}), "an empty id": newcomer("", nil), "null": newcomer(null, nil),
	} {
		w.wantRefused(name, w.issuer.GitHub(change), "")
	}
	if info, err := w.Publisher(t.Context(), "p"); err != nil || info.PendingUntil.IsZero() {
		t.Fatalf("got %+v, %v, want one that is pending", info, err)
	}
	token := w.issuer.GitHub(newcomer("9", nil))
	key := w.wantKey(token)
	info, err := w.Publisher(t.Context(), "p")
	want := w.own(pending("p", claims("repository_id", "9"), func(p *exchange.Publisher) { p.PendingUntil = time.Time{} }))
	if diff := cmp.Diff(want, info.Publisher); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if e := w.events("exchange.reified"); len(e) != 1 || e[0].Attrs["publisher"] != "p" || len(w.events("exchange.issued")) != 0 {
		t.Errorf("heard %+v", e)
	}
	w.wantRefused("the same token", token, "")
	w.wantRefused("another id", w.issuer.GitHub(newcomer("10", nil)), "")
	w.clock.Advance(40 * days) // it is not pending any more, and stays
	w.wantKey(w.issuer.GitHub(newcomer("9", nil)))
	if w.works(key) {
		t.Error("the first key lives for ever")
	}
	if e := w.events("exchange.issued"); len(e) != 1 {
		t.Errorf("heard %+v", e)
	}
}

func TestExpiredPending(t *testing.T) {
	w := newWorld(t, nil)
	w.create(pending("p"))
	w.clock.Advance(30*days - 1)
	w.wantRefused("still another repository", w.issuer.GitHub(nil), "")
	w.clock.Advance(1)
	w.wantRefused("at its end", w.issuer.GitHub(newcomer("9", nil)), "")
	_, err := w.Publisher(t.Context(), "p")
	wantCode(t, "it is gone", err, keywright.CodeNotFound)
	if n := w.count(exchange.KindPublisher); n != 0 {
		t.Errorf("%d records, want none", n)
	}
}

// One that knows its ids has it before one that does not.
func TestPendingBesideOthers(t *testing.T) {
	w := newWorld(t, nil)
	w.create(pending("a"))
	w.create(pending("b", claims("repository_id", "9"), func(p *exchange.Publisher) { p.PendingUntil = time.Time{} }))
	w.wantKey(w.issuer.GitHub(newcomer("9", nil)))
	if info, err := w.Publisher(t.Context(), "a"); err != nil || info.PendingUntil.IsZero() {
		t.Errorf("got %+v, %v: it has learned for nothing", info, err)
	}
	w.create(pending("c", reportOnly))
	w.create(pending("d", disabled))
	w.wantKey(w.issuer.GitHub(newcomer("10", nil)))
	for id, want := range map[string]bool{"a": false, "c": true, "d": true} {
		if info, err := w.Publisher(t.Context(), id); err != nil || info.PendingUntil.IsZero() == want {
			t.Errorf("%s: got %+v, %v; pending: want %v", id, info, err, want)
		}
	}
}

// E18: of several tokens that come at once, in two processes, one decides.
func TestPendingRace(t *testing.T) {
	w := newWorld(t, nil)
	w.create(pending("p"))
	other := w.twin()
	type result struct {
		id string
		answer
	}
	results := make(chan result)
	var start sync.WaitGroup
	start.Add(1)
	const racers = 8
	for i := range racers {
		id, at := string(rune('1'+i%4)), w
		if i%2 == 1 {
			at = other
		}
		token := w.issuer.GitHub(newcomer(id, nil))
		go func() {
			start.Wait()
			a, err := at.try("POST", exchange.TokenPath, "", form(token))
			if err != nil {
				t.Error(err)
			}
			results <- result{id, a}
		}()
	}
	start.Done()
	winners := map[string]int{}
	for range racers {
		switch r := <-results; {
		case r.key() != "":
			winners[r.id]++
		case r.status != 400 && r.status != 503:
			t.Errorf("got %d %s", r.status, r.body)
		}
	}
	info, err := w.Publisher(t.Context(), "p")
	if err != nil || len(winners) != 1 || winners[info.Claims["repository_id"][0]] == 0 || !info.PendingUntil.IsZero() {
		t.Errorf("winners %v, the publisher is %+v, %v", winners, info, err)
	}
	if n := len(w.events("exchange.reified")) + len(other.events("exchange.reified")); n != 1 {
		t.Errorf("%d events, want one", n)
	}
}

// Whatever a pending publisher learns, what is stored is a publisher.
func TestPendingOfOtherProviders(t *testing.T) {
	pend := pendingFor(days)
	for _, tt := range []struct {
		name   string
		p      exchange.Publisher
		sign   func(*world) func(map[string]any) string
		learns map[string]string
	}{
		{"gitlab project", of(exchange.GitLab, "namespace_id", "72", "namespace_path", "my-group", "project_path", "my-group/my-project"), func(w *world) func(map[string]any) string { return w.issuer.GitLab }, map[string]string{"project_id": "20"}},
		{"gitlab group", of(exchange.GitLab, "project_id", "20", "namespace_path", "my-group"), func(w *world) func(map[string]any) string { return w.issuer.GitLab }, map[string]string{"namespace_id": "72"}},
		{"google", of(exchange.Google, "email", "release@my-project.iam.gserviceaccount.com"), func(w *world) func(map[string]any) string { return w.issuer.Google }, map[string]string{"sub": "110432109876543210987"}},
		{"terraform", of(exchange.Terraform, "terraform_organization_id", "org-GRNbCjYNpBB6NEBH", "terraform_workspace_name", "my-workspace", "terraform_project_name", "Default Project"), func(w *world) func(map[string]any) string { return w.issuer.Terraform },
			map[string]string{"terraform_workspace_id": "ws-mbsd5E3Ktt5Rg2Xm", "terraform_project_id": "prj-vegSA59s1XPwMr2t"}},
	} {
		w := newWorld(t, nil)
		pend(&tt.p)
		w.create(tt.p)
		sign := tt.sign(w)
		w.wantKey(sign(nil))
		w.clock.Advance(time.Second) // tokens without a jti must differ in something
		other := w.twin()            // reads the store anew
		info, err := other.Publisher(t.Context(), "p")
		if err != nil || !info.PendingUntil.IsZero() {
			t.Errorf("%s: got %+v, %v", tt.name, info, err)
		}
		for claim, want := range tt.learns {
			if got := info.Claims[claim]; len(got) != 1 || got[0] != want {
				t.Errorf("%s: %s: learned %q, want %q", tt.name, claim, got, want)
			}
			other.wantRefused(tt.name, sign(map[string]any{claim: "other"}), "")
		}
		other.wantKey(sign(nil))
	}
}

// EXC-30: who is refused does not learn how near they were.
func TestNoOracleAmongPublishers(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{
		named("a", "x", claims("ref", mainRef)), named("off", "y", disabled, claims("repository_id", "75")), named("quiet", "z", reportOnly, claims("repository_id", "76")),
		named("nobody", "", federated("nickname"), claims("repository_id", "77")), named("stranger", "", federated("actor"), claims("repository_id", "78")),
	}, func(c *exchange.Config) {
		c.Account = func(context.Context, keywright.Principal) (bool, error) { return false, nil }
	})
	w.create(pending("p"))
	w.clock.Advance(30 * days)
	var bodies []string
	for name, change := range map[string]map[string]any{
		"repository unknown": {"repository": "octo-org/unknown", "repository_id": "1"}, "owner unknown": {"repository_owner_id": "1"}, "branch wrong": {"ref": "refs/heads/x"},
		"disabled": {"repository_id": "75"}, "report-only": {"repository_id": "76"}, "no subject": {"repository_id": "77"}, "no account": {"repository_id": "78"},
		"event": {"event_name": "pull_request"}, "workflow": {"job_workflow_ref": "x"}, "pending no more": newcomer("9", nil),
	} {
		bodies = append(bodies, w.wantRefused(name, w.issuer.GitHub(change), "").body)
	}
	for _, b := range bodies {
		if b != bodies[0] || strings.Contains(b, "octo-org") {
			t.Errorf("got %s and %s, want the same", bodies[0], b)
		}
	}
	var e struct{ Error string }
	if json.Unmarshal([]byte(bodies[0]), &e); e.Error != "invalid_grant" {
		t.Errorf("got %s", bodies[0])
	}
}

// 10,000 publishers in the store, and each job finds its own.
func TestManyPublishers(t *testing.T) {
	const n = 10_000
	w := newWorld(t, nil)
	var ops []store.Op
	for i, id := range many(n, 5) {
		p := w.own(named("p"+id, "s"+id, claims("repository", "octo-org/r"+id, "repository_id", "1"+id)))
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text[:len(text)-1], `,"instance":"i"}`...)
		if ops = append(ops, store.Insert(store.Record{Kind: exchange.KindPublisher, ID: p.ID, Data: text})); len(ops) == store.MaxOps || i == n-1 {
			if err := w.db.Commit(t.Context(), ops...); err != nil {
				t.Fatal(err)
			}
			ops = nil
		}
	}
	for _, id := range []string{"00000", "04711", "09999"} {
		key := w.wantKey(w.issuer.GitHub(map[string]any{"repository": "octo-org/r" + id, "repository_id": "1" + id}))
		if info, err := w.host.Keys.Check(t.Context(), key); err != nil || info.Subject != "s"+id {
			t.Errorf("got %q, %v, want %q", info.Subject, err, "s"+id)
		}
	}
	w.wantRefused("one more", w.issuer.GitHub(map[string]any{"repository": "octo-org/r10000", "repository_id": "110000"}), "")
}
