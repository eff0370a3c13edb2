package apptoken_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning/apptoken"
)

// Who may is decided before what exists: Quay's own matrix, and more.
func TestPermissionBeforeExistence(t *testing.T) {
	w := newWorld(t)
	const some = "/01890a5d-ac96-774b-bcce-b302099a8057"
	callers := map[string]string{
		"": "", "stranger": w.key("person", "bob"), "reader": w.key("person", "rita"), "other's admin": w.key("person", "oscar"),
		"admin": w.alice(), "super user": w.admin(), "runner": w.key("runner", "sdr-1", "admin"),
	}
	for _, tt := range []struct {
		caller, path        string
		get, post, deletion int
	}{
		{"", noAppPath, 401, 401, 401},
		{"stranger", noAppPath, 403, 403, 403},
		{"reader", noAppPath, 404, 403, 403},
		{"admin", noAppPath, 404, 404, 404},
		{"super user", noAppPath, 404, 404, 404},
		{"", noOrgPath, 401, 401, 401},
		{"stranger", noOrgPath, 403, 403, 403},
		{"reader", noOrgPath, 403, 403, 403},
		{"admin", noOrgPath, 403, 403, 403},
		{"super user", noOrgPath, 404, 404, 404},
		{"stranger", tokensPath, 403, 403, 403},
		{"reader", tokensPath, 200, 403, 403},
		{"other's admin", tokensPath, 403, 403, 403},
		{"admin", tokensPath, 200, 200, 404},
		{"super user", tokensPath, 200, 200, 404},
		{"admin", otherOrgPath, 403, 403, 403},
		{"super user", otherOrgPath, 200, 200, 404},
		{"runner", tokensPath, 403, 403, 403},
	} {
		for method, want := range map[string]int{"GET": tt.get, "POST": tt.post, "DELETE": tt.deletion} {
			path, body := tt.path, ""
			switch method {
			case "DELETE":
				path += some
			case "POST":
				body = request()
			}
			a := w.send(method, path, callers[tt.caller], body)
			if a.status != want {
				t.Errorf("%s by %q of %s: got %d %s, want %d", method, tt.caller, path, a.status, a.body, want)
			}
			if want == 403 && method == "POST" { // also before the body is looked at
				if a := w.send(method, path, callers[tt.caller], "junk"); a.status != 403 {
					t.Errorf("junk by %q: got %d %s, want 403", tt.caller, a.status, a.body)
				}
			}
		}
	}
}

func TestOtherMethods(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct{ method, path, allow string }{
		{"PUT", tokensPath, "GET, POST"}, {"DELETE", tokensPath, "GET, POST"}, {"PATCH", tokensPath, "GET, POST"},
		{"GET", tokensPath + "/x", "DELETE"}, {"POST", tokensPath + "/x", "DELETE"},
	} {
		a := w.send(tt.method, tt.path, w.admin(), "")
		w.want(tt.method, a, 405, "method_not_allowed", "")
		if a.header.Get("Allow") != tt.allow {
			t.Errorf("%s %s: Allow %q, want %q", tt.method, tt.path, a.header.Get("Allow"), tt.allow)
		}
	}
}

// A caller hands out no more than it may have now, a token no more than it has.
func TestMayMint(t *testing.T) {
	w := newWorld(t)
	admin, alice := w.admin(), w.alice()
	token := func(scope string) string {
		return "Bearer " + w.create(admin, tokensPath, request("scope", quote(scope))).text("token")
	}
	all := strings.Join(apptoken.Scopes(), " ")
	for _, tt := range []struct {
		name, caller, scope string
		status              int
	}{
		{"a super user", admin, all, 200},
		{"an admin all but one", alice, strings.TrimSuffix(all, " super:user"), 200},
		{"an admin super:user", alice, "super:user", 403},
		{"an admin super:user among others", alice, "repo:read,super:user", 403},
		{"a token without org:admin", token("repo:admin"), "repo:read", 403},
		{"a token with super:user alone", token("super:user"), "super:user", 403},
		{"a token what it has", token("org:admin repo:write"), "repo:write org:admin", 200},
		{"a token what is implied", token("org:admin repo:write"), "repo:read", 200},
		{"a token what is implied twice", token("org:admin repo:admin"), "repo:read repo:write", 200},
		{"a token more than it has", token("org:admin repo:write"), "repo:admin", 403},
		{"a token more among others", token("org:admin repo:read"), "repo:read repo:write", 403},
		{"a token a scope of another kind", token("org:admin repo:admin"), "repo:create", 403},
		{"a token with org:admin alone", token("org:admin"), "repo:read", 403},
		{"a token super:user", token("org:admin"), "super:user", 403},
		{"a super user's token super:user", token("org:admin super:user"), "super:user", 200},
	} {
		a := w.send("POST", tokensPath, tt.caller, request("scope", quote(tt.scope)))
		switch {
		case a.status != tt.status:
			t.Errorf("%s: got %d %s, want %d", tt.name, a.status, a.body, tt.status)
		case tt.status == 403:
			w.want(tt.name, a, 403, "insufficient_scope", "")
		case !cmp.Equal(strings.Fields(strings.ReplaceAll(tt.scope, ",", " ")), strings.Fields(a.text("scope"))):
			t.Errorf("%s: got %s", tt.name, a.body)
		}
	}
}

