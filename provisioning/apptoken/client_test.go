package apptoken_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning/apptoken"
)

// The client and the server of this package.
func TestClient(t *testing.T) {
	w := newWorld(t, func(c *apptoken.Config) { c.Policy.AllowNever = true })
	c := apptoken.Client{URL: w.url + "/", Authorization: apptoken.Bearer(strings.TrimPrefix(w.admin(), "Bearer "))}
	made, err := c.Create(t.Context(), "myorg", "app123", apptoken.Spec{Name: "ci", Scopes: []string{"repo:write", "org:admin"}, Lifetime: time.Hour})
	must(t, err)
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	want := apptoken.Token{ID: made.ID, Name: "ci", Scopes: []string{"repo:write", "org:admin"}, CreatedBy: "root", Created: begin, Expires: begin.Add(time.Hour)}
	if diff := cmp.Diff(want, made.Token); diff != "" || !w.works(made.Text) {
		t.Errorf("made (-want +got):\n%s", diff)
	}
	ever, err := c.Create(t.Context(), "myorg", "app123", apptoken.Spec{Name: "ever", Scopes: []string{"repo:read"}, Never: true})
	if must(t, err); !ever.Expires.IsZero() {
		t.Errorf("a token without an end ends at %v", ever.Expires)
	}
	standard, err := c.Create(t.Context(), "myorg", "app123", apptoken.Spec{Name: "standard", Scopes: []string{"repo:read"}})
	if must(t, err); !standard.Expires.Equal(begin.Add(30 * 24 * time.Hour)) {
		t.Errorf("by default it ends at %v", standard.Expires)
	}
	w.makeTokens(60, "myorg", "app123")
	var names []string
	for token, err := range c.List(t.Context(), "myorg", "app123") {
		must(t, err)
		names = append(names, token.Name)
	}
	if len(names) != 63 || names[0] != "59" || names[62] != "ci" {
		t.Errorf("list: got %v", names)
	}
	must(t, c.Delete(t.Context(), "myorg", "app123", made.ID))
	wantStatus(t, "delete again", c.Delete(t.Context(), "myorg", "app123", made.ID), apptoken.StatusError{Status: 404, Code: "not_found", Detail: "Not Found"})
	_, err = c.Create(t.Context(), "myorg", "app123", apptoken.Spec{Name: "x", Scopes: []string{"repo:nothing"}})
	wantStatus(t, "scope", err, apptoken.StatusError{Status: 400, Code: "invalid_scope", Detail: `Invalid scope: "repo:nothing"`})
	for _, err := range c.List(t.Context(), "none", "app123") {
		wantStatus(t, "list", err, apptoken.StatusError{Status: 404, Code: "not_found", Detail: "Not Found"})
	}
	token := apptoken.Client{URL: w.url, Authorization: apptoken.Bearer(standard.Text)}
	_, err = token.Create(t.Context(), "myorg", "app123", apptoken.Spec{Name: "x", Scopes: []string{"repo:read"}})
	wantStatus(t, "by a token that may not", err, apptoken.StatusError{Status: 403, Code: "insufficient_scope", Detail: "The credential may not do this"})
}

func wantStatus(t *testing.T, what string, err error, want apptoken.StatusError) {
	t.Helper()
	e, ok := errors.AsType[*apptoken.StatusError](err)
	if !ok {
		t.Errorf("%s: got %v, want a StatusError", what, err)
		return
	}
	if diff := cmp.Diff(want, *e); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// A quay answers as a test says, and takes down what it was asked.
type quay struct {
	*httptest.Server
	mu      sync.Mutex
	asked   []string // method, request target and body
	headers http.Header
	answers []http.HandlerFunc // one for each request; the last for all that follow
}

func newQuay(t *testing.T, answers ...http.HandlerFunc) *quay {
	t.Helper()
	q := &quay{answers: answers}
	q.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		q.mu.Lock()
		n := min(len(q.asked), len(q.answers)-1)
		q.asked = append(q.asked, strings.TrimSpace(r.Method+" "+r.RequestURI+" "+string(body)))
		q.headers = r.Header
		q.mu.Unlock()
		q.answers[n](w, r)
	}))
	t.Cleanup(q.Close)
	return q
}

const clientSecret = "QUAYTOKENQUAYTOKENQUAYTOKENQUAYTOKEN1234"

