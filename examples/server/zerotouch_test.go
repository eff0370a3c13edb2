package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/keywright/keywright/exchange/exchangetest"
	"github.com/keywright/keywright/provisioning/ldapuser/ldaptest"
)

// zeroTouch is the ticket's step 1, for users with the password "password".
func zeroTouch(t *testing.T, more string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("password"), 10)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`"FEATURE_PROGRAMMATIC_BOOTSTRAP":true,"SUPER_USERS":["admin"],"users":{"admin":%q,"dev":%q}`, hash, hash) + more
}

// as posts a request for a token as a user with a password.
func (p *process) as(user, password, body string) answer {
	p.in.t.Helper()
	req, err := http.NewRequest("POST", p.url+quayTokens, strings.NewReader(body))
	if err != nil {
		p.in.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.SetBasicAuth(user, password)
	res, err := client.Do(req)
	if err != nil {
		p.in.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, readAll(p.in.t, res)}
}

const tokenRequest = `{"name":"x","expiration":"1h","scopes":["repo:read"]}`

// wantUnauthorized wants one and the same refusal for all logins.
func (p *process) wantUnauthorized(logins map[string][2]string) {
	p.in.t.Helper()
	var bodies []string
	for name, l := range logins {
		a := p.as(l[0], l[1], tokenRequest)
		p.wantProblem(name, a, 401, "invalid_token")
		bodies = append(bodies, a.body)
		if got := strings.Join(a.header.Values("WWW-Authenticate"), ", "); !strings.Contains(got, `Basic realm="`) {
			p.in.t.Errorf("%s: WWW-Authenticate %q", name, got)
		}
	}
	if all := slices.Compact(bodies); len(all) > 1 {
		p.in.t.Errorf("the causes can be told apart: %q", all)
	}
}

// TestTicketBasic creates the bootstrap token with a password, and goes on with it.
func TestTicketBasic(t *testing.T) {
	t.Parallel()
	g := quayServer(t, zeroTouch(t, ""))
	got, a := g.followTicket(quayBasic)
	first := g.wantToken("basic", got, a, "bootstrap-token", "admin", 365*24*time.Hour, "org:admin")
	if a := g.get(quayTokens, "Bearer "+first); a.status != 200 || !strings.Contains(a.body, "bootstrap-token") {
		t.Errorf("with the bootstrap token: got %d %s", a.status, a.body)
	}
	// The example token has org:admin alone, which implies nothing.
	g.wantProblem("a scope that it does not have", g.requestJSON("POST", quayTokens, "Bearer "+first, tokenRequest), 403, "insufficient_scope")
	g.wantUnauthorized(map[string][2]string{
		"not in SUPER_USERS": {"dev", "password"}, "unknown": {"nobody", "password"}, "wrong password": {"admin", "Password"},
		"no password": {"admin", ""},
	})
	g.wantProblem("no credential", g.get(quayTokens, ""), 401, "invalid_token")
	g.wantLogged("event=apptoken.created", "auth_method:Basic", "not one of the super users", "wrong password")
}

// TestTicketGuesses is the 429 for an address that guesses.
func TestTicketGuesses(t *testing.T) {
	t.Parallel()
	g := quayServer(t, zeroTouch(t, ""))
	for i := range 50 {
		a := g.as("admin", fmt.Sprint("guess-", i), tokenRequest)
		if a.status == 401 {
			continue
		}
		g.wantProblem(fmt.Sprint("guess ", i), a, 429, "rate_limited")
		if a.header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
		return
	}
	t.Error("50 guesses were answered")
}

// TestTicketFlagOff refuses passwords without asking for one, and lets bearers
// go on.
func TestTicketFlagOff(t *testing.T) {
	t.Parallel()
	g := quayServer(t, strings.Replace(zeroTouch(t, ""), "true", "false", 1))
	a := g.as("admin", "password", tokenRequest)
	g.wantProblem("Basic", a, 401, "invalid_token")
	if got := strings.Join(a.header.Values("WWW-Authenticate"), ", "); strings.Contains(got, "Basic") {
		t.Errorf("WWW-Authenticate: %q asks for a password", got)
	}
	if a := g.requestJSON("POST", quayTokens, "Bearer "+g.claim(), tokenRequest); a.status != 200 {
		t.Errorf("with the admin key: got %d %s", a.status, a.body)
	}
}

// TestTicketLDAP lets in those in a directory who match the filter.
func TestTicketLDAP(t *testing.T) {
	t.Parallel()
	needTool(t, "curl")
	directory := ldaptest.Start(t)
	directory.Add(
		ldaptest.User{Name: "ldap-service-account", Password: "password", Attributes: map[string][]string{"employeeType": {"superuser"}}},
		ldaptest.User{Name: "named", Password: "password"},
		ldaptest.User{Name: "dev", Password: "password"},
	)
	g := quayServer(t, fmt.Sprintf(`"FEATURE_PROGRAMMATIC_BOOTSTRAP":true,"SUPER_USERS":["named"],"LDAP_URI":%q,"LDAP_CA_FILE":%q,
		"LDAP_ADMIN_DN":%q,"LDAP_ADMIN_PASSWD":%q,"LDAP_BASE_DN":["dc=example","dc=org"],"LDAP_UID_ATTR":"uid",
		"LDAP_SUPERUSER_FILTER":"(employeeType=superuser)"`, directory.URL, directory.CAFile, directory.BindDN, directory.BindPassword))
	g.hide(directory.BindPassword)
	got, a := g.followTicket(quayLDAP)
	made := g.wantToken("LDAP", got, a, "automation-token", "ldap-service-account", 30*24*time.Hour, "repo:read", "repo:write")
	if who := g.get("/whoami", "Bearer "+made); who.status != 200 || !strings.Contains(who.body, `"created_by":"ldap-service-account"`) {
		t.Errorf("whoami: got %d %s", who.status, who.body)
	}
	if a := g.as("named", "password", tokenRequest); a.status != 200 {
		t.Errorf("named in SUPER_USERS: got %d %s", a.status, a.body)
	}
	g.wantUnauthorized(map[string][2]string{
		"no match of LDAP_SUPERUSER_FILTER": {"dev", "password"}, "unknown": {"nobody", "password"},
		"wrong password": {"ldap-service-account", "Password"}, "a filter for a name": {"*", "password"},
	})
	g.wantLogged("auth_method:LDAP")
	directory.Stop()
	if a := g.as("named", "password", tokenRequest); a.status != 503 {
		t.Errorf("without the directory: got %d %s, want 503", a.status, a.body)
	}
}

// TestTicketOIDC lets in the service principal of a provider.
func TestTicketOIDC(t *testing.T) {
	t.Parallel()
	issuer := exchangetest.NewIssuer(t)
	issuer.Audience = "https://quay.example.com"
	g := quayServer(t, fmt.Sprintf(`"FEATURE_PROGRAMMATIC_BOOTSTRAP":true,"oidc":{"insecure_loopback":true,"service_accounts":[
		{"issuer":%q,"subject":"repo:octo-org/octo-repo:ref:refs/heads/main","name":"deployer"}]}`, issuer.URL()))
	token := issuer.GitHub(map[string]any{"sub": "repo:octo-org/octo-repo:ref:refs/heads/main"})
	other := issuer.GitHub(map[string]any{"sub": "repo:octo-org/octo-repo:pull_request", "jti": "other"})
	g.hide(token, other)
	got, a := g.followTicket(quayBearer, "<existing-token>", token)
	g.wantToken("OIDC", got, a, "ci-job-token", "deployer", time.Hour, "repo:read")
	g.wantProblem("another principal", g.requestJSON("POST", quayTokens, "Bearer "+other, tokenRequest), 401, "invalid_token")
	if a := g.requestJSON("POST", quayTokens, "Bearer "+token, tokenRequest); a.status == 200 {
		t.Error("one identity token has made two tokens")
	}
}

// TestOrganizationGone restarts without the organisation, and then with it
// again: its tokens have ended, and new ones can be made.
func TestOrganizationGone(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	with := `{"organizations":{"myorg":{"applications":{"app123":"CI"}}}}`
	in.configure(with)
	p := in.start()
	admin := p.claim()
	token := func() string {
		a := p.requestJSON("POST", quayTokens, "Bearer "+admin, tokenRequest)
		if a.status != 200 {
			t.Fatalf("got %d %s", a.status, a.body)
		}
		var made struct{ Token string }
		if err := json.Unmarshal([]byte(a.body), &made); err != nil {
			t.Fatal(err)
		}
		return made.Token
	}
	old := token()
	for _, step := range []struct {
		config string
		works  int
	}{{with, 200}, {`{}`, 401}, {with, 401}} {
		p.stop(startLimit)
		in.configure(step.config)
		p = in.start()
		if a := p.get("/whoami", "Bearer "+old); a.status != step.works {
			t.Errorf("with %s: got %d %s, want %d", step.config, a.status, a.body, step.works)
		}
	}
	if a := p.get("/whoami", "Bearer "+token()); a.status != 200 {
		t.Errorf("a new token: got %d %s", a.status, a.body)
	}
}
