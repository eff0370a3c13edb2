package main_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAudit reads what has happened, page by page.
func TestAudit(t *testing.T) {
	t.Parallel()
	in, p := sessionServer(t)
	b := p.mustLogin("correct horse battery")
	admin := p.claim()
	key := p.newKey(admin, `{"key_id":"fleet"}`)
	p.enroll(p.provision(key, `{"runner_name":"sdr-1"}`), 201)
	var names, actors []string
	next := ""
	for range 100 {
		a := b.send("GET", "/api/audit?limit=2"+next, "", "")
		var page struct {
			Events []struct{ Name, Actor, Remote string }
			Next   string
		}
		if err := json.Unmarshal([]byte(a.body), &page); err != nil || a.status != 200 || len(page.Events) > 2 {
			t.Fatalf("got %d %s", a.status, a.body)
		}
		for _, e := range page.Events {
			names, actors = append(names, e.Name), append(actors, e.Actor)
			if e.Remote != "127.0.0.1" {
				t.Errorf("%s: remote %q", e.Name, e.Remote)
			}
		}
		if page.Next == "" {
			break
		}
		next = "&before=" + page.Next
	}
	want := []string{"provisioning.enrolled", "provisioning.provisioned", "provisioning.key_created", "bootstrap.claimed", "session.begun"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if len(actors) > 2 && actors[2] != in.keyID(admin) {
		t.Errorf("the key was created by %q, want the admin key", actors[2])
	}
	p.wantError("no credential", p.get("/api/audit", ""), 401, "Missing or invalid session")
	p.wantError("a provisioning key", p.get("/api/audit", "Bearer "+key), 403, "this kind of key is not accepted here")
	for _, query := range []string{"limit=0", "limit=1001", "limit=x", "before=%00"} {
		if a := p.get("/api/audit?"+query, "Bearer "+admin); a.status != 400 {
			t.Errorf("%s: got %d %s, want 400", query, a.status, a.body)
		}
	}
}

// TestUnknownPaths are answered in the form of those beside them.
func TestUnknownPaths(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.configure(`{"organizations":{"myorg":{}}}`)
	p := in.start()
	for _, path := range []string{"/api", "/api/", "/api/x", "/api/auth/login", "/api/provisioning", "/api/enrollment/x", "/api/runners/a/b/c"} {
		for _, method := range []string{"GET", "POST"} {
			p.wantError(method+" "+path, p.request(method, path, "", nil), 404, "Not found")
		}
	}
	p.wantError("a method of no endpoint", p.request("DELETE", "/api/provisioning/provision", "", nil), 405, "Method not allowed")
	if a := p.get("/api/v1/x", ""); a.status != 404 || !strings.Contains(a.body, `"error_type":"not_found"`) {
		t.Errorf("Quay's: got %d %s", a.status, a.body)
	}
}

// TestTrustedProxy has the address of the client, and the limit on it, go by
// what the configured proxies say.
func TestTrustedProxy(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.configure(`{"admin":` + adminJSON(t, "yourpassword") + `,"trusted_proxies":["127.0.0.0/8"]}`)
	p := in.start()
	var got []int
	for _, client := range []string{"192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2"} {
		a := browser{process: p}.send("POST", "/api/auth/login", "", `{"username":"admin","password":"x"}`, "X-Forwarded-For", "10.0.0.1, "+client)
		got = append(got, a.status)
	}
	if want := []int{401, 401, 401, 401, 401, 429, 401}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	p.wantLogged("event=session.login_refused", "remote=192.0.2.2")
}
