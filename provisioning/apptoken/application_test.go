package apptoken_test

import (
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning/apptoken"
	"github.com/keywright/keywright/store"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A disabled application's tokens rest, in every process, until it is enabled.
func TestDisableApplication(t *testing.T) {
	w := newWorld(t)
	twin, admin := w.twin(), w.admin()
	token, other := w.create(admin, tokensPath, request()).text("token"), w.create(admin, otherAppPath, request()).text("token")
	must(t, w.DisableApplication(t.Context(), root, "myorg", "app123"))
	must(t, w.DisableApplication(t.Context(), root, "myorg", "app123"))
	if w.works(token) || twin.works(token) || !w.works(other) {
		t.Error("a token of the disabled application works, or another does not")
	}
	w.want("create", w.send("POST", tokensPath, admin, request()), 409, "conflict", "disabled")
	if list := w.send("GET", tokensPath, admin, ""); list.names() != "ci" {
		t.Errorf("list: got %s", list.body)
	}
	must(t, twin.EnableApplication(t.Context(), root, "myorg", "app123"))
	if !w.works(token) {
		t.Error("the token does not work after its application was enabled")
	}
	w.create(admin, tokensPath, request())
	if len(w.events("apptoken.application_disabled")) != 1 || len(twin.events("apptoken.application_enabled")) != 1 {
		t.Error("not one event for each change")
	}
	// Before the first token, too.
	must(t, w.DisableApplication(t.Context(), root, "other", "app123"))
	w.want("create in the other", w.send("POST", otherOrgPath, admin, request()), 409, "conflict", "disabled")
}

// A deleted application's tokens are gone for good, and so are their records.
func TestDeleteApplication(t *testing.T) {
	w := newWorld(t, func(c *apptoken.Config) { c.Policy.AllowNever = true })
	twin, admin := w.twin(), w.admin()
	all := w.makeTokens(5, "myorg", "app123")
	ever, err := w.Create(t.Context(), root, "myorg", "app123", apptoken.Spec{Name: "ever", Scopes: []string{"repo:read"}, Never: true})
	must(t, err)
	other := w.makeTokens(1, "myorg", "app456")[0]
	before := w.count(keywright.KindKey)
	must(t, w.DeleteApplication(t.Context(), root, "myorg", "app123"))
	must(t, w.DeleteApplication(t.Context(), root, "myorg", "app123"))
	for _, made := range append(all, ever) {
		if w.works(made.Text) || twin.works(made.Text) {
			t.Errorf("token %s works", made.Name)
		}
		w.want("delete one", w.send("DELETE", tokensPath+"/"+made.ID, admin, ""), 404, "not_found", "")
	}
	w.want("list", w.send("GET", tokensPath, admin, ""), 404, "not_found", "")
	w.want("create", twin.send("POST", tokensPath, admin, request()), 404, "not_found", "")
	if n, keys := w.count(apptoken.KindToken), w.count(keywright.KindKey); n != 1 || before-keys != 6 || !w.works(other.Text) {
		t.Errorf("%d tokens and %d of %d keys are left, and not those of the other application", n, keys, before)
	}
	if e := w.events("apptoken.application_deleted"); len(e) != 1 || e[0].Attrs["tokens"] != "6" || e[0].Attrs["kind"] != "delete_application" || e[0].Actor != "root" {
		t.Errorf("events: %+v", e)
	}
	// An application of the same id begins anew.
	must(t, w.EnableApplication(t.Context(), root, "myorg", "app123"))
	if list := w.send("GET", tokensPath, admin, ""); list.status != 200 || list.names() != "" {
		t.Errorf("list: got %d %s", list.status, list.body)
	}
	if made := w.create(admin, tokensPath, request()); !w.works(made.text("token")) || w.works(ever.Text) {
		t.Error("the new token does not work, or an old one does")
	}
	if err := w.DeleteApplication(t.Context(), root, "myorg", "\x00"); keywright.AsError(err).Code != keywright.CodeNotFound {
		t.Errorf("a name that is none: got %v", err)
	}
}

// What a crash has left behind is no token, is not listed, and is cleared away
// by a second call, without the new ones.
func TestLeftovers(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	old := w.makeTokens(3, "myorg", "app123")
	lists := errDown
	hook := func() { w.db.lists.Store(&lists) }
	// The store fails once the tokens have ended.
	w.db.once(func(op store.Op) bool { return op.Record.Kind == apptoken.KindApplication }, hook)
	if err := w.DeleteApplication(t.Context(), root, "myorg", "app123"); err == nil || keywright.AsError(err).Code != keywright.CodeUnavailable {
		t.Fatalf("delete: got %v", err)
	}
	w.db.lists.Store(nil)
	must(t, w.EnableApplication(t.Context(), root, "myorg", "app123"))
	fresh := w.create(admin, tokensPath, request("name", `"fresh"`))
	if list := w.send("GET", tokensPath, admin, ""); list.names() != "fresh" || w.works(old[0].Text) {
		t.Errorf("list: got %s", list.body)
	}
	w.want("delete an old one", w.send("DELETE", tokensPath+"/"+old[0].ID, admin, ""), 404, "not_found", "")
	if n := w.count(apptoken.KindToken); n != 4 {
		t.Fatalf("%d records, want 3 left over and a fresh one", n)
	}
	must(t, w.DeleteApplication(t.Context(), root, "myorg", "app123"))
	if n := w.count(apptoken.KindToken); n != 0 || w.works(fresh.text("token")) {
		t.Errorf("%d records are left", n)
	}
}

// What is made anew while the records of a deleted application are cleared away stays.
func TestClearingSparesNewTokens(t *testing.T) {
	w := newWorld(t)
	twin := w.twin()
	w.makeTokens(3, "myorg", "app123")
	var fresh []apptoken.NewToken
	hook := func(q store.Query) {
		if q.Prefix == "myorg/app123/" {
			must(t, twin.EnableApplication(t.Context(), root, "myorg", "app123"))
			fresh = twin.makeTokens(2, "myorg", "app123")
		}
	}
	w.db.listing.Store(&hook)
	must(t, w.DeleteApplication(t.Context(), root, "myorg", "app123"))
	if n := w.count(apptoken.KindToken); n != 2 || !w.works(fresh[0].Text) {
		t.Errorf("%d records are left, want the 2 new ones", n)
	}
}

// A key that the host has rotated ends with its token.
func TestRotatedByTheHost(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	made := w.create(admin, tokensPath, request())
	id := w.who(made.text("token")).Credential
	next, err := w.host.Keys.Rotate(t.Context(), root, id, keywright.Rotation{Overlap: time.Hour})
	must(t, err)
	if !w.works(next.Text) || !w.works(made.text("token")) {
		t.Fatal("a rotated key does not work")
	}
	if a := w.send("DELETE", tokensPath+"/"+made.text("uuid"), admin, ""); a.status != 204 {
		t.Fatalf("delete: got %d %s", a.status, a.body)
	}
	if w.works(next.Text) || w.works(made.text("token")) {
		t.Error("a key lives on after its token was deleted")
	}
}

// A token of Quay's works as it did there.
func TestImport(t *testing.T) {
	w := newWorld(t)
	const text = "ABCDEFGHIJKLMNOPQRSTuvwxyzabcdefghijklmn" // 40 characters
	spec := apptoken.Spec{Name: "from quay", Scopes: []string{"repo:write"}, Lifetime: time.Hour}
	made, err := w.Import(t.Context(), root, "myorg", "app123", spec, text)
	must(t, err)
	if p := w.who(text); p.Attrs["token_id"] != made.ID || !p.HasScope("repo:read") {
		t.Errorf("principal: got %+v", p)
	}
	if _, err := w.Import(t.Context(), root, "myorg", "app123", spec, text); err == nil || keywright.AsError(err).Code != keywright.CodeConflict {
		t.Errorf("imported twice: got %v", err)
	}
	if _, err := w.Import(t.Context(), keywright.Principal{}, "myorg", "app123", spec, text+"x"); keywright.AsError(err).Code != keywright.CodeInsufficientScope {
		t.Errorf("by nobody: got %v", err)
	}
	if _, err := w.Import(t.Context(), root, "myorg", "app123", spec, "short"); keywright.AsError(err).Code != keywright.CodeInvalidRequest {
		t.Errorf("a short text: got %v", err)
	}
	must(t, w.Delete(t.Context(), root, "myorg", "app123", made.ID))
	if w.works(text) {
		t.Error("it works after it was deleted")
	}
}
