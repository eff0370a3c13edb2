package provisioning_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning"
)

var operator = keywright.Principal{Subject: "operator", Credential: "op"}

// Row "key limits"; weakness 13: a key that ends, that has a number of uses, and
// that makes runners of some names only.
func TestLimitsOfAKey(t *testing.T) {
	w := newWorld(t, unlimited)
	ending := w.makeKey("ending", `"expires_at":"2026-03-01T14:00:00Z"`)
	w.clock.Advance(2*time.Hour - time.Second)
	pending, pendingKey := w.provision(ending, "pending")
	enrolled, enrolledKey := w.provision(ending, "enrolled")
	w.want("enrol", w.enroll(enrolled, enrolledKey, "enrolled"), 201, "")
	w.clock.Advance(time.Second)
	w.want("the key at its end", w.call("POST", provisionPath, ending, named("late")), 401, badProvKey)
	w.want("what it has pending", w.enroll(pending, pendingKey, "pending"), 401, badToken)
	w.want("whom it has enrolled", w.call("GET", "/runner", enrolledKey, ""), 200, "")
	w.want("its id is free", w.call("POST", keysPath, w.admin, `{"key_id":"ending"}`), 201, "")
	w.want("the old key", w.call("POST", provisionPath, ending, named("late")), 401, badProvKey)
	w.want("of another of its name", w.enroll(pending, pendingKey, "pending"), 401, badToken)

	twice := w.makeKey("twice", `"max_uses":2`)
	token, runner := w.provision(twice, "two-1")
	w.provision(twice, "two-1") // which takes the place of the first: perhaps its answer got lost
	w.provision(twice, "two-2")
	w.want("a third runner", w.call("POST", provisionPath, twice, named("two-3")), 403, "This provisioning key has no uses left")
	w.want("the token that was replaced", w.enroll(token, runner, "two-1"), 401, badToken)
	k, err := w.prov.Key(t.Context(), "twice")
	if err != nil || k.Uses != 2 {
		t.Errorf("uses: got %d, %v", k.Uses, err)
	}
	if a := w.call("GET", keysPath, w.admin, ""); !strings.Contains(a.body, `"uses":2`) {
		t.Errorf("listed: %s", a.body)
	}
	w.call("DELETE", keysPath+"/twice", w.admin, "")
	w.provision(w.makeKey("twice", `"max_uses":2`), "two-3") // another key, with uses of its own

	for _, tt := range []struct {
		pattern, id string
		want        int
	}{
		{"sdr-*", "sdr-1", 201}, {"sdr-*", "sdr-", 201}, {"sdr-*", "sdr", 403}, {"sdr-*", "xsdr-1", 403}, {"*", "any", 201},
		{"a*z", "abcz", 201}, {"a*z", "abc", 403}, {"*-lab", "x-lab", 201}, {"exact", "exact", 201}, {"exact", "exact2", 403}, {"a.c", "abc", 403},
	} {
		w.call("DELETE", keysPath+"/pattern", w.admin, "")
		key := w.makeKey("pattern", `"runner_pattern":"`+tt.pattern+`"`)
		a := w.call("POST", provisionPath, key, `{"runner_name":"free-name","runner_id":"`+tt.id+`"}`)
		if a.status != tt.want || tt.want == 403 && !strings.Contains(a.body, "runner_id: this key makes only runners named like "+tt.pattern) {
			t.Errorf("%s as %s: got %d %s", tt.pattern, tt.id, a.status, a.body)
		}
	}
}

