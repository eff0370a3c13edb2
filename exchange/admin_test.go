package exchange_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/exchange"
	"github.com/keywright/keywright/store"
)

func wantCode(t *testing.T, what string, err error, code keywright.Code) {
	t.Helper()
	if err == nil || keywright.AsError(err).Code != code {
		t.Errorf("%s: got %v, want code %s", what, err, code)
	}
}

// stored is a publisher of another repository than github's.
func stored(edit ...func(*exchange.Publisher)) exchange.Publisher {
	p := github(func(p *exchange.Publisher) {
		p.ID, p.Subject = "stored", "builder"
		p.Claims["repository"], p.Claims["repository_id"] = exchange.Values{"octo-org/other"}, exchange.Values{"75"}
	})
	for _, e := range edit {
		e(&p)
	}
	return p
}

// otherJob is a job of stored's repository.
func (w *world) otherJob() string {
	return w.issuer.GitHub(map[string]any{"repository": "octo-org/other", "repository_id": "75"})
}

func (w *world) create(p exchange.Publisher) exchange.PublisherInfo {
	w.t.Helper()
	info, err := w.Create(w.t.Context(), operator, w.own(p))
	if err != nil {
		w.t.Fatal(err)
	}
	return info
}

func (w *world) works(key string) bool {
	w.t.Helper()
	return w.send("GET", "/whoami", "Bearer "+key, nil).status == 200
}

// twin is another process on w's store.
func (w *world) twin(publishers ...exchange.Publisher) *world {
	w.t.Helper()
	other := worldOn(w.t, w.db.Store, w.clock, w.issuer, "", nil, func(c *exchange.Config) { c.Publishers = publishers })
	return other
}

