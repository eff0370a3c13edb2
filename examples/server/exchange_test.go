package main_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/exchange"
	"github.com/keywright/keywright/exchange/exchangetest"
)

const ciAudience = "https://connect.example"

// newCI makes an installation that trusts the octo-repo of a CI system, with
// keys of the given lifetime ("": the default), and the CI system.
func newCI(t *testing.T, lifetime time.Duration) (*installation, *exchangetest.Issuer) {
	t.Helper()
	issuer := exchangetest.NewIssuer(t)
	issuer.Audience = ciAudience
	in := newInstallation(t)
	in.trust(publisher("deploy", issuer.URL(), lifetime))
	return in, issuer
}

func publisher(id, issuer string, lifetime time.Duration) exchange.Publisher {
	return exchange.Publisher{
		ID: id, Provider: exchange.GitHub, Issuer: issuer, Subject: "deployer", Scopes: []string{"deploy"}, Lifetime: lifetime,
		Claims: map[string]exchange.Values{"repository": {"octo-org/octo-repo"}, "repository_id": {"74"}, "repository_owner_id": {"65"}},
	}
}

// trust configures the processes to come.
func (in *installation) trust(publishers ...exchange.Publisher) {
	in.t.Helper()
	config, err := json.Marshal(map[string]any{"exchange": map[string]any{
		"audience": ciAudience, "insecure_loopback": true, "publishers": publishers,
	}})
	if err != nil {
		in.t.Fatal(err)
	}
	in.configure(string(config))
}

func exchangeForm(token string) string {
	return "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange" +
		"&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aid_token" +
		"&requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token" +
		"&subject_token=" + url.QueryEscape(token)
}

