package provisioning_test

import (
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning"
	"github.com/keywright/keywright/store"
)

// Row "host binding": off, warn or bind, always and not only while a runner is
// online, on both the MAC address and the machine id.
func TestBinding(t *testing.T) {
	const mac, id = "X-Runner-MAC", "X-Runner-Machine-ID"
	for _, tt := range []struct {
		name   string
		header http.Header
		same   bool
	}{
		{"the same", http.Header{mac: {"aa:bb:cc:dd:ee:ff"}, id: {"m1"}}, true},
		{"spelled another way", http.Header{mac: {"AA-BB-CC-DD-EE-FF"}, id: {"m1"}}, true},
		{"newer headers", http.Header{"X-Agent-MAC": {"aa:bb:cc:dd:ee:ff"}, "X-Agent-Machine-ID": {"m1"}}, true},
		{"one of each", http.Header{mac: {"aa:bb:cc:dd:ee:ff"}, "X-Agent-Machine-ID": {"m1"}}, true},
		{"another MAC", http.Header{mac: {"aa:bb:cc:dd:ee:00"}, id: {"m1"}}, false},
		{"another machine", http.Header{mac: {"aa:bb:cc:dd:ee:ff"}, id: {"m2"}}, false},
		{"another machine's spelling", http.Header{mac: {"aa:bb:cc:dd:ee:ff"}, id: {"M1"}}, false},
		{"no MAC", http.Header{id: {"m1"}}, false},
		{"no machine", http.Header{mac: {"aa:bb:cc:dd:ee:ff"}}, false},
		{"nothing", http.Header{}, false},
		{"empty", http.Header{mac: {""}, id: {""}}, false},
		{"both families", http.Header{mac: {"aa:bb:cc:dd:ee:ff"}, "X-Agent-MAC": {"aa:bb:cc:dd:ee:ff"}, id: {"m1"}}, false},
		{"both families, another", http.Header{mac: {"aa:bb:cc:dd:ee:ff"}, id: {"m1"}, "X-Agent-Machine-ID": {"m2"}}, false},
		{"twice", http.Header{mac: {"aa:bb:cc:dd:ee:ff", "aa:bb:cc:dd:ee:00"}, id: {"m1"}}, false},
	} {
		for binding, want := range map[provisioning.Binding]int{provisioning.BindOff: 200, provisioning.BindWarn: 200, provisioning.Bind: 401} {
			w := newWorld(t, func(s *setup) { s.config.Binding = binding })
			key := w.enrolled("sdr-1")
			w.clock.Advance(time.Hour) // ChallengeCtl forgets the machine after 90 s
			req, err := http.NewRequestWithContext(t.Context(), "GET", w.url+"/runner", nil)
			if err != nil {
				t.Fatal(err)
			}
			for name, values := range tt.header {
				req.Header[http.CanonicalHeaderKey(name)] = values
			}
			req.Header.Set("Authorization", "Bearer "+key)
			a := w.send(req)
			told := w.events("provisioning.other_machine")
			if tt.same {
				want = 200
			}
			if a.status != want || want == 401 && a.field("error") != badKey || want == 401 && a.header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("%s, binding %d: got %d %s, want %d", tt.name, binding, a.status, a.body, want)
			}
			if warned := len(told) == 1 && told[0].Target == "sdr-1" && told[0].Actor != "" && told[0].Remote == "127.0.0.1" && told[0].Detail != "" && told[0].Time.Equal(w.clock.Now()); warned != (!tt.same && binding != provisioning.BindOff) {
				t.Errorf("%s, binding %d: heard %+v", tt.name, binding, told)
			}
		}
	}
}

