package apptoken

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright"
)

// suServer is a handler on real HTTP with an organisation and its application.
type suServer struct {
	*Handler
	w   *suWorld
	url string
}

const suPath = "/api/v1/organization/myorg/application/app123/tokens"

func (w *suWorld) serve(z ZeroTouch) *suServer {
	w.t.Helper()
	h, err := New(Config{
		Host: w.host, Directory: Static{Organizations: map[string]Organization{"myorg": {Applications: map[string]string{"app123": "builder"}}}},
		Policy: Policy{Max: 2 * defaultMaxLifetime}, ZeroTouch: z,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	mux := http.NewServeMux()
	h.Register(mux, "")
	srv := httptest.NewServer(mux)
	w.t.Cleanup(srv.Close)
	return &suServer{h, w, srv.URL}
}

type suAnswer struct {
	status int
	header http.Header
	body   string
	fields map[string]any
}

// send is for any goroutine. A body makes it a POST.
func (s *suServer) send(authorization, body string, edit ...func(*http.Request)) suAnswer {
	method := http.MethodPost
	if body == "" {
		method = http.MethodGet
	}
	req, err := http.NewRequest(method, s.url+suPath, strings.NewReader(body))
	if err != nil {
		s.w.t.Error(err)
		return suAnswer{}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", authorization)
	for _, e := range edit {
		e(req)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.w.t.Error(err)
		return suAnswer{}
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.w.t.Error(err)
	}
	a := suAnswer{status: res.StatusCode, header: res.Header, body: string(text)}
	json.Unmarshal(text, &a.fields) // not every answer is an object
	return a
}

func suSpec(expiration string) string {
	return fmt.Sprintf(`{"name": "bootstrap-token", "expiration": %q, "scopes": ["org:admin"]}`, expiration)
}

// The ticket's curl line as it stands, and what follows from it.
func TestZeroTouchBootstrap(t *testing.T) {
	w := newSuWorld(t)
	s := w.serve(ZeroTouch{Enabled: true, Passwords: newSuAccounts(t)})
	made := s.send(suBasic("admin", suPassword), suSpec("365d"))
	secret, _ := made.fields["token_secret"].(string)
	if made.status != 200 || secret == "" || made.fields["created_by"] != "admin" {
		t.Fatalf("got %d %s", made.status, made.body)
	}
	created := slices.IndexFunc(w.heard, func(e keywright.Event) bool { return e.Name == "apptoken.created" })
	if created < 1 || w.heard[created].Attrs["auth_method"] != "Basic" || w.heard[created].Actor != "basic:admin" || w.heard[created-1].Name != "apptoken.super_user" {
		t.Errorf("heard %+v", w.heard)
	}
	if a := s.send("Bearer "+secret, ""); a.status != 200 || !strings.Contains(a.body, "bootstrap-token") {
		t.Errorf("with the token: got %d %s", a.status, a.body)
	}
	if a := s.send(suBasic("admin", suPassword), suSpec("366d")); a.status != 400 {
		t.Errorf("longer than passwords may: got %d %s", a.status, a.body)
	}
	a := s.send(suBasic("admin", "x"), suSpec("1h"))
	if a.status != 401 || a.header.Get("WWW-Authenticate") != suRealm || a.fields["message"] != textRefused || a.fields["error_type"] != "invalid_token" {
		t.Errorf("a wrong password: got %d %v %s", a.status, a.header, a.body)
	}
	a = s.send(suBasic("admin", suPassword), suSpec("1h"), func(r *http.Request) { r.Header.Set("X-Forwarded-For", "192.0.2.1") })
	if a.status != 403 || !strings.Contains(a.body, "only over TLS") {
		t.Errorf("by way of a proxy that nobody trusts: got %d %s", a.status, a.body)
	}
	off := w.serve(ZeroTouch{Passwords: newSuAccounts(t)})
	if a := off.send(suBasic("admin", suPassword), suSpec("1h")); a.status != 401 || a.header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("off: got %d %v %s", a.status, a.header, a.body)
	}
	if a := off.send("Bearer "+secret, ""); a.status != 200 {
		t.Errorf("off, with the token: got %d %s", a.status, a.body)
	}
}

func TestServiceAccountBootstrap(t *testing.T) {
	w := newOIDCWorld(t)
	c := ZeroTouch{Enabled: true}
	for _, e := range w.edits {
		e(&c)
	}
	s := w.serve(c)
	token := w.token(nil)
	if a := s.send("Bearer "+token, suSpec("400d")); a.status != 200 {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	if a := s.send("Bearer "+token, suSpec("1h")); a.status != 401 || a.header.Get("WWW-Authenticate") != `Bearer error="invalid_token"` || a.fields["message"] != textRefused {
		t.Errorf("again: got %d %v %s", a.status, a.header, a.body)
	}
	if a := s.send("Bearer "+token, ""); a.status != 200 || strings.Count(a.body, "token_id") != 1 {
		t.Errorf("a list: got %d %s", a.status, a.body)
	}
	if a := s.send("Bearer "+w.token(nil), `{"name": "t", "scopes": ["x"]}`); a.status != 400 {
		t.Errorf("an unknown scope: got %d %s", a.status, a.body)
	}
}

// Of any number of first tokens there is one.
func TestOneShotBootstrap(t *testing.T) {
	w := newSuWorld(t)
	s := w.serve(ZeroTouch{Enabled: true, Passwords: w.passwords, OneShot: true, Guesses: GuessLimit{Burst: -1}})
	for round := 1; round <= 2; round++ {
		statuses := make(chan int, 20)
		var all sync.WaitGroup
		for range cap(statuses) {
			all.Go(func() { statuses <- s.send(suBasic("admin", suPassword), suSpec("1h")).status })
		}
		all.Wait()
		close(statuses)
		count := make(map[int]int)
		for status := range statuses {
			count[status]++
		}
		if count[200] != 1 || count[401] != cap(statuses)-1 {
			t.Errorf("round %d: got %v", round, count)
		}
		if n := len(w.records(KindToken)); n != round {
			t.Errorf("round %d: %d tokens", round, n)
		}
		if err := s.ReopenZeroTouch(t.Context(), superUser("Basic", "", "admin")); err != nil {
			t.Fatal(err)
		}
		w.advance(time.Second)
	}
}

// Through real HTTP, as curl -u sends it.
func TestPasswordOverHTTP(t *testing.T) {
	w := newSuWorld(t)
	var caller keywright.Principal
	srv := httptest.NewTLSServer(keywright.Quay.Require(w.host.Keys.Of("app"), w.zeroTouch)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		caller, _ = keywright.FromContext(r.Context())
	})))
	defer srv.Close()
	for _, tt := range []struct {
		user, password string
		status         int
		challenge      string
	}{
		{"admin", suPassword, 200, ""},
		{"admin", "x", 401, suRealm},
		{"", "", 401, "Bearer, " + suRealm},
	} {
		req, err := http.NewRequest("POST", srv.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		if tt.user != "" {
			req.SetBasicAuth(tt.user, tt.password)
		}
		res, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != tt.status || res.Header.Get("WWW-Authenticate") != tt.challenge {
			t.Errorf("%s: got %d %v", tt.user, res.StatusCode, res.Header)
		}
	}
	if caller.Subject != "admin" || !caller.HasScope(ScopeSuperUser) {
		t.Errorf("the handler saw %+v", caller)
	}
}