// A token acts in its own organisation, unless it is a super user's.
func TestTokenIsBoundToItsOrganisation(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	mine := "Bearer " + w.create(admin, tokensPath, request("scope", `"org:admin repo:read"`)).text("token")
	super := "Bearer " + w.create(admin, tokensPath, request("scope", `"org:admin super:user repo:read"`)).text("token")
	for _, tt := range []struct {
		name, caller, path string
		status             int
	}{
		{"its application", mine, tokensPath, 200}, {"another application", mine, otherAppPath, 200},
		{"another organisation", mine, otherOrgPath, 403}, {"an unknown one", mine, noOrgPath, 403},
		{"a super user's token", super, otherOrgPath, 200}, {"and an unknown organisation", super, noOrgPath, 404},
	} {
		if a := w.send("GET", tt.path, tt.caller, ""); a.status != tt.status {
			t.Errorf("%s: got %d %s, want %d", tt.name, a.status, a.body, tt.status)
		}
		if a := w.send("POST", tt.path, tt.caller, request()); a.status != tt.status {
			t.Errorf("%s, POST: got %d %s, want %d", tt.name, a.status, a.body, tt.status)
		}
	}
}

// The implied scopes are those of the principal, not of the description.
func TestImpliedScopes(t *testing.T) {
	w := newWorld(t)
	for scope, want := range map[string]string{
		"repo:read": "repo:read", "repo:write": "repo:write repo:read", "repo:admin": "repo:admin repo:write repo:read",
		"repo:create": "repo:create", "user:read": "user:read", "user:admin": "user:admin", "org:admin": "org:admin",
		"super:user": "super:user", "repo:read repo:admin": "repo:read repo:admin repo:write",
	} {
		a := w.create(w.admin(), tokensPath, request("scope", quote(scope)))
		if got := strings.Join(w.who(a.text("token")).Scopes, " "); got != want || a.text("scope") != scope {
			t.Errorf("%s: got %s and %s, want %s", scope, got, a.text("scope"), want)
		}
	}
}

// A Directory that says what a test wants.
type hostDirectory struct {
	apptoken.Directory
	rights func(keywright.Principal, string) (apptoken.Rights, error)
	app    func(org, clientID string) (apptoken.Application, error)
	asked  atomic.Int32
}

func (d *hostDirectory) Rights(ctx context.Context, p keywright.Principal, org string) (apptoken.Rights, error) {
	d.asked.Add(1)
	if d.rights == nil {
		return d.Directory.Rights(ctx, p, org)
	}
	return d.rights(p, org)
}

func (d *hostDirectory) Application(ctx context.Context, org, clientID string) (apptoken.Application, error) {
	if d.app == nil {
		return d.Directory.Application(ctx, org, clientID)
	}
	return d.app(org, clientID)
}