func (q *quay) client() apptoken.Client {
	return apptoken.Client{URL: q.URL, Authorization: apptoken.Bearer(clientSecret)}
}

func says(status int, media, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", media)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

const quayToken = `"uuid":"u-1","name":"ci","scope":"repo:read repo:write","expires_at":"2026-08-14T10:00:00.123456Z","created":"2026-08-01T10:00:00.000001Z","created_by":"quayadmin","last_accessed":null`

var spec = apptoken.Spec{Name: "ci", Scopes: []string{"repo:read", "repo:write"}, Lifetime: 30 * 24 * time.Hour}

// What Quay has on the wire, sent and read.
func TestClientOfQuay(t *testing.T) {
	q := newQuay(t,
		says(200, "application/json", `{`+quayToken+`,"token":"`+strings.Repeat("A", 40)+`"}`),
		says(200, "application/json", `{"tokens":[{`+quayToken+`}],"next_page":"a+b/c=&d"}`),
		says(200, "application/json", `{"tokens":[{"uuid":"u-0","name":null,"scope":"repo:read","expires_at":"2026-08-14T10:00:00Z","created":"soon","last_accessed":"2026-08-02T00:00:00Z"}],"next_page":null}`),
		says(204, "application/json", ""))
	c := q.client()
	made, err := c.Create(t.Context(), "my org", "a/b", spec)
	must(t, err)
	if made.Text != strings.Repeat("A", 40) || made.ID != "u-1" || made.Expires.Nanosecond() != 123456000 || made.CreatedBy != "quayadmin" || !made.LastAccessed.IsZero() {
		t.Errorf("made: got %+v", made.Token)
	}
	var got []apptoken.Token
	for token, err := range c.List(t.Context(), "my org", "a/b") {
		must(t, err)
		got = append(got, token)
	}
	if len(got) != 2 || got[1].Name != "" || !got[1].Created.IsZero() || got[1].LastAccessed.IsZero() {
		t.Errorf("list: got %+v", got)
	}
	must(t, c.Delete(t.Context(), "my org", "a/b", "u-1"))
	want := []string{
		`POST /api/v1/organization/my%20org/applications/a%2Fb/tokens {"name":"ci","scope":"repo:read repo:write","expiration":2592000}`,
		`GET /api/v1/organization/my%20org/applications/a%2Fb/tokens`,
		`GET /api/v1/organization/my%20org/applications/a%2Fb/tokens?next_page=a%2Bb%2Fc%3D%26d`,
		`DELETE /api/v1/organization/my%20org/applications/a%2Fb/tokens/u-1`,
	}
	if diff := cmp.Diff(want, q.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	if q.headers.Get("Authorization") != "Bearer "+clientSecret {
		t.Errorf("Authorization: got %q", q.headers.Get("Authorization"))
	}
}

// A server that says token_secret alone is understood as well.
func TestClientOfTheGuide(t *testing.T) {
	q := newQuay(t, says(200, "application/json", `{`+quayToken+`,"token_secret":"abc"}`))
	if made, err := q.client().Create(t.Context(), "o", "a", spec); err != nil || made.Text != "abc" {
		t.Errorf("got %q, %v", made.Text, err)
	}
}

// Quay's three shapes of errors, and what is none.
func TestClientReadsErrors(t *testing.T) {
	problem := `{"detail":"Unauthorized","error_message":"Unauthorized","error_type":"insufficient_scope","title":"insufficient_scope","type":"https://quay/x","status":403}`
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   apptoken.StatusError
	}{
		{"a problem", says(403, "application/json", problem), apptoken.StatusError{Status: 403, Code: "insufficient_scope", Detail: "Unauthorized"}},
		{"ours", says(403, "application/problem+json", problem), apptoken.StatusError{Status: 403, Code: "insufficient_scope", Detail: "Unauthorized"}},
		{"a message", says(400, "application/json", `{"message":"'name' must not be empty"}`), apptoken.StatusError{Status: 400, Detail: "'name' must not be empty"}},
		{"CSRF", says(403, "text/html; charset=utf-8", `{"error": "CSRF token was invalid or missing."}`), apptoken.StatusError{Status: 403, Detail: "CSRF token was invalid or missing."}},
		{"a page of nginx", says(429, "text/html", `<html>slow down</html>`), apptoken.StatusError{Status: 429}},
		{"a long page", says(502, "text/html", strings.Repeat("x", 2<<20)), apptoken.StatusError{Status: 502}},
		{"ours at the limit", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "17")
			keywright.Quay.WriteError(w, keywright.Errorf(keywright.CodeRateLimited, "slow"))
		}, apptoken.StatusError{Status: 429, Code: "rate_limited", Detail: "slow", RetryAfter: 17 * time.Second}},
		{"an absurd wait", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "9223372036854775807")
			w.WriteHeader(503)
		}, apptoken.StatusError{Status: 503, RetryAfter: 365 * 24 * time.Hour}},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, apptoken.StatusError{Status: 307}},
		{"terminal escapes", says(400, "application/json", `{"message":"a\u001b[31m\nb"}`), apptoken.StatusError{Status: 400, Detail: "a[31mb"}},
		{"a long text", says(400, "application/json", `{"message":"`+strings.Repeat("é", 300)+`"}`), apptoken.StatusError{Status: 400, Detail: strings.Repeat("é", 200) + "…"}},
		{"the secret", says(401, "application/json", `{"message":"bad `+clientSecret+`","error_type":"`+clientSecret+`"}`),
			apptoken.StatusError{Status: 401, Code: "(withheld, for it repeats a secret)", Detail: "(withheld, for it repeats a secret)"}},
		{"types", says(400, "application/json", `{"message":1,"error":[],"detail":null,"error_type":{}}`), apptoken.StatusError{Status: 400}},
	} {
		q := newQuay(t, tt.answer)
		_, err := q.client().Create(t.Context(), "o", "a", spec)
		wantStatus(t, tt.name, err, tt.want)
		wantStatus(t, tt.name+", delete", q.client().Delete(t.Context(), "o", "a", "u"), tt.want)
		for _, err := range q.client().List(t.Context(), "o", "a") {
			wantStatus(t, tt.name+", list", err, tt.want)
		}
		if len(q.asked) != 3 {
			t.Errorf("%s: asked %v", tt.name, q.asked)
		}
	}
}

