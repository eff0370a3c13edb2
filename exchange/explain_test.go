package exchange_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/exchange"
	"github.com/keywright/keywright/exchange/exchangetest"
)

// A test of a host's publishers, with the claims of a real job.
func ExampleExplain() {
	release := exchange.Publisher{
		ID: "release", Provider: exchange.GitHub, Subject: "deployer", Scopes: []string{"deploy"},
		Claims: map[string]exchange.Values{
			"repository": {"octo-org/app"}, "repository_id": {"456789"}, "repository_owner_id": {"123456"},
			"workflow_file": {"release.yml"}, "environment": {"prod"},
		},
		Patterns: map[string]exchange.Values{"ref": {"refs/tags/v*"}},
	}
	claims := []byte(`{
		"iss": "https://token.actions.githubusercontent.com", "event_name": "push",
		"repository": "octo-org/app", "repository_id": "456789", "repository_owner_id": "123456",
		"workflow_ref": "octo-org/app/.github/workflows/release.yml@refs/heads/main",
		"job_workflow_ref": "octo-org/app/.github/workflows/release.yml@refs/heads/main",
		"ref": "refs/heads/main"
	}`)
	report, err := exchange.Explain(claims, release)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Outcome)
	for _, p := range report.Publishers {
		for _, d := range p.Differences {
			fmt.Printf("%s: %s wants %q, got %s\n", p.ID, d.Claim, d.Want, d.Got)
		}
	}
	// Output:
	// refuse
	// release: environment wants ["prod"], got (absent)
	// release: ref wants ["refs/tags/v*"], got refs/heads/main
}