// A key may have a number of enrolments pending. One that is used, withdrawn,
// deleted with its runner or at its end gives its place back, and a runner that
// is provisioned again keeps its own.
func TestPendingOfAKey(t *testing.T) {
	w := newWorld(t)
	key := w.makeKey("ci", `"max_pending":2`)
	full := func(name string) {
		t.Helper()
		w.want(name, w.call("POST", provisionPath, key, named("more")), 403, "This provisioning key has as many enrollments pending as it may have")
	}
	w.provision(key, "sdr-1")
	w.provision(key, "sdr-2")
	full("two are pending")
	one, oneKey := w.provision(key, "sdr-1")
	two, _ := w.provision(key, "sdr-2")
	full("two again")
	w.want("enrol", w.enroll(one, oneKey, "sdr-1"), 201, "")
	w.provision(key, "sdr-3")
	full("one enrolled, another in its place")
	w.want("withdraw", w.call("DELETE", "/api/enrollment/token/"+two[:22], w.admin, ""), 200, "")
	w.provision(key, "sdr-4")
	full("one withdrawn, another in its place")
	other := w.makeKey("other")
	w.provision(other, "sdr-3")
	w.provision(key, "sdr-5")
	full("another key has taken over")
	w.clock.Advance(24 * time.Hour)
	w.provision(key, "sdr-6")
	w.provision(key, "sdr-7")
	full("a day later")
	w.call("DELETE", keysPath+"/ci", w.admin, "")
	w.provision(w.makeKey("ci", `"max_pending":1`), "sdr-8") // another key, with places of its own
	w.clock.Advance(24 * time.Hour)
	w.call("DELETE", keysPath+"/ci", w.admin, "")
	key = w.makeKey("ci", `"max_pending":2`)
	one, oneKey = w.provision(key, "sdr-1-again")
	w.want("enrol", w.enroll(one, oneKey, "sdr-1-again"), 201, "")
	w.provision(key, "sdr-6")
	w.provision(key, "sdr-7")
	if n := len(w.dump(provisioning.KindSlot)); n != 2 {
		t.Errorf("%d places, want 2", n)
	}
	a := w.call("GET", keysPath+"/ci/runners", w.admin, "")
	for id, status := range map[string]string{"sdr-1-again": "enrolled", "sdr-6": "pending", "sdr-7": "pending"} {
		if !strings.Contains(a.body, `"runner_id":"`+id+`","status":"`+status+`"`) {
			t.Errorf("what it has made: no %s %s in %s", status, id, a.body)
		}
	}
	for _, id := range []string{"sdr-2", "sdr-3", "sdr-4", "sdr-5", "sdr-8"} {
		if strings.Contains(a.body, id) {
			t.Errorf("what it has made: %s in %s", id, a.body)
		}
	}
}

// Row "key limits", "provisioned-runners list per key": what somebody else makes
// under the same name is not this key's.
func TestWhatAKeyHasMade(t *testing.T) {
	w := newWorld(t)
	one, two := w.makeKey("one"), w.makeKey("two")
	w.provision(one, "sdr-1")
	token, apiKey := w.provision(two, "sdr-1")
	made := func(id, want string) {
		t.Helper()
		if a := w.call("GET", keysPath+"/"+id+"/runners", w.admin, ""); a.body != want {
			t.Errorf("%s: got %s, want %s", id, a.body, want)
		}
	}
	made("one", `{"runners":[]}`)
	made("two", `{"runners":[{"runner_id":"sdr-1","status":"pending","provisioned_at":"2026-03-01T12:00:00Z","expires_at":"2026-03-02T12:00:00Z"}]}`)
	w.want("enrol", w.enroll(token, apiKey, "sdr-1"), 201, "")
	w.clock.Advance(100 * 24 * time.Hour)
	made("one", `{"runners":[]}`)
	made("two", `{"runners":[{"runner_id":"sdr-1","status":"enrolled","provisioned_at":"2026-03-01T12:00:00Z"}]}`)
	w.provision(one, "sdr-2")
	a := w.call("POST", "/api/enrollment/token", w.admin, named("sdr-2"))
	made("one", `{"runners":[]}`)
	w.want("withdraw", w.call("DELETE", "/api/enrollment/token/"+a.field("token"), w.admin, ""), 200, "")
	token, apiKey = w.provision(one, "sdr-2")
	w.want("enrol", w.enroll(token, apiKey, "sdr-2"), 201, "")
	w.want("forget the token that was used", w.call("DELETE", "/api/enrollment/token/"+token, w.admin, ""), 200, "")
	w.want("it is forgotten", w.enroll(token, apiKey, "sdr-2"), 401, badToken)
	w.want("the runner is not", w.call("GET", "/runner", apiKey, ""), 200, "")
	made("one", `{"runners":[{"runner_id":"sdr-2","status":"enrolled","provisioned_at":"2026-06-09T12:00:00Z"}]}`)
}