// What a Directory takes from the holder of a token is gone at once.
func TestRightsAreThoseOfNow(t *testing.T) {
	d := &hostDirectory{Directory: directory()}
	w := newWorld(t, func(c *apptoken.Config) { c.Directory = d })
	token := "Bearer " + w.create(w.admin(), tokensPath, request("scope", `"org:admin repo:admin"`)).text("token")
	readAndAdmin := "Bearer " + w.create(w.admin(), tokensPath, request("scope", `"org:admin repo:read"`)).text("token")
	adminAlone := "Bearer " + w.makeTokens(1, "myorg", "app123")[0].Text
	var saw keywright.Principal
	d.rights = func(p keywright.Principal, _ string) (apptoken.Rights, error) {
		saw = p
		return apptoken.Rights{Administer: true, Scopes: []string{"repo:write", "nonsense"}}, nil
	}
	for scope, status := range map[string]int{"repo:read": 200, "repo:write": 200, "repo:admin": 403, "org:admin": 403, "nonsense": 400} {
		if a := w.send("POST", tokensPath, token, request("scope", quote(scope))); a.status != status {
			t.Errorf("%s: got %d %s, want %d", scope, a.status, a.body, status)
		}
	}
	if saw.Attrs[apptoken.AttrCreatedBy] != "root" || saw.Attrs[apptoken.AttrApplication] != "app123" || saw.Attrs[apptoken.AttrOrganization] != "myorg" {
		t.Errorf("the directory was asked about %+v", saw)
	}
	w.want("what the directory grants and the token has not", w.send("POST", tokensPath, adminAlone, request()), 403, "insufficient_scope", "repo:read")
	for _, caller := range []string{readAndAdmin, w.alice()} { // repo:write implies it
		if a := w.send("POST", tokensPath, caller, request()); a.status != 200 {
			t.Errorf("repo:read where repo:write is granted: got %d %s", a.status, a.body)
		}
	}
	w.want("another organisation, which the directory grants", w.send("GET", otherOrgPath, token, ""), 403, "insufficient_scope", "")
	d.rights = func(keywright.Principal, string) (apptoken.Rights, error) { return apptoken.Rights{}, nil }
	w.want("no rights any more", w.send("POST", tokensPath, token, request()), 403, "insufficient_scope", "")
}

// Trouble is trouble, and never a yes; what a host says of absence is not sent.
func TestDirectoryTrouble(t *testing.T) {
	d := &hostDirectory{Directory: directory()}
	w := newWorld(t, func(c *apptoken.Config) { c.Directory = d })
	admin := w.admin()
	d.rights = func(keywright.Principal, string) (apptoken.Rights, error) {
		return apptoken.Rights{Administer: true, Scopes: apptoken.Scopes()}, errors.New("secret cause")
	}
	a := w.send("POST", tokensPath, admin, request())
	w.want("rights", a, 503, "unavailable", "")
	if strings.Contains(a.body, "secret cause") {
		t.Errorf("the cause is sent: %s", a.body)
	}
	if !strings.Contains(w.log.String(), "secret cause") {
		t.Error("the cause is not logged")
	}
	d.rights = nil
	d.app = func(string, string) (apptoken.Application, error) {
		return apptoken.Application{ClientID: "app123"}, errors.New("down")
	}
	w.want("application", w.send("POST", tokensPath, admin, request()), 503, "unavailable", "")
	d.app = func(org, _ string) (apptoken.Application, error) {
		return apptoken.Application{}, keywright.Errorf(keywright.CodeNotFound, "no application in %s", org)
	}
	hidden := w.send("GET", tokensPath, admin, "")
	d.app = nil
	if missing := w.send("GET", noAppPath, admin, ""); hidden.body != missing.body || hidden.status != 404 {
		t.Errorf("absence differs: %s and %s", hidden.body, missing.body)
	}
	d.rights = func(keywright.Principal, string) (apptoken.Rights, error) {
		return apptoken.Rights{}, keywright.Errorf(keywright.CodeConflict, "the organisation is being moved")
	}
	w.want("an error of the host's choice", w.send("GET", tokensPath, admin, ""), 409, "conflict", "being moved")
}