func textOf(t *testing.T, claims map[string]any) json.RawMessage {
	t.Helper()
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestExplain(t *testing.T) {
	odd := exchangetest.GitHubClaims()
	odd["repository_id"], odd["event_name"], odd["job_workflow_ref"], odd["environment"] = 74, "pull_request", "evil", ""
	odd["ref"] = strings.Repeat("x", 500)
	gone := exchange.Publisher{ID: "gone", Provider: exchange.GitLab, Subject: "s", Scopes: []string{"a"}, Claims: map[string]exchange.Values{"project_id": {"20"}}}
	late := named("late", "s", claims("repository_id", ""), func(p *exchange.Publisher) { p.PendingUntil = time.Unix(1, 0) })
	report, err := exchange.Explain(textOf(t, odd), gone, named("whole", "s", release), named("off", "s", disabled), named("quiet", "s", reportOnly), late, named("who", "", federated("nickname")))
	if err != nil {
		t.Fatal(err)
	}
	const issuer = "https://token.actions.githubusercontent.com"
	events := exchange.Difference{Claim: "event_name", Want: []string{"(none of pull_request, pull_request_target, workflow_run, issue_comment, unless the publisher names event_name)"}, Got: "pull_request"}
	workflow := exchange.Difference{Claim: "job_workflow_ref", Want: []string{"(the same as workflow_ref: octo-org/octo-repo/.github/workflows/release.yml@refs/heads/main, unless the publisher names job_workflow_ref)"}, Got: "evil"}
	number := exchange.Difference{Claim: "repository_id", Want: []string{"(present, a string)"}, Got: "74"}
	id := exchange.Difference{Claim: "repository_id", Want: []string{"74"}, Got: "74"}
	diff := func(claim, got string, want ...string) exchange.Difference {
		return exchange.Difference{Claim: claim, Want: want, Got: got}
	}
	cut := strings.Repeat("x", 120) + "..."
	want := exchange.Report{Outcome: "refuse", Token: []exchange.Difference{}, Publishers: []exchange.PublisherReport{
		{ID: "late", Dormant: "it was pending until 1970-01-01T00:00:01Z", Differences: []exchange.Difference{number, events, workflow}},
		{ID: "gone", Differences: []exchange.Difference{diff("iss", issuer, "https://gitlab.com"), diff("project_id", "(absent)", "20"), diff("namespace_id", "(absent)", "(present, a string)"), diff("project_id", "(absent)", "(present, a string)")}},
		{ID: "off", Dormant: "disabled", Differences: []exchange.Difference{id, number, events, workflow}},
		{ID: "quiet", ReportOnly: true, Differences: []exchange.Difference{id, number, events, workflow}},
		{ID: "who", Dormant: "the token has no nickname to take the subject from", Differences: []exchange.Difference{id, number, events, workflow}},
		{ID: "whole", Differences: []exchange.Difference{diff("environment", `""`, "prod"), diff("ref", cut, mainRef), id, diff("workflow_file", "(absent)", "release.yml"), number, events, workflow}},
	}}
	if diff := cmp.Diff(want, report); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// What is made of several claims is told as it was made.
	made, err := exchange.Explain(textOf(t, plus(exchangetest.GitHubClaims(), map[string]any{"workflow_file": "other.yml"})), named("p", "s", claims("workflow_file", "other.yml")))
	if err != nil || cmp.Diff([]exchange.Difference{diff("workflow_file", "release.yml", "other.yml")}, made.Publishers[0].Differences) != "" {
		t.Errorf("got %+v, %v", made, err)
	}
	text, err := json.Marshal(report)
	if err != nil || !strings.Contains(string(text), `{"id":"quiet","matches":false,"report_only":true,"differences":[{"claim":"repository_id","want":["74"],"got":"74"}`) {
		t.Errorf("got %s, %v", text, err)
	}
}

func TestExplainOutcomes(t *testing.T) {
	good := textOf(t, exchangetest.GitHubClaims())
	waits := named("waits", "s", claims("repository_id", ""), func(p *exchange.Publisher) { p.PendingUntil = time.Now().Add(time.Hour) })
	for _, tt := range []struct {
		name       string
		claims     json.RawMessage
		publishers []exchange.Publisher
		outcome    string
		publisher  string
		dormant    string // of the first publisher
		wrong      string // a claim that is wrong whatever the publisher
	}{
		{"a match", good, []exchange.Publisher{named("a", "s")}, "issue", "a", "", ""},
		{"another issuer", good, []exchange.Publisher{named("a", "s", func(p *exchange.Publisher) { p.Issuer = "https://token.actions.githubusercontent.com/acme" })}, "refuse", "", "", "iss"},
		{"two principals", good, []exchange.Publisher{named("a", "s"), named("b", "t")}, "ambiguous", "", "", ""},
		{"nobody", good, nil, "refuse", "", "", "iss"},
		{"disabled", good, []exchange.Publisher{named("a", "s", disabled)}, "refuse", "", "disabled", ""},
		{"report-only", good, []exchange.Publisher{named("a", "s", reportOnly)}, "refuse", "", "", ""},
		{"pending", good, []exchange.Publisher{waits}, "issue", "waits", "", ""},
		{"pending, with nothing to learn", []byte(`{"iss":"https://token.actions.githubusercontent.com"}`), []exchange.Publisher{waits}, "refuse", "", "the token has no repository_id to learn", ""},
		{"an issuer that is no string", []byte(`{"iss":5}`), []exchange.Publisher{named("a", "s")}, "refuse", "", "", "iss"},
		{"no claims", []byte(`{}`), []exchange.Publisher{named("a", "s")}, "refuse", "", "", "iss"},
	} {
		report, err := exchange.Explain(tt.claims, tt.publishers...)
		if err != nil || report.Outcome != tt.outcome || report.Publisher != tt.publisher || report.Verified != "" {
			t.Errorf("%s: got %+v, %v", tt.name, report, err)
		}
		if len(tt.publishers) > 0 && report.Publishers[0].Dormant != tt.dormant {
			t.Errorf("%s: dormant %q, want %q", tt.name, report.Publishers[0].Dormant, tt.dormant)
		}
		var wrong string
		for _, d := range report.Token {
			wrong += d.Claim
		}
		if wrong != tt.wrong {
			t.Errorf("%s: of the token: %+v", tt.name, report.Token)
		}
	}
	pattern := func(i int) exchange.Publisher {
		return exchange.Publisher{ID: fmt.Sprint("p", i), Provider: exchange.Generic, Issuer: "https://ci.example", Subject: "s", Scopes: []string{"a"}, Patterns: map[string]exchange.Values{"sub": {"x/*"}}}
	}
	many := make([]exchange.Publisher, 101)
	for i := range many {
		many[i] = pattern(i)
	}
	for name, tt := range map[string]struct {
		claims     json.RawMessage
		publishers []exchange.Publisher
		says       string
	}{
		"no object":             {[]byte(`[]`), nil, "claims"},
		"a claim twice":         {[]byte(`{"iss":"a","iss":"b"}`), nil, "twice"},
		"a bad publisher":       {good, []exchange.Publisher{{ID: "bad"}}, `publisher "bad"`},
		"one id twice":          {good, []exchange.Publisher{named("a", "s"), named("a", "s")}, `publisher "a": twice`},
		"another provider":      {good, []exchange.Publisher{pattern(1), named("a", "s", func(p *exchange.Publisher) { p.Issuer = "https://ci.example" })}, "another provider"},
		"too many patterns":     {good, many, "patterns alone"},
		"a publisher in a list": {good, []exchange.Publisher{named("a", "s"), {ID: "bad"}}, `publisher "bad"`},
	} {
		report, err := exchange.Explain(tt.claims, tt.publishers...)
		if err == nil || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "%!") || report.Outcome != "" {
			t.Errorf("%s: got %+v, %v, want %q", name, report, err, tt.says)
		}
	}
}