// A password is withheld as well, however it comes back.
func TestClientWithholdsPasswords(t *testing.T) {
	for _, echo := range []string{"hunter2-hunter2", "YWRtaW46aHVudGVyMi1odW50ZXIy"} {
		q := newQuay(t, says(401, "application/json", `{"message":"no `+echo+`"}`))
		c := apptoken.Client{URL: q.URL, Authorization: apptoken.Basic("admin", "hunter2-hunter2")}
		_, err := c.Create(t.Context(), "o", "a", spec)
		if err == nil || strings.Contains(err.Error(), echo) {
			t.Errorf("got %v", err)
		}
		if q.headers.Get("Authorization") != "Basic YWRtaW46aHVudGVyMi1odW50ZXIy" {
			t.Errorf("sent %q", q.headers.Get("Authorization"))
		}
	}
}

// Where an answer of success cannot be used, the token is lost and the caller is told.
func TestClientLosesTokens(t *testing.T) {
	withToken := func(token string) http.HandlerFunc {
		return says(200, "application/json", `{`+quayToken+`,"token":`+token+`}`)
	}
	for name, answer := range map[string]http.HandlerFunc{
		"no JSON":        says(200, "text/html", "<html>"),
		"no token":       says(200, "application/json", `{`+quayToken+`}`),
		"a null token":   withToken("null"),
		"an empty token": withToken(`""`),
		"a line end":     withToken(`"a\nb"`),
		"a space":        withToken(`"a b"`),
		"no uuid":        says(200, "application/json", `{"token":"abc","expires_at":null}`),
		"an empty uuid":  says(200, "application/json", `{"uuid":"","token":"abc","expires_at":null}`),
		"no end":         says(200, "application/json", `{"uuid":"u","token":"abc"}`),
		"an end unread":  says(200, "application/json", `{"uuid":"u","token":"abc","expires_at":"tomorrow"}`),
		"a member twice": says(200, "application/json", `{`+quayToken+`,"token":"a","token":"b"}`),
		"too long":       says(200, "application/json", `{`+quayToken+`,"token":"abc"}`+strings.Repeat(" ", 1<<20)),
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "99")
			io.WriteString(w, "{")
		},
		"cut off at its end": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9999")
			io.WriteString(w, `{`+quayToken+`,"token":"abc"}`)
		},
		"no answer":       func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) },
		"its own secret":  says(200, "application/json", `{"`+clientSecret+`":1,"`+clientSecret+`":2}`),
		"an odd protocol": func(w http.ResponseWriter, _ *http.Request) { hijack(w, "SECRET "+clientSecret+"\r\n\r\n") },
	} {
		made, err := newQuay(t, answer).client().Create(t.Context(), "o", "a", spec)
		if !errors.Is(err, apptoken.ErrLost) || made.Text != "" || strings.Contains(fmt.Sprint(err), clientSecret) {
			t.Errorf("%s: got %v, %v, want ErrLost", name, made, err)
		}
	}
}

