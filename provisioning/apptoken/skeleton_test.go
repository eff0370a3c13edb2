package apptoken_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The whole way over HTTP: made by a key of the host, used, listed, ended.
func TestLifeOfAToken(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	made := w.create(admin, "/api/v1/organization/myorg/application/app123/tokens", `{"name": "ci-job-token", "expiration": "1h", "scopes": ["repo:write"]}`)
	token, id := made.text("token_secret"), made.text("token_id")
	want := map[string]any{
		"uuid": id, "token_id": id, "token": token, "token_secret": token, "name": "ci-job-token", "scope": "repo:write", "scopes": []any{"repo:write"},
		"created": "2026-01-01T00:00:00Z", "expires_at": "2026-01-01T01:00:00Z", "created_by": "root", "last_accessed": nil,
	}
	if diff := cmp.Diff(want, made.fields); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	p := w.who(token)
	if !slices.Equal(p.Scopes, []string{"repo:write", "repo:read"}) || p.Subject != "myorg/app123" || p.Issuer != w.url {
		t.Errorf("principal: got %+v", p)
	}
	if diff := cmp.Diff(map[string]string{"organization": "myorg", "application": "app123", "token_id": id, "created_by": "root"}, p.Attrs); diff != "" {
		t.Errorf("attrs (-want +got):\n%s", diff)
	}
	if !p.Expires.Equal(t0.Truncate(time.Second).Add(time.Hour)) {
		t.Errorf("the key expires at %v", p.Expires)
	}
	if err := w.host.Keys.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	list := w.send("GET", tokensPath, admin, "")
	delete(want, "token")
	delete(want, "token_secret")
	want["last_accessed"] = "2026-01-01T00:00:00Z"
	if diff := cmp.Diff(map[string]any{"tokens": []any{want}}, list.fields); list.status != 200 || diff != "" {
		t.Errorf("list: got %d (-want +got):\n%s", list.status, diff)
	}
	if a := w.send("DELETE", tokensPath+"/"+id, admin, ""); a.status != 204 || a.body != "" {
		t.Errorf("delete: got %d %s", a.status, a.body)
	}
	if w.works(token) {
		t.Error("the token works after it was deleted")
	}
	if list := w.send("GET", tokensPath, admin, ""); list.status != 200 || list.body != "{\"tokens\":[]}\n" {
		t.Errorf("list: got %d %s", list.status, list.body)
	}
}