// One application has its tokens under one name, the host's.
func TestHostSpellsTheNames(t *testing.T) {
	d := &hostDirectory{Directory: directory()}
	w := newWorld(t, func(c *apptoken.Config) { c.Directory = d })
	admin := w.admin()
	d.app = func(org, clientID string) (apptoken.Application, error) {
		return d.Directory.Application(t.Context(), strings.ToLower(org), strings.ToLower(clientID))
	}
	made := w.create(admin, strings.Replace(strings.Replace(tokensPath, "myorg", "MyOrg", 1), "app123", "APP123", 1), request())
	if p := w.who(made.text("token")); p.Subject != "myorg/app123" || p.Attrs["organization"] != "myorg" {
		t.Errorf("principal: got %+v", p)
	}
	if list := w.send("GET", tokensPath, admin, ""); list.names() != "ci" {
		t.Errorf("list: got %s", list.body)
	}
	d.app = func(org, clientID string) (apptoken.Application, error) {
		return apptoken.Application{Name: "any"}, nil
	}
	made = w.create(admin, "/api/v1/organization/free/applications/one/tokens", request())
	if p := w.who(made.text("token")); p.Subject != "free/one" {
		t.Errorf("subject: got %q, want the names of the path", p.Subject)
	}
}

// No two applications share a subject, whatever they are called.
func TestSubjectsDoNotCollide(t *testing.T) {
	d := &hostDirectory{Directory: directory(), app: func(string, string) (apptoken.Application, error) { return apptoken.Application{}, nil }}
	w := newWorld(t, func(c *apptoken.Config) { c.Directory = d })
	admin := keywright.Principal{Method: keywright.MethodHost, Subject: "root", Scopes: []string{"admin"}}
	seen := make(map[string]string)
	for _, names := range [][2]string{{"a/b", "c"}, {"a", "b/c"}, {"a%2Fb", "c"}, {"a", "b%2Fc"}, {"A", "b/c"}, {"a ", "b/c"}} {
		made, err := w.Create(t.Context(), admin, names[0], names[1], apptoken.Spec{Name: "x", Scopes: []string{"repo:read"}})
		if err != nil {
			t.Fatal(err)
		}
		p := w.who(made.Text)
		if other, taken := seen[p.Subject]; taken {
			t.Errorf("%q and %s share the subject %q", names, other, p.Subject)
		}
		seen[p.Subject] = fmt.Sprintf("%q", names)
		if list, err := w.List(t.Context(), admin, names[0], names[1], apptoken.Page{}); err != nil || len(list.Tokens) != 1 {
			t.Errorf("%q: got %v, %v, want one token", names, list, err)
		}
	}
}

// Names that nothing can have are not there, and the host is not asked for them.
func TestOddNames(t *testing.T) {
	d := &hostDirectory{Directory: directory()}
	w := newWorld(t, func(c *apptoken.Config) { c.Directory = d })
	admin := w.admin()
	for _, name := range []string{"%00", "a%0Ab", "%1b%5bm", "%ff", strings.Repeat("x", 256), "a%E2%80%AEb", "a%C2%85"} {
		for _, path := range []string{strings.Replace(tokensPath, "myorg", name, 1), strings.Replace(tokensPath, "app123", name, 1)} {
			before := d.asked.Load()
			w.want(path, w.send("POST", path, admin, request()), 404, "not_found", "")
			if d.asked.Load() != before {
				t.Errorf("%s: the directory was asked", path)
			}
		}
	}
	before := d.asked.Load()
	for _, names := range [][2]string{{"", "app123"}, {"myorg", ""}} {
		_, err := w.Create(t.Context(), root, names[0], names[1], apptoken.Spec{Name: "x", Scopes: []string{"repo:read"}})
		if err == nil || keywright.AsError(err).Code != keywright.CodeNotFound || d.asked.Load() != before {
			t.Errorf("%q: got %v", names, err)
		}
	}
	w.want("255 bytes", w.send("POST", strings.Replace(tokensPath, "myorg", strings.Repeat("x", 255), 1), w.key("person", "bob"), request()), 403, "insufficient_scope", "")
}