func hijack(w http.ResponseWriter, text string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		io.WriteString(conn, text)
		conn.Close()
	}
}

// Credentials go nowhere but to an https URL, or to this machine.
func TestClientURL(t *testing.T) {
	var dialled atomic.Bool
	h := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		dialled.Store(true)
		return nil, errors.New("no network here")
	}}}
	for _, url := range []string{
		"http://quay.example", "http://10.0.0.1", "http://localhost.example", "http://127.0.0.1.example", "quay.example", "//quay.example", "ftp://quay.example", "ftp://localhost",
		"https://a:b@quay.example", "https://quay.example/?x=1", "https://quay.example/?", "https://quay.example/#x", "https://", "https:quay", "", "https://quay.example/%zz",
	} {
		c := apptoken.Client{URL: url, Authorization: apptoken.Bearer(clientSecret), HTTP: h}
		err := c.Delete(t.Context(), "o", "a", "u")
		if err == nil || !strings.Contains(err.Error(), "Client.URL") || dialled.Load() {
			t.Errorf("%q: got %v, dialled %v", url, err, dialled.Load())
		}
	}
	for _, url := range []string{"https://quay.example", "https://quay.example:8443/prefix/", "http://localhost:1", "http://127.0.0.1:1", "http://[::1]:1"} {
		c := apptoken.Client{URL: url, Authorization: apptoken.Bearer(clientSecret), HTTP: h}
		if err := c.Delete(t.Context(), "o", "a", "u"); err == nil || !dialled.Swap(false) {
			t.Errorf("%q: got %v, and was not tried", url, err)
		}
	}
}

// What the server cannot have acted on is not lost.
func TestClientSendsNothing(t *testing.T) {
	q := newQuay(t, says(200, "application/json", `{"tokens":[]}`))
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	closed.Close()
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	odd := errors.New("no such secret")
	for _, tt := range []struct {
		name   string
		ctx    context.Context
		edit   func(*apptoken.Client, *apptoken.Spec, *string)
		wanted error // in the chain, if not nil
	}{
		{"no authorization", t.Context(), func(c *apptoken.Client, _ *apptoken.Spec, _ *string) { c.Authorization = nil }, nil},
		{"an odd authorization", t.Context(), func(c *apptoken.Client, _ *apptoken.Spec, _ *string) {
			c.Authorization = apptoken.Bearer("a\r\nX-Evil: 1")
		}, nil},
		{"an authorization that fails", t.Context(), func(c *apptoken.Client, _ *apptoken.Spec, _ *string) {
			c.Authorization = func(context.Context) (string, error) { return "", odd }
		}, odd},
		{"a name with a colon", t.Context(), func(c *apptoken.Client, _ *apptoken.Spec, _ *string) { c.Authorization = apptoken.Basic("a:b", "c") }, nil},
		{"no organisation", t.Context(), func(_ *apptoken.Client, _ *apptoken.Spec, org *string) { *org = "" }, nil},
		{"the organisation above", t.Context(), func(_ *apptoken.Client, _ *apptoken.Spec, org *string) { *org = ".." }, nil},
		{"part of a second", t.Context(), func(_ *apptoken.Client, s *apptoken.Spec, _ *string) { s.Lifetime = time.Millisecond }, nil},
		{"a time below nothing", t.Context(), func(_ *apptoken.Client, s *apptoken.Spec, _ *string) { s.Lifetime = -time.Hour }, nil},
		{"never and an end", t.Context(), func(_ *apptoken.Client, s *apptoken.Spec, _ *string) { s.Never = true }, nil},
		{"no server", t.Context(), func(c *apptoken.Client, _ *apptoken.Spec, _ *string) { c.URL = "http://" + closed.Addr().String() }, nil},
		{"a context at its end", cancelled, func(*apptoken.Client, *apptoken.Spec, *string) {}, context.Canceled},
	} {
		c, s, org := q.client(), spec, "o"
		tt.edit(&c, &s, &org)
		_, err := c.Create(tt.ctx, org, "a", s)
		if err == nil || errors.Is(err, apptoken.ErrLost) || tt.wanted != nil && !errors.Is(err, tt.wanted) {
			t.Errorf("%s: got %v", tt.name, err)
		}
	}
	if len(q.asked) != 0 {
		t.Errorf("sent %v", q.asked)
	}
}