func TestAdminAPI(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	admin := w.adminKey()
	body := map[string]any{
		"id": "stored", "provider": "github", "issuer": w.issuer.URL(), "subject": "builder", "scopes": []string{"build"}, "lifetime": "5m",
		"claims": map[string]any{"repository": "octo-org/other", "repository_id": []string{"75"}, "repository_owner_id": "65"},
	}
	with := func(name string, value any) map[string]any {
		changed := make(map[string]any)
		for k, v := range body {
			changed[k] = v
		}
		changed[name] = value
		return changed
	}
	for _, step := range []struct {
		name, method, path, authorization string
		body                              any
		status                            int
		contains                          string
	}{
		{"without a key", "GET", "/publishers", "", nil, 401, "invalid_token"},
		{"create without a key", "POST", "/publishers", "", body, 401, "invalid_token"},
		{"a misspelt member", "POST", "/publishers", admin, with("patern", "x"), 400, "patern"},
		{"not valid", "POST", "/publishers", admin, with("scopes", []string{}), 400, "scopes"},
		{"no object", "POST", "/publishers", admin, []int{1}, 400, "JSON object"},
		{"an id of the configuration", "POST", "/publishers", admin, with("id", "deploy"), 409, "there is a publisher"},
		{"create", "POST", "/publishers", admin, body, 201, `"lifetime":"5m0s"`},
		{"create again", "POST", "/publishers", admin, body, 409, "there is a publisher"},
		{"get", "GET", "/publishers/stored", admin, nil, 200, `"repository_id":["75"]`},
		{"list", "GET", "/publishers", admin, nil, 200, `"id":"deploy"`},
		{"first page", "GET", "/publishers?limit=1", admin, nil, 200, `"next":"deploy"`},
		{"second page", "GET", "/publishers?limit=1&after=deploy", admin, nil, 200, `"id":"stored"`},
		{"a bad limit", "GET", "/publishers?limit=0", admin, nil, 400, "limit"},
		{"too large a limit", "GET", "/publishers?limit=1001", admin, nil, 400, "limit"},
		{"replace another id", "PUT", "/publishers/stored", admin, with("id", "third"), 400, "path"},
		{"replace what is not there", "PUT", "/publishers/third", admin, with("id", "third"), 404, "not_found"},
		{"replace the configured one", "PUT", "/publishers/deploy", admin, with("id", "deploy"), 409, "configuration"},
		{"replace an old version", "PUT", "/publishers/stored", admin, with("version", "1"), 409, "meanwhile"},
		{"replace", "PUT", "/publishers/stored", admin, with("subject", "other"), 200, `"subject":"other"`},
		{"an id that is none", "GET", "/publishers/UPPER", admin, nil, 404, "not_found"},
		{"disable", "POST", "/publishers/stored/disable", admin, nil, 200, `"disabled":true`},
		{"enable", "POST", "/publishers/stored/enable", admin, nil, 200, `"id":"stored"`},
		{"disable what is not there", "POST", "/publishers/third/disable", admin, nil, 404, "not_found"},
		{"issuers", "GET", "/issuers", admin, nil, 200, `"publishers":2`},
		{"disable the issuer", "POST", "/issuers/disable", admin, map[string]string{"issuer": w.issuer.URL()}, 200, `"disabled":true`},
		{"enable the issuer", "POST", "/issuers/enable", admin, map[string]string{"issuer": w.issuer.URL()}, 200, `"disabled":false`},
		{"disable an unknown issuer", "POST", "/issuers/disable", admin, map[string]string{"issuer": "https://other.example"}, 404, "not_found"},
		{"explain nothing", "POST", "/explain", admin, map[string]any{}, 400, "either"},
		{"explain both", "POST", "/explain", admin, map[string]any{"token": "a.b.c", "claims": map[string]any{}}, 400, "either"},
		{"explain junk", "POST", "/explain", admin, map[string]any{"token": "junk"}, 400, "three parts"},
		{"explain claims", "POST", "/explain", admin, map[string]any{"claims": map[string]any{"iss": w.issuer.URL(), "repository": "octo-org/third"}}, 200, `"got":"octo-org/third"`},
		{"delete", "DELETE", "/publishers/stored", admin, nil, 204, ""},
		{"delete again", "DELETE", "/publishers/stored", admin, nil, 404, "not_found"},
		{"delete the configured one", "DELETE", "/publishers/deploy", admin, nil, 409, "configuration"},
		{"another method", "PATCH", "/publishers", admin, nil, 405, "method_not_allowed"},
	} {
		a := w.send(step.method, exchange.AdminPath+step.path, step.authorization, step.body)
		if a.status != step.status || !strings.Contains(a.body, step.contains) {
			t.Errorf("%s: got %d %s, want %d with %s", step.name, a.status, a.body, step.status, step.contains)
		}
	}
	key := w.wantKey(w.issuer.GitHub(nil))
	if a := w.send("GET", exchange.AdminPath+"/publishers", "Bearer "+key, nil); a.status != http.StatusForbidden {
		t.Errorf("with a key of the exchange: got %d, want 403 (E19)", a.status)
	}
}