// Who may only read changes nothing, though it could hand out every scope.
func TestReadersChangeNothing(t *testing.T) {
	d := &hostDirectory{Directory: directory()}
	w := newWorld(t, func(c *apptoken.Config) { c.Directory = d })
	made := w.makeTokens(1, "myorg", "app123")[0]
	d.rights = func(keywright.Principal, string) (apptoken.Rights, error) {
		return apptoken.Rights{Read: true, Scopes: apptoken.Scopes()}, nil
	}
	spec := apptoken.Spec{Name: "x", Scopes: []string{"repo:read"}}
	_, created := w.Create(t.Context(), root, "myorg", "app123", spec)
	_, imported := w.Import(t.Context(), root, "myorg", "app123", spec, strings.Repeat("a", 40))
	deleted := w.Delete(t.Context(), root, "myorg", "app123", made.ID)
	for what, err := range map[string]error{"create": created, "import": imported, "delete": deleted} {
		if err == nil || keywright.AsError(err).Code != keywright.CodeInsufficientScope {
			t.Errorf("%s: got %v", what, err)
		}
	}
	w.want("POST", w.send("POST", tokensPath, w.alice(), request()), 403, "insufficient_scope", "")
	w.want("DELETE", w.send("DELETE", tokensPath+"/"+made.ID, w.alice(), ""), 403, "insufficient_scope", "")
	if list, err := w.List(t.Context(), root, "myorg", "app123", apptoken.Page{}); err != nil || len(list.Tokens) != 1 {
		t.Errorf("list: got %v, %v", list, err)
	}
	d.rights = func(keywright.Principal, string) (apptoken.Rights, error) {
		return apptoken.Rights{Scopes: apptoken.Scopes()}, nil
	}
	if _, err := w.List(t.Context(), root, "myorg", "app123", apptoken.Page{}); err == nil || keywright.AsError(err).Code != keywright.CodeInsufficientScope {
		t.Errorf("list by nobody: got %v", err)
	}
}

func TestStatic(t *testing.T) {
	s := directory()
	token := func(org string, scopes ...string) keywright.Principal {
		return keywright.Principal{Method: keywright.MethodProvisioning, Scopes: scopes, Attrs: map[string]string{"token_id": "x", "organization": org}}
	}
	all := apptoken.Scopes()
	common := slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == "super:user" })
	super := map[string]string{"super_user": "true"}
	for _, tt := range []struct {
		name   string
		caller keywright.Principal
		org    string
		want   apptoken.Rights
	}{
		{"nobody", keywright.Principal{}, "myorg", apptoken.Rights{}},
		{"an admin", keywright.Principal{Subject: "alice"}, "myorg", apptoken.Rights{Administer: true, Read: true, Scopes: common}},
		{"an admin's name at another issuer", keywright.Principal{Issuer: "https://x", Subject: "alice"}, "myorg", apptoken.Rights{}},
		{"an admin elsewhere", keywright.Principal{Subject: "alice"}, "other", apptoken.Rights{}},
		{"an admin of nothing", keywright.Principal{Subject: "alice"}, "none", apptoken.Rights{}},
		{"a reader", keywright.Principal{Subject: "rita"}, "myorg", apptoken.Rights{Read: true}},
		{"the scope admin", keywright.Principal{Scopes: []string{"admin"}}, "none", apptoken.Rights{Administer: true, Read: true, Scopes: all}},
		{"zero touch", keywright.Principal{Method: keywright.MethodProvisioning, Attrs: super}, "none", apptoken.Rights{Administer: true, Read: true, Scopes: all}},
		{"an attribute of another method", keywright.Principal{Method: keywright.MethodExchange, Attrs: super}, "myorg", apptoken.Rights{}},
		{"a token", token("myorg", "org:admin"), "myorg", apptoken.Rights{Administer: true, Read: true, Scopes: common}},
		{"a token of an organisation that is gone", token("gone", "org:admin"), "gone", apptoken.Rights{}},
		{"a token elsewhere", token("myorg", "org:admin"), "other", apptoken.Rights{}},
		{"a super user's token", token("myorg", "super:user"), "other", apptoken.Rights{Administer: true, Read: true, Scopes: all}},
		{"a claim that looks like a token", keywright.Principal{Method: keywright.MethodExchange, Attrs: token("myorg").Attrs}, "myorg", apptoken.Rights{}},
		{"a token with the scope admin", token("myorg", "admin"), "other", apptoken.Rights{}},
	} {
		got, err := s.Rights(t.Context(), tt.caller, tt.org)
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", tt.name, err, diff)
		}
	}
	s.SuperUser = func(p keywright.Principal) bool { return p.Subject == "boss" }
	if got, _ := s.Rights(t.Context(), keywright.Principal{Subject: "boss"}, "none"); !got.Administer || len(got.Scopes) != 8 {
		t.Errorf("the host's super user: got %+v", got)
	}
	if got, _ := s.Rights(t.Context(), keywright.Principal{Scopes: []string{"admin"}}, "myorg"); got.Administer {
		t.Errorf("the default's super user: got %+v", got)
	}
}
