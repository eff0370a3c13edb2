package agentauth_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
)

const adminAPI = "/api/aauth/agents"

// byHeader is a host's session: whoever names himself in a field is it, as
// browsers send cookies with whatever page has asked.
type byHeader struct{}

func (byHeader) Authenticate(r *http.Request) (keywright.Principal, error) {
	var p keywright.Principal
	text := r.Header.Get("X-Session")
	if text == "" {
		return p, keywright.ErrNoCredential
	}
	return p, json.Unmarshal([]byte(text), &p)
}

func (byHeader) Challenge() string { return "Session" }

// newAdminWorld is a world with an admin API for sessions and keys of the kind admin.
func newAdminWorld(t *testing.T) (w *world, key string) {
	t.Helper()
	w = newApprovalWorld(t, func(c *agentauth.ProviderConfig) {
		secrets, err := agentauth.NewEnrollmentSecrets(c.Host)
		must(t, err)
		c.Admission = agentauth.AdmitFirst(secrets.Admit, agentauth.AdmitAfterApproval)
		c.Admin = keywright.AnyOf(c.Host.Keys.Of("admin", "ci"), byHeader{})
		c.Permission = "manage_agents"
	})
	made, err := w.host.Keys.Issue(t.Context(), person, keywright.KeySpec{Kind: "admin", Subject: "ops", Scopes: []string{"manage_agents"}})
	must(t, err)
	return w, made.Text
}

// admin calls the admin API with a key.
func (w *world) admin(key, method, path, body string) answer {
	r := w.request(method, adminAPI+path, body)
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	return w.do(r)
}

// wantText wants an answer of the dialect Text.
func (w *world) wantText(a answer, status int, code string) {
	w.t.Helper()
	if a.status != status || a.json(w.t)["code"] != code || a.json(w.t)["error"] == "" || a.header.Get("Content-Type") != "application/json" || a.header.Get("Cache-Control") != "no-store" {
		w.t.Errorf("got %d %s %v, want %d %s", a.status, a.body, a.header, status, code)
	}
}

// TestAdminWorkflow is what an administrator does with nothing but HTTP.
func TestAdminWorkflow(t *testing.T) {
	w, admin := newAdminWorld(t)
	want := func(method, path, body string, status int, answer string) {
		t.Helper()
		if a := w.admin(admin, method, path, body); a.status != status || strings.TrimSpace(a.body) != answer || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s: got %d %s, want %d %s", method, path, a.status, a.body, status, answer)
		}
	}
	want("GET", "", "", 200, `{"agents":[]}`)
	want("GET", "/pending", "", 200, `{"pending":[]}`)
	want("GET", "/secrets", "", 200, `{"secrets":[]}`)

	a := w.admin(admin, "POST", "/secrets", `{"description":"ci","uses":2,"expires_in":3600,"agent_id":"aauth:a@ap.example","ps":"https://ps.example","scopes":["read"],"token_expires_in":600}`)
	made := a.json(t)
	if a.status != 201 || made["expires_at"] != "2026-01-01T01:00:00Z" || made["created_by"] != "ops" || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("secret: %d %s %v", a.status, a.body, a.header)
	}
	id, text := made["id"].(string), made["secret"].(string)
	listed := `{"id":"` + id + `","description":"ci","uses":2,"used":0,"expires_at":"2026-01-01T01:00:00Z","agent_id":"aauth:a@ap.example","ps":"https://ps.example","scopes":["read"],"token_expires_in":600,"created_at":"2026-01-01T00:00:00Z","created_by":"ops"}`
	want("GET", "/secrets", "", 200, `{"secrets":[`+listed+`]}`)
	key := newEd25519(t)
	w.wantToken(w.enrollBy(key, `{}`, "Bearer "+text))
	want("GET", "/secrets", "", 200, `{"secrets":[`+strings.Replace(listed, `"used":0`, `"used":1`, 1)+`]}`)
	want("DELETE", "/secrets/"+id, "", 200, `{"status":"deleted"}`)
	want("GET", "/secrets", "", 200, `{"secrets":[]}`)

	jkt := thumbprint(t, key)
	one := `{"agent_id":"aauth:a@ap.example","jkt":"` + jkt + `","key_id":"` + jkt + `","ps":"https://ps.example","scopes":["read"],"created_at":"2026-01-01T00:00:00Z","admitted_by":"` + id + `","disabled":false,"banned":false}`
	want("GET", "", "", 200, `{"agents":[`+one+`]}`)
	for _, path := range []string{"/aauth:a@ap.example", "/aauth%3Aa%40ap.example", "/%61auth:a@ap%2eexample"} {
		want("GET", path, "", 200, one)
		want("POST", path+"/disable", "", 200, `{"status":"disabled"}`)
		w.wantError(w.refresh(key, agentauth.SignOptions{}), 403, "denied")
		want("POST", path+"/enable", "{}", 200, `{"status":"enabled"}`)
	}
	want("POST", "/aauth:a@ap.example/ban", "", 200, `{"status":"banned"}`)
	w.wantText(w.admin(admin, "POST", "/aauth:a@ap.example/enable", ""), 409, "conflict")
	want("DELETE", "/aauth:a@ap.example", "", 200, `{"status":"deleted"}`)
	w.wantText(w.admin(admin, "GET", "/aauth:a@ap.example", ""), 404, "not_found")

	waiting, rejected := newEd25519(t), newEd25519(t)
	path, rejectedPath := w.applyFor(waiting, `{"agent_id":"aauth:b@ap.example"}`), w.applyFor(rejected, `{}`)
	applied := path[len("/enrol/pending/"):]
	list := w.admin(admin, "GET", "/pending", "").json(t)["pending"].([]any)
	for _, entry := range list {
		if e := entry.(map[string]any); e["application_id"] == applied {
			if diff := cmp.Diff(map[string]any{
				"application_id": applied, "agent_id": "aauth:b@ap.example", "jkt": thumbprint(t, waiting), "from": "192.0.2.1",
				"created_at": "2026-01-01T00:00:00Z", "expires_at": "2026-01-02T00:00:00Z",
			}, e); diff != "" {
				t.Errorf("the application (-want +got):\n%s", diff)
			}
		}
	}
	if len(list) != 2 {
		t.Errorf("%d applications: %v", len(list), list)
	}
	want("POST", "/pending/"+applied+"/approve", "", 200, `{"status":"approved"}`)
	want("POST", "/pending/"+rejectedPath[len("/enrol/pending/"):]+"/deny", "", 200, `{"status":"denied"}`)
	w.wantText(w.admin(admin, "POST", "/pending/"+applied+"/deny", ""), 409, "conflict")
	w.wantToken(w.poll(waiting, path))
	w.wantError(w.poll(rejected, rejectedPath), 403, "denied")
	want("POST", "/aauth:b@ap.example/revoke", "", 200, `{"status":"revoked"}`)
}

