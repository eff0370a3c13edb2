package exchange_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/exchange"
)

const tokenTypes = "urn:ietf:params:oauth:token-type:"

// raw sends a request of any shape.
func (w *world) raw(method, path string, header http.Header, body io.Reader) answer {
	w.t.Helper()
	req, err := http.NewRequest(method, w.url+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header = header
	res, err := plainClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answerOf(res, text)
}

// recordKinds are the kinds of records that a request which is refused must not write.
var recordKinds = []string{
	keywright.KindKey, keywright.KindEvent, exchange.KindToken, exchange.KindStatic, exchange.KindIssuer, exchange.KindPublisher, exchange.KindEpoch,
}

func (w *world) records() map[string]int {
	w.t.Helper()
	n := make(map[string]int)
	for _, kind := range recordKinds {
		n[kind] = w.count(kind)
	}
	return n
}

var describable = regexp.MustCompile(`^[\x20-\x21\x23-\x5B\x5D-\x7E]+$`)

// checkOAuth checks what every answer of an OAuth endpoint has to be.
func (w *world) checkOAuth(name string, a answer) {
	w.t.Helper()
	for header, want := range map[string]string{
		"Content-Type": "application/json", "Cache-Control": "no-store", "Pragma": "no-cache", "X-Content-Type-Options": "nosniff",
		"Location": "", "Set-Cookie": "", "Access-Control-Allow-Origin": "", "Www-Authenticate": "",
	} {
		if got := a.header.Get(header); got != want {
			w.t.Errorf("%s: %s: %q, want %q", name, header, got, want)
		}
	}
	if a.status != 200 && (!describable.MatchString(a.text("error_description")) || len(a.fields) != 2 || a.key() != "") {
		w.t.Errorf("%s: %s, want an error and a description within RFC 6749, section 5.2", name, a.body)
	}
}

// checkSecret fails if any of secrets, or a part of it, got out.
func (w *world) checkSecret(name string, a answer, secrets ...string) {
	w.t.Helper()
	w.mu.Lock()
	said := []string{w.log.String(), a.body}
	for _, e := range w.heard {
		said = append(said, e.Detail, e.Actor, e.Target)
		said = slices.AppendSeq(said, maps.Values(e.Attrs))
	}
	w.mu.Unlock()
	for _, secret := range secrets {
		for _, part := range append(strings.Split(secret, "."), secret) {
			if len(part) > 20 && strings.Contains(strings.Join(said, "\n"), part) {
				w.t.Errorf("%s: a part of the token got into the answer, the log or an event", name)
			}
		}
	}
}

// A requestCase changes what rsconnect-python sends: del and then set, which
// replaces what is there, in the syntax of a form.
type requestCase struct {
	name, del, set string
	status         int
	want           string // error; of a 200 the scope
}

const (
	invalidRequest   = "invalid_request"
	unsupportedGrant = "unsupported_grant_type"
	invalidScope     = "invalid_scope"
	invalidTarget    = "invalid_target"
	allScopes        = "deploy read"
)

var requestCases = []requestCase{
	{"as it is", "", "", 200, allScopes},
	{"no grant_type (EXC-31)", "grant_type", "", 400, invalidRequest},
	{"empty grant_type", "", "grant_type=", 400, invalidRequest},
	{"another grant (EXC-31)", "", "grant_type=client_credentials", 400, unsupportedGrant},
	{"the grant in upper case", "", "grant_type=URN:IETF:PARAMS:OAUTH:GRANT-TYPE:TOKEN-EXCHANGE", 400, unsupportedGrant},
	{"grant_type twice (EXC-31)", "", "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&grant_type=urn:ietf:params:oauth:grant-type:token-exchange", 400, invalidRequest},
	{"grant_type twice, once empty", "", "grant_type=urn:ietf:params:oauth:grant-type:token-exchange&grant_type=", 400, invalidRequest},
	{"no subject_token (EXC-31)", "subject_token", "", 400, invalidRequest},
	{"empty subject_token", "", "subject_token=", 400, invalidRequest},
	{"subject_token twice (EXC-31)", "", "subject_token=a&subject_token=a", 400, invalidRequest},
	{"no subject_token_type", "subject_token_type", "", 400, invalidRequest},
	{"empty subject_token_type", "", "subject_token_type=", 400, invalidRequest},
	{"subject_token_type twice", "", "subject_token_type=" + tokenTypes + "jwt&subject_token_type=" + tokenTypes + "jwt", 400, invalidRequest},
	{"subject_token_type access_token (EXC-31)", "", "subject_token_type=" + tokenTypes + "access_token", 400, invalidRequest},
	{"subject_token_type saml2", "", "subject_token_type=" + tokenTypes + "saml2", 400, invalidRequest},
	{"subject_token_type of Connect's sessions", "", "subject_token_type=urn:posit:connect:user-session-token", 400, invalidRequest},
	{"subject_token_type jwt", "", "subject_token_type=" + tokenTypes + "jwt", 200, allScopes},
	{"no requested_token_type", "requested_token_type", "", 200, allScopes},
	{"empty requested_token_type", "", "requested_token_type=", 200, allScopes},
	{"requested_token_type twice", "", "requested_token_type=" + tokenTypes + "access_token&requested_token_type=" + tokenTypes + "access_token", 400, invalidRequest},
	{"requested_token_type refresh_token (EXC-31)", "", "requested_token_type=" + tokenTypes + "refresh_token", 400, invalidRequest},
	{"requested_token_type jwt", "", "requested_token_type=" + tokenTypes + "jwt", 400, invalidRequest},
	{"actor_token (EXC-31)", "", "actor_token=x&actor_token_type=" + tokenTypes + "jwt", 400, invalidRequest},
	{"actor_token without its type", "", "actor_token=x", 400, invalidRequest},
	{"actor_token_type alone", "", "actor_token_type=" + tokenTypes + "jwt", 400, invalidRequest},
	{"empty actor_token", "", "actor_token=&actor_token_type=", 200, allScopes},
	{"an unknown parameter", "", "client_id=x&client_secret=y&nonce=z", 200, allScopes},
	{"an unknown parameter twice", "", "client_id=x&client_id=x", 400, invalidRequest},
	{"names in another case", "", "Grant_Type=client_credentials&SCOPE=x", 200, allScopes},

	{"one scope of two", "", "scope=read", 200, "read"},
	{"scopes in another order", "", "scope=read+deploy", 200, allScopes},
	{"a scope twice", "", "scope=read+read", 200, "read"},
	{"a scope that can be had and one that cannot", "", "scope=read+admin", 200, "read"},
	{"a scope that cannot be had", "", "scope=admin", 400, invalidScope},
	{"a scope in another case", "", "scope=READ", 400, invalidScope},
	{"empty scope", "", "scope=", 200, allScopes},
	{"scope twice", "", "scope=read&scope=deploy", 400, invalidRequest},
	{"two spaces between scopes", "", "scope=read++deploy", 400, invalidScope},
	{"a space alone", "", "scope=+", 400, invalidScope},
	{"a space at the end", "", "scope=read+", 400, invalidScope},
	{"a tab between scopes", "", "scope=read%09deploy", 400, invalidScope},
	{"a quotation mark in a scope", "", "scope=read+%22", 400, invalidScope},
	{"100 scopes", "", "scope=read" + strings.Repeat("+x", 99), 200, "read"},
	{"101 scopes", "", "scope=read" + strings.Repeat("+x", 100), 400, invalidRequest},

	{"the own audience", "", "audience=https://connect.example", 200, allScopes},
	{"the own audience and resource", "", "audience=https://connect.example&resource=https://connect.example", 200, allScopes},
	{"empty audience and resource", "", "audience=&resource=", 200, allScopes},
	{"another audience", "", "audience=https://other.example", 400, invalidTarget},
	{"another resource", "", "resource=https://other.example/", 400, invalidTarget},
	{"a resource that is relative", "", "resource=/content/1", 400, invalidTarget},
	{"a resource with a fragment", "", "resource=https://connect.example%23x", 400, invalidTarget},
	{"a resource with an empty fragment", "", "resource=https://connect.example%23", 400, invalidTarget},
	{"a resource that is no URI", "", "resource=https://connect.example/%25zz", 400, invalidTarget},
	{"one of two resources with a fragment", "", "resource=https://connect.example&resource=https://connect.example%23x", 400, invalidTarget},
	{"one of two resources that is no URI", "", "resource=https://connect.example&resource=https://connect.example/%25zz", 400, invalidTarget},
	{"one of two resources relative", "", "resource=https://connect.example&resource=x", 400, invalidTarget},
	{"100 audiences", "", "audience=https://connect.example" + strings.Repeat("&audience=x", 99), 200, allScopes},
	{"101 audiences and resources", "", "resource=https://connect.example" + strings.Repeat("&audience=x", 100), 400, invalidRequest},
}

func TestTokenRequest(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	w.wantKey(w.issuer.GitHub(nil)) // from here on only new keys are written
	for _, tt := range requestCases {
		token := w.issuer.GitHub(nil)
		body := form(token)
		delete(body, tt.del)
		set, err := url.ParseQuery(tt.set)
		if err != nil {
			t.Fatal(err)
		}
		for name, values := range set {
			body[name] = values
		}
		before := w.records()
		a := w.send("POST", exchange.TokenPath, "", body)
		w.checkOAuth(tt.name, a)
		w.checkSecret(tt.name, a, token)
		if a.status == 200 {
			if tt.status != 200 || a.text("scope") != tt.want || a.key() == "" {
				t.Errorf("%s: got 200 %s, want %d %s", tt.name, a.body, tt.status, tt.want)
			}
			continue
		}
		if a.status != tt.status || a.text("error") != tt.want {
			t.Errorf("%s: got %d %s, want %d %s", tt.name, a.status, a.body, tt.status, tt.want)
		}
		if diff := cmp.Diff(before, w.records()); diff != "" {
			t.Errorf("%s: the store has changed (-before +after):\n%s", tt.name, diff)
		}
		if e := w.last(); e.Name != "exchange.refused" || e.Remote != "127.0.0.1" {
			t.Errorf("%s: heard %+v, want exchange.refused", tt.name, e)
		}
		w.wantKey(token) // what was wrong has cost nothing
	}
}

func TestBothPathsAndTypes(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	for _, path := range []string{exchange.TokenPath, exchange.CredentialsPath} {
		for _, tt := range []struct{ asked, issued, tokenType, scheme string }{
			{"", tokenTypes + "access_token", "Bearer", "Bearer "},
			{tokenTypes + "access_token", tokenTypes + "access_token", "Bearer", "bearer "},
			{"urn:posit:connect:api-key", "urn:posit:connect:api-key", "Key", "Key "},
		} {
			body := form(w.issuer.GitHub(nil))
			body.Set("requested_token_type", tt.asked)
			a := w.send("POST", path, "", body)
			w.checkOAuth(path, a)
			if a.status != 200 || a.text("issued_token_type") != tt.issued || a.text("token_type") != tt.tokenType || a.fields["expires_in"] != 900.0 {
				t.Errorf("%s %s: got %d %s", path, tt.asked, a.status, a.body)
			}
			if _, has := a.fields["refresh_token"]; has {
				t.Errorf("%s: a refresh token", path)
			}
			if me := w.send("GET", "/whoami", tt.scheme+a.key(), nil); me.status != 200 {
				t.Errorf("%s: the key does not work: %d", path, me.status)
			}
		}
	}
}

func TestMethodsOfTheOAuthEndpoints(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	token := w.issuer.GitHub(nil)
	for _, path := range []string{exchange.TokenPath, exchange.CredentialsPath, exchange.RevokePath} {
		for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "post", "CONNECTED"} {
			header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Origin": {"https://evil.example"}}
			a := w.raw(method, path+"?"+form(token).Encode(), header, strings.NewReader(form(token).Encode()))
			if a.status != 405 || a.header.Get("Allow") != "POST" || method != "HEAD" && a.text("error") != invalidRequest {
				t.Errorf("%s %s: got %d %s, Allow %q", method, path, a.status, a.body, a.header.Get("Allow"))
			}
			if method != "HEAD" {
				w.checkOAuth(method+" "+path, a)
			}
		}
	}
	for _, path := range []string{exchange.TokenPath + "/", "/oauth//v1/token", "/oauth/v1/../v1/token"} {
		if a := w.send("POST", path, "", form("x")); a.status >= 300 && a.status < 400 {
			t.Errorf("%s: a redirect, which clients follow with a GET", path)
		}
	}
	w.wantKey(token)
}

// The endpoint has no client authentication, so a credential changes nothing:
// neither does a bad one refuse a good token, nor a good one help a bad token.
func TestTheAuthorizationHeaderIsIgnored(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	admin := w.adminKey()
	for _, values := range [][]string{
		{"Bearer nonsense"}, {"Basic dXNlcjpwYXNz"}, {"Key kw_ci_x"}, {""}, {"Bearer a", "Bearer b"}, {admin},
	} {
		header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Authorization": values, "Cookie": {"session=x"}}
		a := w.raw("POST", exchange.TokenPath, header, strings.NewReader(form(w.issuer.GitHub(nil)).Encode()))
		if a.status != 200 {
			t.Errorf("%q: got %d %s", values, a.status, a.body)
		}
		a = w.raw("POST", exchange.TokenPath, header, strings.NewReader(form(w.issuer.GitHub(map[string]any{"repository_id": "1"})).Encode()))
		w.checkRefused("a bad token with an Authorization", a, "")
	}
}

func answerOf(res *http.Response, text []byte) answer {
	a := answer{status: res.StatusCode, header: res.Header, body: string(text)}
	json.Unmarshal(text, &a.fields) // not every answer is an object
	return a
}