// What a view shows can be sent back as it is.
func TestViewIsAReplacement(t *testing.T) {
	w := newWorld(t, nil)
	w.create(stored())
	admin := w.adminKey()
	path := exchange.AdminPath + "/publishers/stored"
	before := w.send("GET", path, admin, nil)
	a := w.send("PUT", path, admin, before.fields)
	if a.status != 200 {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	if again := w.send("PUT", path, admin, before.fields); again.status != 409 {
		t.Errorf("the same version a second time: got %d, want 409", again.status)
	}
	delete(before.fields, "version")
	delete(a.fields, "version")
	if diff := cmp.Diff(before.fields, a.fields); diff != "" {
		t.Errorf("changed (-before +after):\n%s", diff)
	}
}

func TestWithoutAdminThereIsNoAdminAPI(t *testing.T) {
	w := newWorld(t, nil, func(c *exchange.Config) { c.Admin = nil })
	if a := w.send("GET", exchange.AdminPath+"/publishers", w.adminKey(), nil); a.status != 404 {
		t.Errorf("got %d, want 404", a.status)
	}
}

// Whatever a key hangs on ends it at once, in every process.
func TestKeysEndWithWhatTheyHangOn(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	other := w.twin(w.own(github()))
	w.create(stored())
	first, second := other.wantKey(w.issuer.GitHub(nil)), other.wantKey(w.otherJob())
	ctx := t.Context()
	do := func(_ exchange.PublisherInfo, err error) error { return err }
	for _, step := range []struct {
		name          string
		do            func() error
		first, second bool
	}{
		{"stored disabled", func() error { return do(w.Disable(ctx, operator, "stored")) }, true, false},
		{"stored enabled", func() error { return do(w.Enable(ctx, operator, "stored")) }, true, true},
		{"configured disabled", func() error { return do(w.Disable(ctx, operator, "deploy")) }, false, true},
		{"configured disabled again", func() error { return do(w.Disable(ctx, operator, "deploy")) }, false, true},
		{"configured enabled", func() error { return do(w.Enable(ctx, operator, "deploy")) }, true, true},
		{"issuer disabled", func() error { return w.DisableIssuer(ctx, operator, w.issuer.URL()) }, false, false},
		{"issuer enabled", func() error { return w.EnableIssuer(ctx, operator, w.issuer.URL()) }, true, true},
		{"replaced", func() error { return do(w.Replace(ctx, operator, w.own(stored()), "")) }, true, true},
		{"deleted", func() error { return w.Delete(ctx, operator, "stored") }, true, false},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		for _, p := range []*world{w, other} {
			if got := []bool{p.works(first), p.works(second)}; !slices.Equal(got, []bool{step.first, step.second}) {
				t.Errorf("%s: keys work: %v, want %v", step.name, got, []bool{step.first, step.second})
			}
		}
		for job, may := range map[string]bool{w.issuer.GitHub(nil): step.first, w.otherJob(): step.second} {
			if got := other.post(job).status == 200; got != may {
				t.Errorf("%s: a new token obtains a key: %v, want %v", step.name, got, may)
			}
		}
	}
	// One that is created anew with the old id has no keys.
	w.create(stored())
	if w.works(second) {
		t.Error("a key has come back with a new publisher of the same id")
	}
}

// A disabled issuer costs no request to it, and its tokens look like a stranger's.
func TestDisabledIssuerIsNotAsked(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	if err := w.DisableIssuer(t.Context(), operator, w.issuer.URL()); err != nil {
		t.Fatal(err)
	}
	w.wantRefused("disabled issuer", w.issuer.GitHub(nil), "verif")
	if discovery, jwks := w.issuer.Fetches(); discovery+jwks != 0 {
		t.Errorf("%d requests went to a disabled issuer", discovery+jwks)
	}
}

// Minting carries the check that the publisher still stands: however a deletion
// and an exchange meet, no key works afterwards.
func TestNoKeyOutrunsADeletion(t *testing.T) {
	for round := range 30 {
		w := newWorld(t, nil)
		other := w.twin()
		w.create(stored())
		other.wantKey(w.otherJob()) // the issuer's record stands, the snapshot is warm
		tokens := make([]string, 8)
		for i := range tokens {
			tokens[i] = w.otherJob()
		}
		var all sync.WaitGroup
		release := make(chan struct{})
		keys := make([]string, len(tokens))
		for i, token := range tokens {
			all.Go(func() {
				<-release
				a, err := other.try("POST", exchange.TokenPath, "", form(token))
				if err != nil || a.status != 200 && a.status != 400 {
					t.Errorf("got %d %s, %v", a.status, a.body, err)
				}
				keys[i] = a.key()
			})
		}
		all.Go(func() {
			<-release
			if err := w.Delete(t.Context(), operator, "stored"); err != nil {
				t.Error(err)
			}
		})
		close(release)
		all.Wait()
		for _, key := range keys {
			if key != "" && w.works(key) {
				t.Fatalf("round %d: a key works after its publisher was deleted", round)
			}
		}
	}
}

// The configuration ends keys too, when the server starts without a publisher.
func TestSyncEndsWhatIsNotConfigured(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	key := w.wantKey(w.issuer.GitHub(nil))
	if err := w.Sync(t.Context()); err != nil || !w.works(key) {
		t.Fatalf("a sync with the publisher configured: %v, key works: %v", err, w.works(key))
	}
	if err := w.twin().Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.works(key) {
		t.Error("the key outlives its publisher")
	}
	if n := w.count(exchange.KindStatic); n != 0 {
		t.Errorf("%d records of configured publishers are left", n)
	}
	back := w.twin(w.own(github()))
	back.wantKey(w.issuer.GitHub(nil))
	if back.works(key) {
		t.Error("the key has come back with the publisher")
	}
}

// What disabled a configured publisher outlives restarts, until it is enabled.
func TestDisabledStaticStaysDisabled(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	if _, err := w.Disable(t.Context(), operator, "deploy"); err != nil {
		t.Fatal(err)
	}
	other := w.twin(w.own(github()))
	if err := other.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	other.wantRefused("disabled before the restart", w.issuer.GitHub(nil), "")
	off := worldOn(t, &store.Memory{Now: w.clock.Now}, w.clock, w.issuer, "", []exchange.Publisher{github(func(p *exchange.Publisher) { p.Disabled = true })})
	_, err := off.Enable(t.Context(), operator, "deploy")
	wantCode(t, "enable what the configuration disables", err, keywright.CodeConflict)
}

func TestOverlapsAreReported(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	if info := w.create(stored()); len(info.Overlaps) != 0 {
		t.Errorf("another repository: overlaps with %v", info.Overlaps)
	}
	info := w.create(github(func(p *exchange.Publisher) { p.ID, p.Subject = "rival", "somebody else" }))
	if diff := cmp.Diff([]string{"deploy"}, info.Overlaps); diff != "" {
		t.Errorf("overlaps (-want +got):\n%s", diff)
	}
	info = w.create(github(func(p *exchange.Publisher) { p.ID = "same" }))
	if diff := cmp.Diff([]string{"rival"}, info.Overlaps); diff != "" {
		t.Errorf("overlaps (-want +got):\n%s", diff)
	}
}

func TestConfiguredOverlapsAreLogged(t *testing.T) {
	rival := github(func(p *exchange.Publisher) { p.ID, p.Subject = "rival", "x" })
	if w := newWorld(t, []exchange.Publisher{github(), rival}); !strings.Contains(w.log.String(), "overlap") {
		t.Error("the log says nothing of publishers that overlap")
	}
	if w := newWorld(t, []exchange.Publisher{github(), stored()}); strings.Contains(w.log.String(), "overlap") {
		t.Errorf("the log speaks of an overlap: %s", w.log)
	}
}

func TestCreateRefuses(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	ctx := t.Context()
	refused := func(name, contains string, p exchange.Publisher) {
		t.Helper()
		_, err := w.Create(ctx, operator, w.own(p))
		if wantCode(t, name, err, keywright.CodeInvalidRequest); err != nil && !strings.Contains(keywright.AsError(err).Detail, contains) {
			t.Errorf("%s: %q does not name %q", name, err, contains)
		}
	}
	refused("another provider for the issuer", "another provider", exchange.Publisher{
		ID: "other", Provider: exchange.Generic, Subject: "s", Scopes: []string{"a"}, Claims: map[string]exchange.Values{"sub": {"x"}},
	})
	refused("a private address", "issuer", stored(func(p *exchange.Publisher) { p.Issuer = "http://gitlab.corp" }))
	refused("an issuer with a query", "query", stored(func(p *exchange.Publisher) { p.Issuer = "https://ci.example/?x" }))
	refused("an issuer in upper case", "lower case", stored(func(p *exchange.Publisher) { p.Issuer = "https://CI.example" }))
	refused("a subject from a claim, and no hook", "Account", stored(func(p *exchange.Publisher) { p.Subject, p.SubjectClaim = "", "actor" }))
	refused("pending until yesterday", "past", stored(func(p *exchange.Publisher) {
		delete(p.Claims, "repository_id")
		p.PendingUntil = w.clock.Now().Add(-time.Hour)
	}))
	for i := range 100 {
		w.create(exchange.Publisher{
			ID: fmt.Sprint("pattern-", i), Provider: exchange.Generic, Issuer: "https://ci.example", Subject: "s", Scopes: []string{"a"},
			Patterns: map[string]exchange.Values{"sub": {fmt.Sprintf("project-%d/*", i)}},
		})
	}
	refused("one more with patterns alone", "patterns alone", exchange.Publisher{
		ID: "more", Provider: exchange.Generic, Issuer: "https://ci.example", Subject: "s", Scopes: []string{"a"},
		Patterns: map[string]exchange.Values{"sub": {"x/*"}},
	})
}

// A record that cannot be read matches nothing, is named in the log, and leaves
// the others alone.
func TestBrokenRecordIsLeftOut(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	w.create(stored())
	records := []store.Op{
		store.Insert(store.Record{Kind: exchange.KindPublisher, ID: "broken", Data: []byte("{")}),
		store.Insert(store.Record{Kind: exchange.KindPublisher, ID: "invalid", Data: []byte(`{"id":"invalid"}`)}),
		store.Put(store.Record{Kind: exchange.KindEpoch, ID: "publishers", Data: []byte("{}")}),
	}
	if err := w.db.Commit(t.Context(), records...); err != nil {
		t.Fatal(err)
	}
	w.wantKey(w.issuer.GitHub(nil))
	w.wantKey(w.otherJob())
	for _, id := range []string{"broken", "invalid"} {
		if !strings.Contains(w.log.String(), "publisher="+id) {
			t.Errorf("the log does not name %s", id)
		}
	}
	// The state of an issuer decides whether keys work: without it nothing goes.
	if err := w.db.Commit(t.Context(), store.Insert(store.Record{Kind: exchange.KindIssuer, ID: "x", Data: []byte("{")}), store.Put(store.Record{Kind: exchange.KindEpoch, ID: "publishers"})); err != nil {
		t.Fatal(err)
	}
	if a := w.post(w.issuer.GitHub(nil)); a.status != 503 {
		t.Errorf("a broken record of an issuer: got %d, want 503", a.status)
	}
}

func TestAdminChangesAreAudited(t *testing.T) {
	w := newWorld(t, nil)
	ctx := t.Context()
	w.create(stored())
	_, err1 := w.Replace(ctx, operator, w.own(stored()), "")
	_, err2 := w.Disable(ctx, operator, "stored")
	_, err3 := w.Enable(ctx, operator, "stored")
	err := errors.Join(err1, err2, err3, w.DisableIssuer(ctx, operator, w.issuer.URL()), w.EnableIssuer(ctx, operator, w.issuer.URL()), w.Delete(ctx, operator, "stored"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for e, err := range w.host.Events(ctx, "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Name+" by "+e.Actor+" on "+strings.Replace(e.Target, w.issuer.URL(), "ISSUER", 1))
	}
	slices.Reverse(got)
	want := []string{
		"exchange.publisher_created by operator on stored", "exchange.publisher_replaced by operator on stored",
		"exchange.publisher_disabled by operator on stored", "exchange.publisher_enabled by operator on stored",
		"exchange.issuer_disabled by operator on ISSUER", "exchange.issuer_enabled by operator on ISSUER",
		"exchange.publisher_deleted by operator on stored",
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// A key can be given back while what it hangs on is disabled, and does not come
// back with it.
func TestSuspendedKeyIsRevoked(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	key := w.wantKey(w.issuer.GitHub(nil))
	if err := w.DisableIssuer(t.Context(), operator, w.issuer.URL()); err != nil {
		t.Fatal(err)
	}
	if a := w.send("POST", exchange.RevokePath, "", url.Values{"token": {key}}); a.status != 200 {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	if err := w.EnableIssuer(t.Context(), operator, w.issuer.URL()); err != nil {
		t.Fatal(err)
	}
	if w.works(key) {
		t.Error("the revoked key works again")
	}
}

// A publisher that the configuration disables ends its keys at the next start,
// and an administrator's Disable reaches them at once.
func TestConfigurationDisables(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	key := w.wantKey(w.issuer.GitHub(nil))
	off := w.twin(w.own(github(func(p *exchange.Publisher) { p.Disabled = true })))
	if _, err := off.Disable(t.Context(), operator, "deploy"); err != nil || w.works(key) {
		t.Errorf("disabled by an administrator as well: %v, key works: %v", err, w.works(key))
	}
	if _, err := w.Enable(t.Context(), operator, "deploy"); err != nil || !w.works(key) {
		t.Fatalf("enabled: %v, key works: %v", err, w.works(key))
	}
	if err := off.Sync(t.Context()); err != nil || w.works(key) {
		t.Errorf("after Sync: %v, key works: %v", err, w.works(key))
	}
	if err := w.Sync(t.Context()); err != nil || !w.works(key) {
		t.Errorf("configured as enabled again: %v, key works: %v", err, w.works(key))
	}
}

// Attrs are the claims as they are, or are left out: a host may decide by them.
func TestAttrsAreNotAltered(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	for ref, want := range map[string]string{
		"refs/heads/main": "refs/heads/main", "refs/heads/ma\u2028in": "", "refs/heads/main\u0085": "",
		"refs/heads/" + strings.Repeat("x", 300): "refs/heads/" + strings.Repeat("x", 300),
	} {
		key := w.wantKey(w.issuer.GitHub(map[string]any{"ref": ref}))
		me := w.send("GET", "/whoami", "Bearer "+key, nil)
		attrs, _ := me.fields["Attrs"].(map[string]any)
		if got, _ := attrs["ref"].(string); got != want {
			t.Errorf("ref %q: Attrs have %q", ref, got)
		}
	}
}

// E19: whatever kind the host has given them.
func TestExchangedKeyDoesNotAdminister(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()}, func(c *exchange.Config) { c.KeyKind = "admin" })
	key := w.wantKey(w.issuer.GitHub(nil))
	if a := w.send("GET", exchange.AdminPath+"/publishers", "Bearer "+key, nil); a.status != 403 {
		t.Errorf("got %d, want 403", a.status)
	}
}

func TestMembersInAnotherCaseAreRefused(t *testing.T) {
	w := newWorld(t, nil)
	w.create(stored())
	path, admin := exchange.AdminPath+"/publishers/stored", w.adminKey()
	body := w.send("GET", path, admin, nil).fields
	body["Subject"] = "root"
	if a := w.send("PUT", path, admin, body); a.status != 400 || !strings.Contains(a.body, "Subject") {
		t.Errorf("got %d %s, want 400", a.status, a.body)
	}
}

// A stored publisher that does not fit the configuration any more matches
// nothing, and can be deleted, which ends its keys.
func TestLeftOutPublisherIsDeleted(t *testing.T) {
	w := newWorld(t, nil)
	w.create(stored())
	key := w.wantKey(w.otherJob())
	for name, p := range map[string]*world{
		"of a network that is not allowed now": worldOn(t, w.db.Store, w.clock, w.issuer, "", nil, func(c *exchange.Config) { c.Network.InsecureLoopback = false }),
		"of an id that is configured now":      w.twin(w.own(stored(func(p *exchange.Publisher) { p.Subject = "other" }))),
	} {
		if !w.works(key) {
			t.Fatalf("%s: the key has ended already", name)
		}
		_, err := p.Create(t.Context(), operator, w.own(stored()))
		if code := keywright.AsError(err).Code; code != keywright.CodeConflict && code != keywright.CodeInvalidRequest {
			t.Errorf("%s: create over it: got %v", name, err)
		}
		if err := p.Delete(t.Context(), operator, "stored"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if w.works(key) {
			t.Errorf("%s: the key outlives its publisher", name)
		}
		w.create(stored())
		key = w.wantKey(w.otherJob())
	}
}