// routesOfAdmin are all of them, with what they may be asked.
var routesOfAdmin = []struct{ method, path string }{
	{"GET", ""}, {"GET", "/aauth:a@ap.example"}, {"DELETE", "/aauth:a@ap.example"}, {"POST", "/aauth:a@ap.example/disable"}, {"POST", "/aauth:a@ap.example/enable"},
	{"POST", "/aauth:a@ap.example/ban"}, {"POST", "/aauth:a@ap.example/revoke"}, {"GET", "/pending"}, {"POST", "/pending/ID/approve"}, {"POST", "/pending/ID/deny"},
	{"GET", "/secrets"}, {"POST", "/secrets"}, {"DELETE", "/secrets/ID"},
}

// TestAdminNeedsAnAdministrator: no route answers anybody else, and nothing is
// changed.
func TestAdminNeedsAnAdministrator(t *testing.T) {
	w, admin := newAdminWorld(t)
	agentKey := newEd25519(t)
	w.applyFor(agentKey, `{"agent_id":"aauth:a@ap.example"}`)
	_, err := w.provider.Approve(t.Context(), person, w.onlyPending().ID)
	must(t, err)
	token := w.wantToken(w.tryEnroll(agentKey, `{"agent_id":"aauth:a@ap.example","ps":""}`))
	applied := w.applyFor(newEd25519(t), `{}`)[len("/enrol/pending/"):]
	secret := w.admin(admin, "POST", "/secrets", "{}").json(t)["id"].(string)
	weak, err := w.host.Keys.Issue(t.Context(), person, keywright.KeySpec{Kind: "admin", Subject: "ops", Scopes: []string{"manage_agent", "read"}})
	must(t, err)
	before := w.dump()
	for _, route := range routesOfAdmin {
		path := strings.NewReplacer("pending/ID", "pending/"+applied, "secrets/ID", "secrets/"+secret).Replace(route.path)
		body := ""
		if route.method == "POST" {
			body = "{}"
		}
		a := w.admin("", route.method, path, body)
		w.wantText(a, 401, "invalid_token")
		if got := a.header.Get("WWW-Authenticate"); got != "Bearer, Session" {
			t.Errorf("%s %s: WWW-Authenticate %q", route.method, path, got)
		}
		w.wantText(w.admin(admin+"x", route.method, path, body), 401, "invalid_token")
		w.wantText(w.admin(weak.Text, route.method, path, body), 403, "insufficient_scope")
		// The host lets in an agent that has the permission, and yet.
		r := w.request(route.method, adminAPI+path, body)
		r.Header.Set("X-Session", `{"Method":"agent","Subject":"aauth:a@ap.example","Scopes":["manage_agents"]}`)
		w.wantText(w.do(r), 403, "insufficient_scope")
		w.wantText(w.do(w.sign(w.request(route.method, adminAPI+path, body), agentKey, agentauth.SignOptions{Token: token})), 401, "invalid_token")
		for _, method := range []string{"GET", "POST", "DELETE", "PUT", "HEAD"} {
			if !isAdminRoute(method, route.path) && method != "HEAD" {
				w.wantText(w.admin(admin, method, path, ""), 405, "method_not_allowed")
			}
		}
	}
	if diff := cmp.Diff(before, w.dump()); diff != "" {
		t.Errorf("the store was changed:\n%s", diff)
	}

	closed := newWorld(t, worldConfig{})
	for _, route := range routesOfAdmin {
		if a := closed.admin("", route.method, route.path, ""); a.status != 404 {
			t.Errorf("without an Admin, %s %s: %d", route.method, route.path, a.status)
		}
	}
}