// Where runners are bound they are enrolled with what they are bound to, and
// those of before are not let in.
func TestBindingNeedsAMachine(t *testing.T) {
	w := newWorld(t, func(s *setup) { s.config.Binding = provisioning.Bind })
	key := w.makeKey("ci")
	token, apiKey := w.provision(key, "sdr-1")
	body := `{"enrollment_token":"` + token + `","api_key":"` + apiKey + `","runner_id":"sdr-1","hostname":"h","devices":[]`
	before := w.dump(kinds...)
	w.want("no MAC", w.call("POST", enrollPath, "", body+`,"machine_id":"m"}`), 400, "Missing required field: mac_address")
	w.want("no machine", w.call("POST", enrollPath, "", body+`,"mac_address":"m"}`), 400, "Missing required field: machine_id")
	w.want("a bad token says no more", w.call("POST", enrollPath, "", strings.Replace(body, "sdr-1", "sdr-2", 1)+`}`), 401, badToken)
	w.unchanged("refused", before)
	w.want("both", w.call("POST", enrollPath, "", body+`,"mac_address":"m","machine_id":"m"}`), 201, "")

	s := new(spy)
	free := newWorld(t, spied(s))
	free.provision(free.makeKey("ci"), "x")
	token, apiKey = free.provision(free.makeKey("other"), "sdr-1")
	free.want("unbound", free.call("POST", enrollPath, "", `{"enrollment_token":"`+token+`","api_key":"`+apiKey+`","runner_id":"sdr-1","hostname":"h","devices":[]}`), 201, "")
	bound := newWorld(t, func(c *setup) { c.host.Store, c.config.Binding = s, provisioning.Bind })
	limited := newWorld(t, func(c *setup) {
		c.host.Store, c.config.Binding, c.config.Failures = s, provisioning.Bind, provisioning.FailureLimit{Burst: 1}
	})
	limited.want("another machine", limited.call("GET", "/runner", apiKey, ""), 401, badKey)
	limited.want("and again", limited.call("GET", "/runner", apiKey, ""), 429, "")
	bound.want("bound since", bound.call("GET", "/runner", apiKey, "", "X-Runner-MAC", "", "X-Runner-Machine-ID", ""), 401, badKey)
	warned := newWorld(t, func(c *setup) { c.host.Store, c.config.Binding = s, provisioning.BindWarn })
	s.onceAlone(provisioning.KindRunner, func() { free.call("DELETE", "/api/runners/sdr-1", free.admin, "") })
	warned.want("deleted since it was authenticated", warned.call("GET", "/runner", apiKey, ""), 401, badKey)
}

// sequence yields two pairs in their order.
func sequence(a string, at time.Time, b string, bt time.Time) iter.Seq2[string, time.Time] {
	return func(yield func(string, time.Time) bool) { _ = yield(a, at) && yield(b, bt) }
}

// Row "key limits": what a key forces on its runners arrives in their Principal,
// and stays through rotation.
func TestPrincipalOfARunner(t *testing.T) {
	w := newWorld(t)
	token, key := w.provision(w.makeKey("ci", `"scopes":["beat","task:read"]`, `"tags":["lab","eu-1"]`), "sdr-1")
	w.want("enrol", w.enroll(token, key, "sdr-1"), 201, "")
	second := w.call("POST", "/api/enrollment/rotate", key, "").field("api_key")
	// The first use of the second one begins the overlap of the first.
	for text, expires := range sequence(second, time.Time{}, key, epoch.Add(time.Hour)) {
		var p keywright.Principal
		a := w.call("GET", "/runner", text, "")
		if err := json.Unmarshal([]byte(a.body), &p); err != nil {
			t.Fatal(err)
		}
		id, _ := w.host.Keys.ID(text)
		want := keywright.Principal{
			Expires: expires, Claims: json.RawMessage("null"),
			Method: keywright.MethodProvisioning, Issuer: base, Subject: "sdr-1", Scopes: []string{"beat", "task:read"}, Credential: id,
			Attrs: map[string]string{"runner": "sdr-1", "runner_name": "sdr-1", "provisioned_by": "provisioning:ci", "tags": "lab eu-1"},
		}
		if diff := cmp.Diff(want, p); diff != "" {
			t.Errorf("the Principal (-want +got):\n%s", diff)
		}
	}
	a := w.call("POST", "/api/enrollment/token", w.admin, `{"runner_name":"Station","runner_id":"sdr-2"}`)
	w.want("enrol", w.enroll(a.field("token"), a.field("api_key"), "sdr-2"), 201, "")
	if b := w.call("GET", "/runner", a.field("api_key"), ""); !strings.Contains(b.body, `"Attrs":{"provisioned_by":"root","runner":"sdr-2","runner_name":"Station"}`) || !strings.Contains(b.body, `"Scopes":null`) {
		t.Errorf("an administrator's runner: %s", b.body)
	}
	if got := w.prov.Authenticator().(keywright.Challenger).Challenge(); got != "Bearer" {
		t.Errorf("challenge %q", got)
	}
}