// trade posts an identity token and returns the answer and the key in it.
func (p *process) trade(token string) (answer, string) {
	p.in.t.Helper()
	p.in.hide(token)
	req, err := http.NewRequest("POST", p.url+exchange.TokenPath, strings.NewReader(exchangeForm(token)))
	if err != nil {
		p.in.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := client.Do(req)
	if err != nil {
		p.in.t.Fatalf("%v; log:\n%s", err, p.stderr)
	}
	a := answer{status: res.StatusCode, header: res.Header, body: readAll(p.in.t, res)}
	key := accessToken(a.body)
	p.in.hide(key)
	return a, key
}

func accessToken(body string) string {
	var r struct {
		AccessToken string `json:"access_token"`
	}
	json.Unmarshal([]byte(body), &r) // an error has none
	return r.AccessToken
}

// mustTrade wants a key that works.
func (p *process) mustTrade(token string) string {
	p.in.t.Helper()
	a, key := p.trade(token)
	if a.status != 200 || !p.accepts(key) {
		p.in.t.Fatalf("exchange: got %d %s; log:\n%s", a.status, a.body, p.stderr)
	}
	return key
}

// TestExchangeWithCurl goes the whole way as a job's shell script does.
func TestExchangeWithCurl(t *testing.T) {
	t.Parallel()
	in, issuer := newCI(t, 0)
	p := in.start()
	discovered := in.shell("curl " + p.url + exchange.MetadataPath)
	var metadata struct {
		Endpoint string `json:"token_endpoint"`
		Revoke   string `json:"revocation_endpoint"`
		Audience string `json:"identity_token_audience"`
	}
	if err := json.Unmarshal([]byte(discovered.body), &metadata); err != nil || discovered.status != 200 || metadata.Audience != ciAudience {
		t.Fatalf("metadata: got %d %s", discovered.status, discovered.body)
	}
	token := issuer.GitHub(nil)
	in.hide(token)
	file := filepath.Join(in.dir, "token.jwt")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	got := in.shell("curl " + metadata.Endpoint + " -d grant_type=urn:ietf:params:oauth:grant-type:token-exchange" +
		" -d subject_token_type=urn:ietf:params:oauth:token-type:id_token --data-urlencode subject_token@" + file)
	key := accessToken(got.body)
	in.hide(key)
	if got.status != 200 || !p.accepts(key) {
		t.Fatalf("exchange: got %d %s", got.status, got.body)
	}
	if a := p.get("/whoami", "Bearer "+key); !strings.Contains(a.body, `"subject":"deployer"`) || !strings.Contains(a.body, `"method":"exchange"`) {
		t.Errorf("whoami: got %s", a.body)
	}
	if a := in.shell("curl " + metadata.Revoke + " -d token=" + key); a.status != 200 {
		t.Errorf("revoke: got %d %s", a.status, a.body)
	}
	if p.accepts(key) {
		t.Error("the key works after it was revoked")
	}
}

// TestExchangeWithClient is the same for a job written in Go, against a key
// that lives for two seconds.
func TestExchangeWithClient(t *testing.T) {
	t.Parallel()
	in, issuer := newCI(t, 2*time.Second)
	p := in.start()
	file := filepath.Join(in.dir, "token.jwt")
	token := issuer.GitHub(nil)
	in.hide(token)
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := exchange.Client{URL: p.url, Token: exchange.TokenFromFile(file)}
	key, err := c.Exchange(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	in.hide(key.Text)
	if err := c.Check(t.Context(), key.Text); err != nil {
		t.Errorf("check: %v", err)
	}
	eventually(t, "the key expires", func() bool { return !p.accepts(key.Text) })
	if now := time.Now(); now.Before(key.Expires.Add(-time.Second)) {
		t.Errorf("the key has stopped working %v before its end", key.Expires.Sub(now))
	}
	if _, err := c.Exchange(t.Context()); err == nil {
		t.Error("the same token has obtained a second key")
	}
}

// TestRsconnectLogin sends what "rsconnect login URL --identity-token-file FILE"
// sends, byte for byte, and looks for what it needs in the answers.
func TestRsconnectLogin(t *testing.T) {
	t.Parallel()
	in, issuer := newCI(t, 0)
	p := in.start()
	lines := func(first string, more ...string) string {
		all := append([]string{first + " HTTP/1.1", "Host: " + p.addr, "Accept-Encoding: identity"}, more...)
		return strings.Join(append(all, "User-Agent: RSConnectPython/1.29.0"), "\r\n") + "\r\n\r\n"
	}
	ask := func(segments ...string) rawAnswer {
		t.Helper()
		a, err := p.exchange(segments...)
		if err != nil {
			t.Fatal(err)
		}
		if ct := a.header.Get("Content-Type"); !strings.HasPrefix(ct, "application/json") {
			t.Errorf("Content-Type %q: the client reads no JSON", ct)
		}
		return a
	}
	found := ask(lines("GET " + exchange.MetadataPath))
	var metadata struct {
		Endpoint string   `json:"token_endpoint"`
		Grants   []string `json:"grant_types_supported"`
	}
	if err := json.Unmarshal([]byte(found.body), &metadata); err != nil || found.status != 200 || len(metadata.Grants) != 1 {
		t.Fatalf("metadata: got %d %s", found.status, found.body)
	}
	endpoint, err := url.Parse(metadata.Endpoint)
	if err != nil || endpoint.Host != p.addr {
		t.Fatalf("token_endpoint %q: want an absolute URL at %s", metadata.Endpoint, p.addr)
	}
	for i, split := range []bool{false, true} {
		token := issuer.GitHub(map[string]any{"jti": fmt.Sprint("login-", i)})
		in.hide(token)
		body := exchangeForm(token)
		head := lines("POST "+endpoint.RequestURI(), "Content-Type: application/x-www-form-urlencoded", fmt.Sprintf("Content-Length: %d", len(body)))
		segments := []string{head + body}
		if split {
			segments = []string{head, body}
		}
		a := ask(segments...)
		key := accessToken(a.body)
		in.hide(key)
		if a.status != 200 || key == "" {
			t.Fatalf("exchange: got %d %s", a.status, a.body)
		}
		if a := ask(lines("GET /__api__/server_settings", "Authorization: Key "+key)); a.status != 200 {
			t.Errorf("server_settings: got %d %s", a.status, a.body)
		}
		if a := ask(lines("GET /__api__/v1/user", "Authorization: Key "+key)); a.status != 200 || !strings.Contains(a.body, `"username":"deployer"`) {
			t.Errorf("user: got %d %s", a.status, a.body)
		}
	}
}

// TestExchangeContest is EXC-13 and F-17: one token, posted at one instant to
// four processes on one database, is one key.
func TestExchangeContest(t *testing.T) {
	t.Parallel()
	in, issuer := newCI(t, 0)
	var all []*process
	for range 4 {
		all = append(all, in.launch())
	}
	for _, p := range all {
		p.awaitListening()
	}
	for round := range rounds(5, 200) {
		token := issuer.GitHub(nil)
		in.hide(token)
		body := exchangeForm(token)
		answers := make([]rawAnswer, 64)
		failed := make([]error, len(answers))
		release := make(chan struct{})
		var done sync.WaitGroup
		for i := range answers {
			p := all[i%len(all)]
			conn := p.dial()
			done.Go(func() {
				<-release
				_, failed[i] = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", exchange.TokenPath, p.addr, len(body), body)
				if failed[i] == nil {
					answers[i], failed[i] = readRaw(conn)
				}
			})
		}
		close(release)
		done.Wait()
		keys := 0
		for i, a := range answers {
			switch {
			case failed[i] != nil:
				t.Errorf("a request got no answer: %v", failed[i])
			case a.status == 200:
				in.hide(accessToken(a.body))
				keys++
			case a.status == 429: // a loser too many from this address
			case a.status != 400 || !strings.Contains(a.body, "invalid_grant"):
				t.Errorf("a loser got %d %s, want 400 invalid_grant", a.status, a.body)
			}
		}
		host, closeDB := in.open()
		stored := len(ids(t.Context(), t, host.Store, keywright.KindKey))
		closeDB()
		if keys != 1 || stored != round+1 {
			t.Fatalf("round %d: %d keys answered, %d stored, want 1 and %d", round, keys, stored, round+1)
		}
	}
}

// TestUsedTokensOutliveTheProcess is F-18: what was used before a crash is used.
func TestUsedTokensOutliveTheProcess(t *testing.T) {
	t.Parallel()
	in, issuer := newCI(t, 0)
	p := in.start()
	var tokens []string
	for range rounds(20, 1000) {
		tokens = append(tokens, issuer.GitHub(nil))
		p.mustTrade(tokens[len(tokens)-1])
	}
	p.kill()
	p = in.start()
	for _, token := range tokens {
		if a, key := p.trade(token); a.status != 400 || key != "" {
			t.Fatalf("a used token after a crash: got %d", a.status)
		}
	}
}

// TestPublishersEnd ends keys by what they hang on: across processes, and by
// the configuration.
func TestPublishersEnd(t *testing.T) {
	t.Parallel()
	in, issuer := newCI(t, 0)
	p, other := in.start(), in.start()
	admin := "Bearer " + p.claim()
	stored := publisher("stored", issuer.URL(), 0)
	stored.Claims["repository_id"], stored.Claims["repository"] = exchange.Values{"75"}, exchange.Values{"octo-org/other"}
	body, err := json.Marshal(stored)
	if err != nil {
		t.Fatal(err)
	}
	do := func(method, path string, body []byte, want int) {
		t.Helper()
		a := p.requestJSON(method, exchange.AdminPath+path, admin, string(body))
		if a.status != want {
			t.Fatalf("%s %s: got %d %s, want %d", method, path, a.status, a.body, want)
		}
	}
	do("POST", "/publishers", body, 201)
	configured := other.mustTrade(issuer.GitHub(nil))
	second := other.mustTrade(issuer.GitHub(map[string]any{"repository_id": "75", "repository": "octo-org/other"}))

	wantWork := func(when string, first, last bool) {
		t.Helper()
		if got := []bool{other.accepts(configured), other.accepts(second)}; got[0] != first || got[1] != last {
			t.Errorf("%s: the keys of the configured and the stored publisher work: %v, want %v", when, got, []bool{first, last})
		}
	}
	do("POST", "/publishers/stored/disable", nil, 200)
	wantWork("stored disabled", true, false)
	do("POST", "/publishers/stored/enable", nil, 200)
	wantWork("stored enabled", true, true)
	do("POST", "/publishers/deploy/disable", nil, 200)
	wantWork("configured disabled", false, true)
	do("POST", "/publishers/deploy/enable", nil, 200)
	do("POST", "/issuers/disable", []byte(fmt.Sprintf(`{"issuer":%q}`, issuer.URL())), 200)
	wantWork("issuer disabled", false, false)
	do("POST", "/issuers/enable", []byte(fmt.Sprintf(`{"issuer":%q}`, issuer.URL())), 200)
	wantWork("issuer enabled", true, true)
	do("DELETE", "/publishers/stored", nil, 204)
	wantWork("stored deleted", true, false)
	other.kill()
	in.trust()
	other = in.start()
	wantWork("taken out of the configuration", false, false)
}
