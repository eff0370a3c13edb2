package agentauth_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning"
)

// TestAdminAgainstOtherSites: with a session, as with a password, a page of another
// site must not be able to act. With a key there is no such page.
func TestAdminAgainstOtherSites(t *testing.T) {
	const session = `{"Method":"host","Subject":"alice","Scopes":["manage_agents"]}`
	for _, tt := range []struct {
		name    string
		headers map[string]string
		refused bool
	}{
		{"a program", nil, false},
		{"a page of this site", map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": issuer}, false},
		{"a page of another site", map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}, true},
		{"a page of another host of this domain", map[string]string{"Sec-Fetch-Site": "same-site", "Origin": "https://evil.ap.example"}, true},
		{"a page of another site in an old browser", map[string]string{"Origin": "https://evil.example"}, true},
		{"with the header of a CSRF token", map[string]string{"Origin": "https://evil.example", "X-CSRF-Token": "t"}, false},
	} {
		w, admin := newAdminWorld(t)
		w.applyFor(newEd25519(t), `{"agent_id":"aauth:a@ap.example"}`)
		_, err := w.provider.Approve(t.Context(), person, w.onlyPending().ID)
		must(t, err)
		applied := w.applyFor(newEd25519(t), `{}`)[len("/enrol/pending/"):]
		secret := w.admin(admin, "POST", "/secrets", "{}").json(t)["id"].(string)
		before := w.dump()
		for _, route := range routesOfAdmin {
			path := strings.NewReplacer("pending/ID", "pending/"+applied, "secrets/ID", "secrets/"+secret).Replace(route.path)
			body := ""
			if route.path == "/secrets" && route.method == "POST" {
				body = "{}"
			}
			r := w.request(route.method, adminAPI+path, body)
			r.Header.Set("X-Session", session)
			for name, value := range tt.headers {
				r.Header.Set(name, value)
			}
			a := w.do(r)
			if refused := a.status == 403; refused != (tt.refused && route.method != "GET") {
				t.Errorf("%s: %s %s: %d %s", tt.name, route.method, path, a.status, a.body)
			}
		}
		if diff := cmp.Diff(before, w.dump()); (diff == "") != tt.refused {
			t.Errorf("%s: the store was changed: %v", tt.name, diff != "")
		}
		r := w.request("GET", adminAPI, "")
		r.Header.Set("Authorization", "Bearer "+admin)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		if a := w.do(r); a.status != 200 {
			t.Errorf("a key of a page elsewhere: %d %s", a.status, a.body)
		}
	}
	w, admin := newAdminWorld(t)
	form := w.request("POST", adminAPI+"/secrets", "{}")
	form.Header.Set("Content-Type", "text/plain")
	form.Header.Set("X-Session", session)
	w.wantText(w.do(form), 400, "invalid_request")
	form = w.request("POST", adminAPI+"/secrets", "{}")
	form.Header.Set("Content-Type", "text/plain")
	form.Header.Set("Authorization", "Bearer "+admin)
	if a := w.do(form); a.status != 201 {
		t.Errorf("by key: %d %s", a.status, a.body)
	}
}

func TestAdminPages(t *testing.T) {
	w, admin := newAdminWorld(t)
	var want, secrets []string
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		id := "aauth:" + name + "@ap.example"
		w.applyFor(newEd25519(t), `{"agent_id":"`+id+`"}`)
		_, err := w.provider.Approve(t.Context(), person, w.onlyPending().ID)
		must(t, err)
		want = append(want, id)
		secrets = append(secrets, w.admin(admin, "POST", "/secrets", "{}").json(t)["id"].(string))
	}
	pages := func(path, member, id string) (got []string, calls int) {
		for after := ""; ; calls++ {
			page := w.admin(admin, "GET", path+"?limit=2&after="+url.QueryEscape(after), "").json(t)
			for _, entry := range page[member].([]any) {
				got = append(got, entry.(map[string]any)[id].(string))
			}
			next, more := page["next"].(string)
			if !more {
				return got, calls + 1
			}
			after = next
		}
	}
	if got, calls := pages("", "agents", "agent_id"); !cmp.Equal(got, want) || calls != 3 {
		t.Errorf("agents: %v in %d calls", got, calls)
	}
	if got, calls := pages("/secrets", "secrets", "id"); len(got) != len(secrets) || calls != 3 {
		t.Errorf("secrets: %v in %d calls, want %v", got, calls, secrets)
	}
}

// TestAdminBesideProvisioning: both admin APIs have their usual paths on one mux,
// which would panic if two were the same.
func TestAdminBesideProvisioning(t *testing.T) {
	w, admin := newAdminWorld(t)
	host, err := keywright.NewHost(keywright.HostConfig{
		Store: w.store, URL: w.host.URL, Hooks: w.host.Hooks, Kinds: map[string]string{"provisioning": "ck_prov", "runner": "ck_runner", "enrollment": "ck_enroll"},
	})
	must(t, err)
	runners, err := provisioning.New(provisioning.Config{Host: host, Admin: byHeader{}})
	must(t, err)
	runners.Register(w.mux, "")
	if a := w.admin(admin, "GET", "", ""); a.status != 200 || !strings.Contains(a.body, `"agents"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
}