// Lists come in pages, in the order of ids, to their end.
func TestPages(t *testing.T) {
	w := newWorld(t, perHour(1000))
	key := w.makeKey("ci")
	for i := range 7 {
		name := fmt.Sprintf("sdr-%d", i)
		token, apiKey := w.provision(key, name)
		w.want("enrol", w.enroll(token, apiKey, name), 201, "")
	}
	type page struct {
		Runners, Agents []struct {
			ID string `json:"runner_id"`
		}
		Tokens []struct {
			ID string `json:"runner_id"`
		}
		Next string
	}
	all := []string{"sdr-0", "sdr-1", "sdr-2", "sdr-3", "sdr-4", "sdr-5", "sdr-6"}
	for _, path := range []string{"/api/runners", "/api/agents", "/api/enrollment/tokens"} {
		for limit := 1; limit <= 8; limit++ {
			var got []string
			after, pages := "", 0
			for {
				var p page
				a := w.call("GET", fmt.Sprintf("%s?limit=%d&after=%s", path, limit, after), w.admin, "")
				if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.status != 200 {
					t.Fatalf("%s: %d %s", path, a.status, a.body)
				}
				items := slices.Concat(p.Runners, p.Agents, p.Tokens)
				for _, r := range items {
					got = append(got, r.ID)
				}
				if pages++; p.Next == "" {
					break
				}
				if len(items) != limit {
					t.Errorf("%s, limit %d: a page of %d", path, limit, len(items))
				}
				after = p.Next
			}
			if path == "/api/enrollment/tokens" {
				slices.Sort(got) // they come in the order of their own ids
			}
			if !slices.Equal(got, all) || pages != (len(all)+limit-1)/limit {
				t.Errorf("%s, limit %d: got %v in %d pages", path, limit, got, pages)
			}
		}
		if a := w.call("GET", path+"?limit=", w.admin, ""); strings.Contains(a.body, "next") || strings.Count(a.body, "runner_id\":") < 7 {
			t.Errorf("%s without a limit: %s", path, a.body)
		}
		w.want("behind the last", w.call("GET", path+"?after=zzz", w.admin, ""), 200, "")
	}
	runners, err := w.prov.Runners(t.Context(), "sdr-4", 0)
	if err != nil || len(runners) != 2 || runners[0].ID != "sdr-5" {
		t.Errorf("in Go: got %+v, %v", runners, err)
	}
}

// Row "delete": a runner that is deleted is gone with its keys, those of before
// too, its enrolment is not repeated, and its name is free.
func TestDeleteRunner(t *testing.T) {
	w := newWorld(t, unlimited)
	first := w.enrolled("sdr-1")
	second := w.call("POST", "/api/enrollment/rotate", first, "").field("api_key")
	again := w.call("POST", "/api/enrollment/re-enroll/sdr-1", w.admin, "")
	w.want("delete", w.call("DELETE", "/api/runners/sdr-1", w.admin, ""), 200, "")
	for _, key := range []string{first, second, again.field("api_key")} {
		w.want("a key of a deleted runner", w.call("GET", "/runner", key, ""), 401, badKey)
		w.want("a key of a deleted runner", w.call("POST", "/api/enrollment/rotate", key, ""), 401, badKey)
	}
	id, _ := w.host.Keys.ID(second)
	if _, err := w.host.Keys.Lookup(t.Context(), id); keywright.AsError(err).Code != keywright.CodeNotFound {
		t.Errorf("its API key: got %v", err)
	}
	if left := w.dump(provisioning.KindRunner, provisioning.KindPending, provisioning.KindMade, provisioning.KindSlot); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if tokens := w.call("GET", "/api/enrollment/tokens", w.admin, ""); strings.Count(tokens.body, `"used":false`) != 0 {
		t.Errorf("pending: %s", tokens.body)
	}
	third := w.enrolledBy("for-sdr-1", "sdr-1")
	for _, key := range []string{first, second} {
		w.want("a key of the first of that name", w.call("GET", "/runner", key, ""), 401, badKey)
	}
	w.want("the second of that name", w.call("GET", "/runner", third, ""), 200, "")
	for _, name := range []string{"runner_deleted", "runner_rotated", "enrolled"} {
		if len(w.events("provisioning."+name)) == 0 {
			t.Errorf("no event provisioning.%s", name)
		}
	}
}