// Row "rotation": the old key works for the overlap and no longer, and not
// longer than it would have.
func TestRotateKey(t *testing.T) {
	w := newWorld(t, unlimited)
	first := w.makeKey("ci", `"expires_at":"2026-03-02T12:00:00Z"`, `"max_uses":7`, `"scopes":["s"]`)
	n := 0
	works := func(name, key string, want bool) {
		t.Helper()
		n++
		if a := w.call("POST", provisionPath, key, named(fmt.Sprintf("sdr-%d", n))); (a.status == 201) != want || !want && a.field("error") != badProvKey {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
	}
	rotate := func(body, until string) string {
		t.Helper()
		a := w.call("POST", keysPath+"/ci/rotate", w.admin, body)
		if a.status != 200 || a.field("old_key_valid_until") != until {
			t.Errorf("rotate %s: got %d %s, want until %q", body, a.status, a.body, until)
		}
		return a.field("api_key")
	}
	pending, pendingKey := w.provision(first, "pending")
	second := rotate(`{}`, "2026-03-01T13:00:00Z")
	third := rotate(`{"overlap_hours":2}`, "2026-03-01T14:00:00Z")
	works("the first", first, true)
	w.clock.Advance(time.Hour)
	works("the first after its overlap", first, false)
	works("the second", second, true)
	w.want("what is pending", w.enroll(pending, pendingKey, "pending"), 201, "")
	w.clock.Advance(time.Hour)
	works("the second after its overlap", second, false)
	works("the third", third, true)
	fourth := rotate(`{"overlap_hours":0}`, "")
	works("the third without an overlap", third, false)
	rotate(`{"overlap_hours":1000}`, "2026-03-02T12:00:00Z")
	works("the fourth", fourth, true)
	w.want("disable", w.call("POST", keysPath+"/ci/toggle", w.admin, `{"enabled":false}`), 200, "")
	sixth := rotate(``, "2026-03-01T15:00:00Z")
	works("rotated while it is disabled", sixth, false)
	w.want("enable", w.call("POST", keysPath+"/ci/toggle", w.admin, `{}`), 200, "")
	works("enabled", sixth, true)
	works("a seventh and last use", fourth, true)
	w.want("an eighth", w.call("POST", provisionPath, sixth, named("eighth")), 403, "")
	w.clock.Advance(24 * time.Hour)
	works("at its end", sixth, false)
	w.want("rotate what has ended", w.call("POST", keysPath+"/ci/rotate", w.admin, ""), 404, "Key not found")
	if rotated := len(w.events("provisioning.key_rotated")); rotated != 5 {
		t.Errorf("%d events, want 5", rotated)
	}
}

// The API key is the host's, too, which may have ended or replaced it.
func TestRotateKeyWhateverTheHostHasDone(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(k *keywright.Keys, w *world, id string) error
		old  bool // still works
	}{
		{"deleted", func(k *keywright.Keys, w *world, id string) error { return k.Delete(w.t.Context(), operator, id) }, false},
		{"disabled", func(k *keywright.Keys, w *world, id string) error { return k.Disable(w.t.Context(), operator, id) }, false},
		{"rotated", func(k *keywright.Keys, w *world, id string) error {
			_, err := k.Rotate(w.t.Context(), operator, id, keywright.Rotation{Overlap: time.Minute})
			return err
		}, true},
	} {
		w := newWorld(t)
		old := w.makeKey("ci", `"max_uses":2`)
		id, _ := w.host.Keys.ID(old)
		if err := tt.do(w.host.Keys, w, id); err != nil {
			t.Fatal(err)
		}
		a := w.call("POST", keysPath+"/ci/rotate", w.admin, "")
		if a.status != 200 || strings.Contains(a.body, "old_key") {
			t.Errorf("%s: got %d %s", tt.name, a.status, a.body)
		}
		if got := w.call("POST", provisionPath, old, named("sdr-1")).status == 201; got != tt.old {
			t.Errorf("%s: the old key works: %v", tt.name, got)
		}
		w.provision(a.field("api_key"), "sdr-2")
		k, err := w.prov.Key(t.Context(), "ci")
		if newID, _ := w.host.Keys.ID(a.field("api_key")); err != nil || k.Prefix != "ck_prov_"+newID {
			t.Errorf("%s: the key is now %+v, %v", tt.name, k, err)
		}
		w.want("delete", w.call("DELETE", keysPath+"/ci", w.admin, ""), 200, "")
		w.want("then", w.call("POST", provisionPath, a.field("api_key"), named("sdr-3")), 401, badProvKey)
	}
}