// What the server explains includes what it wants of every token.
func TestHandlerExplain(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github(), func() exchange.Publisher {
		p := of(exchange.Buildkite, "organization_slug", "acme-inc")
		p.Issuer = "https://agent.buildkite.com"
		return p
	}(), named("b", "x", claims("repository_id", "75")), named("c", "y", claims("repository_id", "75"))})
	good := exchangetest.GitHubClaims()
	good["iss"], good["aud"], good["jti"] = w.issuer.URL(), audience, "1"
	twice := plus(good, map[string]any{"repository_id": "75"})
	kite := exchangetest.BuildkiteClaims()
	kite["aud"] = audience
	for name, tt := range map[string]struct {
		claims map[string]any
		change map[string]any
		wrong  string // claims of the token itself
	}{
		"a good token": {good, nil, ""}, "aud in a list": {good, map[string]any{"aud": []string{audience}}, ""},
		"another aud": {good, map[string]any{"aud": "https://other.example"}, "aud"}, "aud and another": {good, map[string]any{"aud": []string{audience, "x"}}, "aud"},
		"no aud": {good, map[string]any{"aud": null}, "aud"}, "an empty list": {good, map[string]any{"aud": []string{}}, "aud"}, "aud in another case": {good, map[string]any{"aud": strings.ToUpper(audience)}, "aud"},
		"an empty jti": {good, map[string]any{"jti": ""}, "jti"}, "a jti that is a number": {good, map[string]any{"jti": 1}, "jti"}, "a jti that is null": {good, map[string]any{"jti": null}, "jti"},
		"a jti of 256": {good, map[string]any{"jti": strings.Repeat("x", 256)}, ""}, "a jti of 257": {good, map[string]any{"jti": strings.Repeat("x", 257)}, "jti"}, "two principals and another aud": {twice, map[string]any{"aud": "x"}, "aud"}, "aud and jti": {good, map[string]any{"aud": "x", "jti": ""}, "aud jti"},
		"a provider without jti": {kite, nil, ""}, "an issuer that nobody knows": {good, map[string]any{"iss": "https://evil.example", "jti": ""}, "iss"},
	} {
		report, err := w.Explain(t.Context(), textOf(t, plus(tt.claims, tt.change)))
		if err != nil {
			t.Fatal(err)
		}
		var wrong []string
		for _, d := range report.Token {
			wrong = append(wrong, d.Claim)
		}
		outcome := map[bool]string{true: "issue", false: "refuse"}[tt.wrong == ""]
		if got := strings.Join(wrong, " "); got != tt.wrong || report.Outcome != outcome || (report.Publisher == "") != (tt.wrong != "") || report.Verified != "" {
			t.Errorf("%s: wrong %q, want %q; outcome %s by %q", name, got, tt.wrong, report.Outcome, report.Publisher)
		}
	}
	if err := w.DisableIssuer(t.Context(), operator, w.issuer.URL()); err != nil {
		t.Fatal(err)
	}
	report, err := w.Explain(t.Context(), textOf(t, good))
	if want := []exchange.Difference{{Claim: "iss", Want: []string{"(an issuer that is not disabled)"}, Got: w.issuer.URL()}}; err != nil || report.Outcome != "refuse" || cmp.Diff(want, report.Token) != "" {
		t.Errorf("disabled: got %+v, %v", report, err)
	}
	for name, text := range map[string]string{"no JSON": "x", "a list": "[]", "a claim twice": `{"a":1,"a":2}`} {
		if report, err := w.Explain(t.Context(), []byte(text)); err == nil {
			t.Errorf("%s: got %+v", name, report)
		}
	}
}