// enrolledBy makes a runner with a key that exists.
func (w *world) enrolledBy(keyID, id string) string {
	w.t.Helper()
	a := w.call("POST", keysPath+"/"+keyID+"/rotate", w.admin, "")
	token, key := w.provision(a.field("api_key"), id)
	w.want("enrol "+id, w.enroll(token, key, id), 201, "")
	return key
}

// Every change has its event, with who did it, in the store and at the hook.
func TestEventsOfChanges(t *testing.T) {
	w := newWorld(t)
	adminID, _ := w.host.Keys.ID(w.admin)
	key := w.makeKey("ci")
	keyID, _ := w.host.Keys.ID(key)
	token, runner := w.provision(key, "sdr-1")
	tokenID, _ := w.host.Keys.ID(token)
	runnerID, _ := w.host.Keys.ID(runner)
	w.enroll(token, runner, "sdr-1")
	w.call("POST", "/api/runners/sdr-1/disable", w.admin, "")
	w.call("POST", "/api/runners/sdr-1/disable", w.admin, "")
	w.call("POST", "/api/runners/sdr-1/enable", w.admin, "")
	w.call("DELETE", "/api/enrollment/token/"+token, w.admin, "")
	w.call("DELETE", "/api/runners/sdr-1", w.admin, "")
	w.call("POST", keysPath+"/ci/toggle", w.admin, `{"enabled":false}`)
	w.call("POST", keysPath+"/ci/toggle", w.admin, `{"enabled":false}`)
	w.call("POST", keysPath+"/ci/toggle", w.admin, `{"enabled":true}`)
	w.call("DELETE", keysPath+"/ci", w.admin, "")
	facts := map[string]string{"by": "provisioning:ci", "token": tokenID, "key": runnerID}
	var want []keywright.Event
	for _, e := range []keywright.Event{
		{Name: "provisioning.key_created", Actor: adminID, Target: "ci", Attrs: map[string]string{"by": "root", "key": keyID}},
		{Name: "provisioning.provisioned", Actor: keyID, Target: "sdr-1", Attrs: facts},
		{Name: "provisioning.enrolled", Actor: tokenID, Target: "sdr-1", Attrs: facts},
		{Name: "provisioning.runner_disabled", Actor: adminID, Target: "sdr-1", Attrs: map[string]string{"by": "root", "key": runnerID}},
		{Name: "provisioning.runner_enabled", Actor: adminID, Target: "sdr-1", Attrs: map[string]string{"by": "root", "key": runnerID}},
		{Name: "provisioning.token_deleted", Actor: adminID, Target: tokenID, Attrs: facts},
		{Name: "provisioning.runner_deleted", Actor: adminID, Target: "sdr-1", Attrs: map[string]string{"by": "root", "key": runnerID}},
		{Name: "provisioning.key_disabled", Actor: adminID, Target: "ci", Attrs: map[string]string{"by": "root", "key": keyID}},
		{Name: "provisioning.key_enabled", Actor: adminID, Target: "ci", Attrs: map[string]string{"by": "root", "key": keyID}},
		{Name: "provisioning.key_deleted", Actor: adminID, Target: "ci", Attrs: map[string]string{"by": "root", "key": keyID}},
	} {
		e.Time, e.Remote = epoch, "127.0.0.1"
		want = append(want, e)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	heard := slices.DeleteFunc(slices.Clone(w.heard), func(e keywright.Event) bool { return e.Name == "key.issued" })
	if fmt.Sprint(heard) != fmt.Sprint(want) {
		t.Errorf("heard\n%v\nwant\n%v", heard, want)
	}
	var kept []string
	for r, err := range w.db.List(t.Context(), store.Query{Kind: keywright.KindEvent}) {
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, string(r.Data))
	}
	for _, e := range want {
		text, _ := json.Marshal(e)
		if !slices.Contains(kept, string(text)) {
			t.Errorf("not in the store: %s", text)
		}
	}
}
