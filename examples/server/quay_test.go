package main_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// These are the commands of Quay's ticket on zero-touch bootstrap, as they
// stand there but for what its tracker has added to the last one: a backslash,
// and brackets around the link.
const (
	quayBasic = `# Using Basic Auth (Superuser credentials)
curl -u admin:password -X POST \
  -H "Content-Type: application/json" \
  -d '{"name": "bootstrap-token", "expiration": "365d", "scopes": ["org:admin"]}' \
  https://quay.example.com/api/v1/organization/myorg/application/app123/tokens
`
	quayLDAP = `# Using LDAP Service Account
curl -u ldap-service-account:password -X POST \
  -H "Content-Type: application/json" \
  -d '{"name": "automation-token", "expiration": "30d", "scopes": ["repo:read", "repo:write"]}' \
  https://quay.example.com/api/v1/organization/myorg/application/app123/tokens
`
	quayBearer = `# Using existing OAuth Bearer Token (standard authentication)
curl -H "Authorization: Bearer <existing-token>" -X POST \
  -H "Content-Type: application/json" \
  -d ' {"name": "ci-job-token", "expiration": "1h", "scopes": ["repo:read"]}
' \
  https://quay.example.com/api/v1/organization/myorg/application/app123/tokens
`
	quayTokens = "/api/v1/organization/myorg/application/app123/tokens"
	quayOrg    = `"organizations":{"myorg":{"applications":{"app123":"An application"}},"other":{"applications":{"app123":"Another"}}}`
)

// quayServer is at https://quay.example.com, as far as curl can tell.
func quayServer(t *testing.T, config string) guided {
	t.Helper()
	in := newInstallation(t)
	in.configure("{" + config + "," + quayOrg + "}")
	in.serveTLS()
	in.flags = append(in.flags, "-url", "https://quay.example.com")
	return guided{in, in.start()}
}

// follow runs a command of the ticket.
func (g guided) followTicket(command string, edits ...string) (scripted, map[string]any) {
	g.t.Helper()
	g.curlrc = `connect-to = "quay.example.com:443:` + g.addr + `"`
	got := g.bash(strings.NewReplacer(edits...).Replace(command))
	var members map[string]any
	if err := json.Unmarshal([]byte(got.out), &members); err != nil {
		g.t.Fatalf("%s: %v: %s", got.statuses, err, got.out)
	}
	if secret, ok := members["token_secret"].(string); ok {
		g.hide(secret)
	}
	return got, members
}

// wantToken compares an answer with Quay's object, and what the ticket adds.
func (g guided) wantToken(how string, got scripted, a map[string]any, name, by string, lifetime time.Duration, scopes ...any) string {
	g.t.Helper()
	secret, _ := a["token_secret"].(string)
	if got.statuses != "200" || !regexp.MustCompile(`^quay_oat_[0-9A-Za-z]{45}$`).MatchString(secret) {
		g.t.Fatalf("%s: got %s: %s", how, got.statuses, got.out)
	}
	created, err := time.Parse(time.RFC3339, a["created"].(string))
	g.check(err)
	want := map[string]any{
		"uuid": a["uuid"], "token_id": a["uuid"], "token": secret, "token_secret": secret, "name": name, "created_by": by,
		"created": a["created"], "expires_at": created.Add(lifetime).Format(time.RFC3339), "last_accessed": nil,
		"scopes": scopes, "scope": strings.Trim(strings.ReplaceAll(jsonText(scopes), `","`, " "), `["]`),
	}
	if diff := cmp.Diff(want, a); diff != "" {
		g.t.Errorf("%s (-want +got):\n%s", how, diff)
	}
	return secret
}

func jsonText(v any) string {
	b, _ := json.Marshal(v) // of strings
	return string(b)
}