// Rows "imported keys" and "key format": keys of ChallengeCtl, which have no
// prefix, go on only where the host wants it.
func TestImportKey(t *testing.T) {
	const text = "Zx3_kQ9wT-5vB1nM7rL0pY2sD4fG6hJ8aC_eU-iOqWzXcVbNmAsDfGhJkLpOiU01"
	for _, on := range []bool{true, false} {
		w := newWorld(t, func(s *setup) { s.host.ImportedKeys = on })
		k, err := w.prov.ImportKey(t.Context(), operator, provisioning.KeySettings{ID: "legacy"}, text)
		if err != nil || k.ID != "legacy" || k.CreatedBy != "operator" || !k.Enabled || k.Prefix != "" {
			t.Fatalf("import: got %+v, %v", k, err)
		}
		a := w.call("POST", provisionPath, text, named("sdr-1"))
		if !on {
			w.want("off", a, 401, badProvKey)
			continue
		}
		w.want("on", a, 201, "")
		for _, tt := range []struct {
			name string
			s    provisioning.KeySettings
			text string
			want string // in the error
		}{
			{"the text is taken", provisioning.KeySettings{ID: "other"}, text, "conflict: Failed to create"},
			{"the id is taken", provisioning.KeySettings{ID: "legacy"}, "a" + text, "conflict: Failed to create"},
			{"a bad id", provisioning.KeySettings{ID: "a b"}, "a" + text, "invalid_request: key_id must contain"},
			{"too short", provisioning.KeySettings{ID: "short"}, "short", "invalid_request: a key to import"},
			{"one of ours", provisioning.KeySettings{ID: "ours"}, w.makeKey("ours-too"), "invalid_request: a key to import"},
		} {
			before := w.dump(kinds...)
			k, err := w.prov.ImportKey(t.Context(), operator, tt.s, tt.text)
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) || k.ID != "" {
				t.Errorf("%s: got %+v, %v", tt.name, k, err)
			}
			w.unchanged(tt.name, before)
		}
		next := w.call("POST", keysPath+"/legacy/rotate", w.admin, "")
		w.provision(text, "sdr-2")
		w.provision(next.field("api_key"), "sdr-2")
		if k, err := w.prov.Key(t.Context(), "legacy"); err != nil || !strings.HasPrefix(next.field("api_key"), k.Prefix) || k.Prefix == "" {
			t.Errorf("rotated: got %+v, %v", k, err)
		}
		w.clock.Advance(time.Hour)
		w.want("after the overlap", w.call("POST", provisionPath, text, named("sdr-3")), 401, badProvKey)
		w.want("delete", w.call("DELETE", keysPath+"/legacy", w.admin, ""), 200, "")
		w.want("deleted", w.call("POST", provisionPath, next.field("api_key"), named("sdr-3")), 401, badProvKey)
	}
}