// ExplainToken verifies, and leaves no trace.
func TestExplainToken(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github(), named("quiet", "s", reportOnly)})
	good := w.issuer.GitHub(nil)
	parts := strings.Split(good, ".")
	forged := parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 256))
	old := w.issuer.GitHub(map[string]any{"exp": t0.Add(-time.Hour).Unix(), "iat": t0.Add(-2 * time.Hour).Unix(), "nbf": nil})
	stranger := w.issuer.GitHub(map[string]any{"iss": "https://evil.example"})
	for _, tt := range []struct{ name, token, outcome, verified string }{
		{"a good token", good, "issue", "yes"},
		{"with space around", "\n " + good + "\t\n", "issue", "yes"},
		{"expired", old, "refuse", "expired"},
		{"forged", forged, "refuse", "signature"},
		{"another audience", w.issuer.GitHub(map[string]any{"aud": "https://other.example"}), "refuse", "audience"},
		{"an unknown issuer", stranger, "refuse", "no publisher trusts it"},
		{"that does not match", w.issuer.GitHub(map[string]any{"repository_id": "1"}), "refuse", "yes"},
	} {
		report, err := w.ExplainToken(t.Context(), tt.token)
		if err != nil || report.Outcome != tt.outcome || !strings.Contains(report.Verified, tt.verified) || (report.Publisher == "deploy") != (tt.outcome == "issue") || len(report.Publishers) != 2 {
			t.Errorf("%s: got %+v, %v", tt.name, report, err)
		}
		text, err := json.Marshal(report)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range strings.Split(strings.TrimSpace(tt.token), ".")[1:] {
			if strings.Contains(string(text), part) || strings.Contains(w.log.String(), part) {
				t.Errorf("%s: a part of the token is in %s or in the log", tt.name, text)
			}
		}
	}
	for name, text := range map[string]string{"nothing": "", "two parts": "a.b", "four parts": good + ".x", "no base64": "a.!.b", "base64 up to a point": "a.e30g!.b", "padded": parts[0] + "." + parts[1] + "=." + parts[2], "no JSON": "a.YQ.b"} {
		if report, err := w.ExplainToken(t.Context(), text); err == nil || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%s: got %+v, %v", name, report, err)
		}
	}
	if n := w.count(keywright.KindKeyFirst) + w.count(exchange.KindToken) + w.count(exchange.KindStatic) + w.count(exchange.KindIssuer) + w.count(exchange.KindEpoch); n != 0 {
		t.Errorf("%d records have been written", n)
	}
	if e := w.last(); e.Name != "" {
		t.Errorf("heard %+v", e)
	}
	w.wantKey(good)
}

func TestExplainPending(t *testing.T) {
	w := newWorld(t, nil)
	w.create(pending("p"))
	token := w.issuer.GitHub(newcomer("9", nil))
	if report, err := w.ExplainToken(t.Context(), token); err != nil || report.Outcome != "issue" || report.Publisher != "p" {
		t.Errorf("got %+v, %v", report, err)
	}
	if info, err := w.Publisher(t.Context(), "p"); err != nil || info.PendingUntil.IsZero() {
		t.Errorf("got %+v, %v: it has learned", info, err)
	}
	w.wantKey(token)
}

// A report is of limited length, and the nearest publishers are in it.
func TestExplainIsCut(t *testing.T) {
	p := make([]exchange.Publisher, 0, 121)
	for _, id := range many(120, 3) {
		p = append(p, named("p"+id, "s", claims("repository_id", "9"+id)))
	}
	w := newWorld(t, append(p, named("z", "s")))
	report, err := w.ExplainToken(t.Context(), w.issuer.GitHub(nil))
	if err != nil || len(report.Publishers) != 100 || report.Omitted != 21 || report.Publishers[0].ID != "z" || !report.Publishers[0].Matches || report.Publishers[1].ID != "p000" {
		t.Errorf("%d publishers, %d omitted, %v; first %+v", len(report.Publishers), report.Omitted, err, report.Publishers[:2])
	}
	all, err := exchange.Explain(textOf(t, exchangetest.GitHubClaims()), p...)
	if err != nil || len(all.Publishers) != 120 || all.Omitted != 0 {
		t.Errorf("%d publishers, %d omitted, %v", len(all.Publishers), all.Omitted, err)
	}
}

func TestExplainEndpoint(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	admin, token := w.adminKey(), w.issuer.GitHub(nil)
	path := exchange.AdminPath + "/explain"
	for _, tt := range []struct {
		name, authorization string
		body                any
		status              int
		outcome             string
	}{
		{"a token", admin, map[string]any{"token": token}, 200, "issue"},
		{"claims", admin, map[string]any{"claims": exchangetest.GitHubClaims()}, 200, "refuse"},
		{"both", admin, map[string]any{"token": token, "claims": map[string]any{}}, 400, ""},
		{"neither", admin, map[string]any{}, 400, ""},
		{"no token", admin, map[string]any{"token": "x"}, 400, ""},
		{"claims that are a list", admin, map[string]any{"claims": []string{}}, 400, ""},
		{"nobody asks", "", map[string]any{"token": token}, 401, ""},
	} {
		a := w.send("POST", path, tt.authorization, tt.body)
		if a.status != tt.status || a.text("outcome") != tt.outcome || strings.Contains(a.body, token) {
			t.Errorf("%s: got %d %s", tt.name, a.status, a.body)
		}
	}
	w.db.reads.Store(&errAway)
	if report, err := w.Explain(t.Context(), []byte("{}")); err == nil {
		t.Errorf("without a store: got %+v", report)
	}
	if a := w.send("POST", path, admin, map[string]any{"claims": map[string]any{}}); a.status != 503 {
		t.Errorf("without a store: got %d %s", a.status, a.body)
	}
	w.db.reads.Store(nil)
	w.wantKey(token)
}