// wantProblem wants Quay's kind of error.
func (p *process) wantProblem(when string, a answer, status int, kind string) {
	p.in.t.Helper()
	var got struct {
		Type    string `json:"error_type"`
		Message string `json:"error_message"`
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != status || got.Type != kind || got.Message == "" {
		p.in.t.Errorf("%s: got %d %s, want %d %s", when, a.status, a.body, status, kind)
	}
}

// TestTicketStandard makes short-lived tokens with a long-lived one.
func TestTicketStandard(t *testing.T) {
	t.Parallel()
	g := quayServer(t, `"FEATURE_RATE_LIMITS":false`)
	admin := "Bearer " + g.claim()
	first := g.requestJSON("POST", quayTokens, admin, `{"name":"Bootstrap Token","expiration":"365d","scopes":["org:admin","repo:read"]}`)
	var made struct {
		Secret string `json:"token_secret"`
	}
	if err := json.Unmarshal([]byte(first.body), &made); err != nil || first.status != 200 {
		t.Fatalf("with the admin key: got %d %s", first.status, first.body)
	}
	g.hide(made.Secret)
	got, a := g.followTicket(quayBearer, "<existing-token>", made.Secret)
	short := g.wantToken("bearer", got, a, "ci-job-token", "myorg/app123", time.Hour, "repo:read")
	if who := g.get("/whoami", "Bearer "+short); who.status != 200 || !strings.Contains(who.body, `"scopes":["repo:read"]`) {
		t.Errorf("whoami: got %d %s", who.status, who.body)
	}
	bearer := "Bearer " + made.Secret
	g.wantProblem("a scope beyond its own", g.requestJSON("POST", quayTokens, bearer, `{"name":"x","scopes":["repo:admin"]}`), 403, "insufficient_scope")
	g.wantProblem("no org:admin", g.requestJSON("POST", quayTokens, "Bearer "+short, `{"name":"x","scopes":["repo:read"]}`), 403, "insufficient_scope")
	g.wantProblem("another organisation", g.requestJSON("POST", strings.Replace(quayTokens, "myorg", "other", 1), bearer, `{"name":"x","scopes":["repo:read"]}`), 403, "insufficient_scope")
	g.wantProblem("no such application", g.get(strings.Replace(quayTokens, "app123", "app124", 1), bearer), 404, "not_found")
	g.wantProblem("nobody", g.get(quayTokens, ""), 401, "invalid_token")
	g.wantProblem("too long", g.requestJSON("POST", quayTokens, bearer, `{"name":"x","expiration":"366d","scopes":["repo:read"]}`), 400, "invalid_request")
	g.wantProblem("never", g.requestJSON("POST", quayTokens, bearer, `{"name":"x","expiration":"never","scopes":["repo:read"]}`), 400, "invalid_request")
	g.wantProblem("elsewhere", g.get("/api/v1/user", bearer), 404, "not_found")

	plural := strings.Replace(quayTokens, "application/", "applications/", 1)
	list := g.get(plural, bearer)
	if list.status != 200 || strings.Count(list.body, `"uuid"`) != 2 || strings.Contains(list.body, "quay_oat_") || strings.Contains(list.body, "next_page") {
		t.Errorf("list: got %d %s", list.status, list.body)
	}
	uuid := a["uuid"].(string)
	if d := g.requestJSON("DELETE", quayTokens+"/"+uuid, bearer, ""); d.status != 204 || d.body != "" {
		t.Errorf("delete: got %d %s", d.status, d.body)
	}
	if g.accepts(short) {
		t.Error("a deleted token works")
	}
	g.wantProblem("delete again", g.requestJSON("DELETE", plural+"/"+uuid, bearer, ""), 404, "not_found")
}

// TestTicketRateLimit is the 429 that the ticket explains.
func TestTicketRateLimit(t *testing.T) {
	t.Parallel()
	g := quayServer(t, `"FEATURE_RATE_LIMITS":true,"calls_per_hour":3`)
	admin := "Bearer " + g.claim()
	for i := range 3 {
		if a := g.get(quayTokens, admin); a.status != 200 {
			t.Fatalf("call %d: got %d %s", i+1, a.status, a.body)
		}
	}
	a := g.get(quayTokens, admin)
	g.wantProblem("call 4", a, 429, "rate_limited")
	if a.header.Get("Retry-After") == "" || a.header.Get("RateLimit") == "" {
		t.Errorf("call 4: got %v, want Retry-After and RateLimit", a.header)
	}
}