// DeleteKey leaves nothing to authenticate with, whatever the host has done.
func TestDeleteKey(t *testing.T) {
	w := newWorld(t)
	for _, byHost := range []bool{false, true} {
		key := w.makeKey("ci")
		id, _ := w.host.Keys.ID(key)
		if byHost {
			if err := w.host.Keys.Delete(t.Context(), operator, id); err != nil {
				t.Fatal(err)
			}
		}
		w.want("delete", w.call("DELETE", keysPath+"/ci", w.admin, ""), 200, "")
		if _, err := w.host.Keys.Lookup(t.Context(), id); keywright.AsError(err).Code != keywright.CodeNotFound {
			t.Errorf("the API key: got %v", err)
		}
		if k, err := w.prov.Key(t.Context(), "ci"); keywright.AsError(err).Code != keywright.CodeNotFound || k.ID != "" {
			t.Errorf("the key: got %+v, %v", k, err)
		}
	}
}

// A key that was rotated and deleted is no key of the one that has its name now.
func TestOldKeysOfAName(t *testing.T) {
	w := newWorld(t)
	first := w.makeKey("ci")
	second := w.call("POST", keysPath+"/ci/rotate", w.admin, "").field("api_key")
	w.want("delete", w.call("DELETE", keysPath+"/ci", w.admin, ""), 200, "")
	third := w.makeKey("ci")
	for name, key := range map[string]string{"the first": first, "the second": second} {
		w.want(name, w.call("POST", provisionPath, key, named("sdr-1")), 401, badProvKey)
	}
	w.provision(third, "sdr-1")
}

// What the API of Go is given is not changed, and what it cannot take is refused.
func TestSettingsInGo(t *testing.T) {
	w := newWorld(t)
	given := []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24")}
	k, err := w.prov.CreateKey(t.Context(), operator, provisioning.KeySettings{ID: "ci", Networks: given, Expires: epoch.Add(time.Hour + time.Millisecond)})
	if err != nil || !slices.Equal(k.Networks, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}) || given[0].String() != "192.0.2.7/24" || !k.Expires.Equal(epoch.Add(time.Hour)) {
		t.Errorf("got %+v, %v; given %v", k, err, given)
	}
	for name, s := range map[string]provisioning.KeySettings{
		"no network":     {ID: "a", Networks: []netip.Prefix{{}}},
		"a mapped one":   {ID: "a", Networks: []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("::ffff:192.0.2.0"), 120)}},
		"an end at once": {ID: "a", Expires: epoch.Add(time.Millisecond)},
		"taken":          {ID: "ci"},
	} {
		k, err := w.prov.CreateKey(t.Context(), operator, s)
		if err == nil || k.APIKey != "" {
			t.Errorf("%s: got %+v, %v", name, k, err)
		}
	}
	for _, overlap := range []time.Duration{-1, 101 * 365 * 24 * time.Hour} {
		if _, err := w.prov.RotateKey(t.Context(), operator, "ci", overlap); keywright.AsError(err).Code != keywright.CodeInvalidRequest {
			t.Errorf("overlap %v: got %v", overlap, err)
		}
	}
}

// The last use of a key is that of the old one, too, while both work.
func TestLastUseOfARotatedKey(t *testing.T) {
	w := newWorld(t)
	old := w.makeKey("ci")
	next := w.call("POST", keysPath+"/ci/rotate", w.admin, "").field("api_key")
	for _, tt := range []struct{ name, key, want string }{
		{"the old one", old, "2026-03-01T12:10:00Z"}, {"the new one", next, "2026-03-01T12:20:00Z"}, {"the old one again", old, "2026-03-01T12:30:00Z"},
	} {
		w.clock.Advance(10 * time.Minute)
		w.provision(tt.key, "sdr-1")
		if err := w.host.Keys.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		k, err := w.prov.Key(t.Context(), "ci")
		if list := w.call("GET", keysPath, w.admin, ""); !strings.Contains(list.body, `"last_used_at":"`+tt.want+`"`) || err != nil || k.LastUsedAt == nil || k.LastUsedAt.Format(time.RFC3339) != tt.want {
			t.Errorf("%s: got %s, %+v, %v, want %s", tt.name, list.body, k, err, tt.want)
		}
	}
}