// A list ends where the loop does, with an error, or when a server goes round.
func TestClientLists(t *testing.T) {
	page := func(next string) http.HandlerFunc {
		return says(200, "application/json", `{"tokens":[{`+quayToken+`},{`+quayToken+`}],"next_page":"`+next+`"}`)
	}
	q := newQuay(t, page("1"), page("2"), page("2"))
	n := 0
	var last error
	for _, err := range q.client().List(t.Context(), "o", "a") {
		n, last = n+1, err
	}
	if n != 5 || last == nil {
		t.Errorf("a server that goes round: %d steps, %v", n, last)
	}
	q = newQuay(t, page("1"))
	for range q.client().List(t.Context(), "o", "a") {
		break
	}
	if len(q.asked) != 1 {
		t.Errorf("after the loop was left: %v", q.asked)
	}
	for name, body := range map[string]string{
		"no JSON": "<html>", "no tokens": "{}", "tokens of another type": `{"tokens":{}}`, "a token of another type": `{"tokens":[1]}`,
		"a token without uuid": `{"tokens":[{"name":"x","expires_at":null}]}`, "an end unread": `{"tokens":[{"uuid":"u","expires_at":5}]}`,
		"a cursor of another type": `{"tokens":[],"next_page":5}`, "too long": `{"tokens":[]}` + strings.Repeat(" ", 1<<20),
	} {
		n, last := 0, error(nil)
		for token, err := range newQuay(t, says(200, "application/json", body)).client().List(t.Context(), "o", "a") {
			if n, last = n+1, err; token.ID != "" {
				t.Errorf("%s: got %+v", name, token)
			}
		}
		if n != 1 || last == nil {
			t.Errorf("%s: %d steps, %v", name, n, last)
		}
	}
}

// No credential follows a redirect, whatever the host's client does.
func TestClientFollowsNoRedirects(t *testing.T) {
	thief := newQuay(t, says(200, "application/json", "{}"))
	for _, status := range []int{301, 302, 303, 307, 308} {
		q := newQuay(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, thief.URL, status) })
		c := q.client()
		c.HTTP = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
		_, err := c.Create(t.Context(), "o", "a", spec)
		wantStatus(t, "create", err, apptoken.StatusError{Status: status})
		for _, err := range c.List(t.Context(), "o", "a") {
			wantStatus(t, "list", err, apptoken.StatusError{Status: status})
		}
	}
	if len(thief.asked) != 0 {
		t.Errorf("followed: %v", thief.asked)
	}
}

// A new token's secret does not slip out.
func TestNewTokenHidesItsSecret(t *testing.T) {
	made := apptoken.NewToken{Token: apptoken.Token{ID: "u-1"}, Text: "quay_oat_secret"}
	text, err := json.Marshal(map[string]any{"token": made, "pointer": &made})
	must(t, err)
	outputs := []string{string(text), made.String(), errors.New(fmt.Sprint(made)).Error()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		outputs = append(outputs, fmt.Sprintf(verb, made), fmt.Sprintf(verb, &made))
	}
	if i := slices.IndexFunc(outputs, func(s string) bool { return strings.Contains(s, "secret") || strings.Contains(s, "736563726574") }); i >= 0 {
		t.Errorf("got %s", outputs[i])
	}
	if !strings.Contains(outputs[0], "token u-1") {
		t.Errorf("got %s, want its id", outputs[0])
	}
	c := apptoken.Client{URL: "https://quay.example", Authorization: apptoken.Bearer("quay_oat_secret")}
	if s := fmt.Sprintf("%+v %#v", c, c); strings.Contains(s, "secret") {
		t.Errorf("a client prints %s", s)
	}
}