func isAdminRoute(method, path string) bool {
	for _, route := range routesOfAdmin {
		if route.method == method && route.path == path {
			return true
		}
	}
	return false
}

func TestAdminInput(t *testing.T) {
	w, admin := newAdminWorld(t)
	before := w.dump()
	for _, tt := range []struct {
		method, path, body string
		status             int
		code, says         string
	}{
		{"GET", "?limit=0", "", 400, "invalid_request", "limit"},
		{"GET", "?limit=1001", "", 400, "invalid_request", "limit"},
		{"GET", "?limit=x", "", 400, "invalid_request", "limit"},
		{"GET", "/secrets?limit=-1", "", 400, "invalid_request", "limit"},
		{"GET", "/secrets?after=%00", "", 400, "invalid_request", "after"},
		{"GET", "/nobody", "", 404, "not_found", "identifier"},
		{"GET", "/a%2Fb", "", 404, "not_found", ""},
		{"POST", "/aauth:a@ap.example/disable", "", 404, "not_found", "identifier"},
		{"POST", "/aauth:a@ap.example/delete", "", 404, "not_found", ""},
		{"POST", "/pending/x/approve", "", 404, "not_found", "application"},
		{"POST", "/pending/x/ban", "", 404, "not_found", ""},
		{"DELETE", "/secrets/x", "", 404, "not_found", "secret"},
		{"POST", "/secrets", "", 400, "invalid_request", "body"},
		{"POST", "/secrets", "[]", 400, "invalid_request", "object"},
		{"POST", "/secrets", `{"use":1}`, 400, "invalid_request", "use"},
		{"POST", "/secrets", `{"uses":-1}`, 400, "invalid_request", "uses"},
		{"POST", "/secrets", `{"expires_in":9223372036854775807}`, 400, "invalid_request", "expires_in"},
		{"POST", "/secrets", `{"expires_in":-9223372036854775808}`, 400, "invalid_request", "expires_in"},
		{"POST", "/secrets", `{"expires_in":2592001}`, 400, "invalid_request", "expires_in"},
		{"POST", "/secrets", `{"token_expires_in":300}`, 400, "invalid_request", "token_expires_in"},
		{"POST", "/secrets", `{"agent_id":"aauth:a@other.example"}`, 400, "invalid_request", "agent_id"},
		{"POST", "/secrets", `{"ps":"http://127.0.0.1"}`, 400, "invalid_request", "ps"},
		{"POST", "/secrets", `{"scopes":["a b"]}`, 400, "invalid_request", "scopes"},
	} {
		a := w.admin(admin, tt.method, tt.path, tt.body)
		w.wantText(a, tt.status, tt.code)
		if !strings.Contains(a.json(t)["error"].(string), tt.says) {
			t.Errorf("%s %s %s: %s does not name %q", tt.method, tt.path, tt.body, a.body, tt.says)
		}
	}
	if diff := cmp.Diff(before, w.dump()); diff != "" {
		t.Errorf("the store was changed:\n%s", diff)
	}
}
