package exchange_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/keywright/keywright/exchange"
)

var clientVariables = []string{
	"KEYWRIGHT_IDENTITY_TOKEN", "KEYWRIGHT_IDENTITY_TOKEN_FILE", "CONNECT_IDENTITY_TOKEN", "CONNECT_IDENTITY_TOKEN_FILE",
	"ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
}

// clientEnv sets these variables and no others of TokenFromEnv.
func clientEnv(t *testing.T, pairs ...string) {
	for _, name := range clientVariables {
		t.Setenv(name, "")
	}
	for i := 0; i < len(pairs); i += 2 {
		t.Setenv(pairs[i], pairs[i+1])
	}
}

func clientFile(t *testing.T, text string) string {
	name := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestTokenSources(t *testing.T) {
	clientEnv(t, "CONNECT_IDENTITY_TOKEN", "from-variable")
	full := strings.Repeat("a", 64<<10)
	broken := errors.New("broken")
	for _, tt := range []struct {
		name   string
		source exchange.TokenSource
		want   string
		err    error
	}{
		{"file", exchange.TokenFromFile(clientFile(t, "from-file\n")), "from-file\n", nil},
		{"file of 64 KiB", exchange.TokenFromFile(clientFile(t, full)), full, nil},
		{"longer file", exchange.TokenFromFile(clientFile(t, full+"a")), "", errors.ErrUnsupported},
		{"no file", exchange.TokenFromFile(clientToken), "", fs.ErrNotExist},
		{"reader", exchange.TokenFromReader(strings.NewReader("from-reader")), "from-reader", nil},
		{"broken reader", exchange.TokenFromReader(iotest.ErrReader(broken)), "", broken},
		{"variable", exchange.TokenFromVariable("CONNECT_IDENTITY_TOKEN"), "from-variable", nil},
		{"variable not set", exchange.TokenFromVariable("KEYWRIGHT_IDENTITY_TOKEN"), "", errors.ErrUnsupported},
	} {
		got, err := tt.source(t.Context(), "aud")
		if got != tt.want || (err == nil) != (tt.err == nil) || tt.err != errors.ErrUnsupported && !errors.Is(err, tt.err) {
			t.Errorf("%s: got %d bytes, %v", tt.name, len(got), err)
		}
		if err != nil && strings.Contains(err.Error(), clientToken) {
			t.Errorf("%s: the token that stood in place of a path is in the error: %v", tt.name, err)
		}
	}
}

func TestMissingFileIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token.jwt")
	if _, err := exchange.TokenFromFile(path)(t.Context(), ""); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error that names %s", err, path)
	}
}

func TestTokenFromEnv(t *testing.T) {
	file := clientFile(t, "file")
	for _, tt := range []struct {
		name string
		env  []string
		want string
		err  string // in it
	}{
		{"keywright", []string{"KEYWRIGHT_IDENTITY_TOKEN", "k", "CONNECT_IDENTITY_TOKEN", "c"}, "k", ""},
		{"keywright's file", []string{"KEYWRIGHT_IDENTITY_TOKEN_FILE", file, "CONNECT_IDENTITY_TOKEN", "c"}, "file", ""},
		{"connect", []string{"CONNECT_IDENTITY_TOKEN", "c", "ACTIONS_ID_TOKEN_REQUEST_URL", "x"}, "c", ""},
		{"connect's file", []string{"CONNECT_IDENTITY_TOKEN_FILE", file}, "file", ""},
		{"a dash is no file", []string{"CONNECT_IDENTITY_TOKEN", "-"}, "-", ""},
		{"keywright twice", []string{"KEYWRIGHT_IDENTITY_TOKEN", "k", "KEYWRIGHT_IDENTITY_TOKEN_FILE", file}, "", "twice"},
		{"connect twice", []string{"CONNECT_IDENTITY_TOKEN", "k", "CONNECT_IDENTITY_TOKEN_FILE", file}, "", "twice"},
		{"half of GitHub", []string{"ACTIONS_ID_TOKEN_REQUEST_URL", "https://h"}, "", "id-token: write"},
		{"none", nil, "", strings.Join(clientVariables[:3], ", ")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			clientEnv(t, tt.env...)
			got, err := exchange.TokenFromEnv()(t.Context(), "aud")
			if got != tt.want || (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// TestClientChoosesTheSourceFirst: nobody is asked anything before that is clear.
func TestClientChoosesTheSourceFirst(t *testing.T) {
	s := newClientServer(t, (*httptest.Server).Start)
	c := s.client()
	c.Token = nil
	for _, env := range [][]string{nil, {"CONNECT_IDENTITY_TOKEN", clientToken, "CONNECT_IDENTITY_TOKEN_FILE", "f"}} {
		clientEnv(t, env...)
		if _, err := c.Exchange(t.Context()); err == nil || len(s.asked()) > 0 {
			t.Errorf("%q: %v after %q", env, err, s.asked())
		}
	}
	clientEnv(t, "CONNECT_IDENTITY_TOKEN", clientToken)
	if _, err := c.Exchange(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTokenFromGitHub(t *testing.T) {
	s := newClientServer(t, (*httptest.Server).Start)
	s.answer["GET /token?api-version=2.0&audience=https%3A%2F%2Fh%2F%3Fa%26b"] = clientAnswer(200, `{"count":1,"value":"from-github"}`)
	s.answer["GET /bare?audience=a"] = clientAnswer(200, `{"value":"bare"}`)
	s.answer["GET /bare"] = clientAnswer(200, `{"value":"no audience"}`)
	s.answer["GET /none?audience=a"] = clientAnswer(200, `{"Value":"x"}`)
	s.answer["GET /no?audience=a"] = clientAnswer(403, `{"error":"no"}`)
	s.answer["GET /echo?audience=a"] = clientAnswer(403, `{"error":"bearer-of-the-job"}`)
	s.answer["GET /away?audience=a"] = clientAnswer(302, ``, "Location", strings.Replace(s.URL, "127.0.0.1", "localhost", 1)+"/bare?audience=a")
	source := exchange.TokenFromGitHub(nil)
	for _, tt := range []struct {
		url, audience, want string
		err                 func(error) bool
	}{
		{s.URL + "/token?api-version=2.0", "https://h/?a&b", "from-github", clientGood},
		{s.URL + "/bare", "a", "bare", clientGood},
		{s.URL + "/bare", "", "no audience", clientGood},
		{s.URL + "/no", "a", "", clientStatus(403)},
		{s.URL + "/away", "a", "", clientStatus(302)},
		{s.URL + "/echo", "a", "", clientStatus(403, "(withheld, for it repeats a secret)", "")},
		{s.URL + "/none", "a", "", func(err error) bool { return err != nil }},
		{"http://192.0.2.1/token", "a", "", func(err error) bool { return err != nil && strings.Contains(err.Error(), "https") }},
		{"http://127.0.0.1:1/token", "a", "", clientIs(exchange.ErrConnection)},
		{"http://[::1]:1/token", "a", "", clientIs(exchange.ErrConnection)},
	} {
		clientEnv(t, "ACTIONS_ID_TOKEN_REQUEST_URL", tt.url, "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "bearer-of-the-job")
		if got, err := source(t.Context(), tt.audience); got != tt.want || !tt.err(err) || err != nil && strings.Contains(err.Error(), tt.url) {
			t.Errorf("%s: got %q, %v", tt.url, got, err)
		}
	}
	last, _ := s.request()
	if got := last.Header.Get("Authorization"); got != "Bearer bearer-of-the-job" {
		t.Errorf("Authorization %q", got)
	}
	clientEnv(t, "ACTIONS_ID_TOKEN_REQUEST_URL", s.URL+"/bare", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "b")
	if got, err := exchange.TokenFromEnv()(t.Context(), "a"); got != "bare" || err != nil {
		t.Errorf("by the environment: %q, %v", got, err)
	}
}

func TestClientChecksTheToken(t *testing.T) {
	broken := errors.New("broken")
	for _, bad := range []string{"", " \n\t", "-", "a.b", "a.b.c.d", ".b.c", "a..c", "a.b.", "a. b.c", "a.b\n.c", "a.b.c\u00a0d", "a.b.c a.b.c"} {
		s := newClientServer(t, (*httptest.Server).Start)
		c := s.client()
		c.Token = func(context.Context, string) (string, error) { return bad, nil }
		_, err := c.Exchange(t.Context())
		if empty := strings.TrimSpace(bad) == ""; err == nil || s.posts() > 0 || empty != strings.HasSuffix(err.Error(), "empty") || len(bad) > 4 && strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v, %d posts", bad, err, s.posts())
		}
		c.Token = func(context.Context, string) (string, error) { return clientToken, broken }
		if _, err := c.Exchange(t.Context()); !errors.Is(err, broken) || s.posts() > 0 {
			t.Errorf("a broken source: %v", err)
		}
	}
}

// TestClientKeepsSecrets: an answer may repeat what it was sent, and Go's own
// errors repeat parts of answers.
func TestClientKeepsSecrets(t *testing.T) {
	raw := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			conn.Write([]byte(text))
			conn.Close()
		}
	}
	signature := clientToken[strings.LastIndex(clientToken, ".")+1:]
	spread := strings.Join(strings.Split(clientToken, ""), `\u0001`)
	far := strings.Repeat("x", 190)
	for name, answer := range map[string]http.HandlerFunc{
		"description":     clientAnswer(400, `{"error":"invalid_grant","error_description":"bad `+clientToken+`"}`),
		"a part":          clientAnswer(400, `{"error":"x","error_description":"bad `+signature+`"}`),
		"spread":          clientAnswer(400, `{"error":"x","error_description":"`+spread+`"}`),
		"cut in two":      clientAnswer(400, `{"error":"x","error_description":"`+far+clientToken+`"}`),
		"code":            clientAnswer(400, `{"error":"`+clientToken+`"}`),
		"status line":     raw("HTTP/1.1 " + clientToken + "\r\n\r\n"),
		"not HTTP":        raw(clientToken + "\r\n\r\n"),
		"location":        clientAnswer(307, ``, "Location", "http://["+clientToken),
		"repeated member": clientAnswer(200, `{"`+clientToken+`":1,"`+clientToken+`":2}`),
	} {
		s := newClientServer(t, (*httptest.Server).Start)
		s.answer[clientPost], s.answer["GET /p/__api__/v1/user"] = answer, answer
		_, err := s.client().Exchange(t.Context())
		err2 := s.client().Check(t.Context(), clientToken)
		text := fmt.Sprintf("%v %+v %v %+v", err, errors.Unwrap(err), err2, errors.Unwrap(err2))
		if err == nil || err2 == nil || strings.Contains(text, signature) || strings.Contains(text, clientToken[:40]) {
			t.Errorf("%s: %s", name, text)
		}
	}
	const text = "kw_secret-text"
	key := exchange.IssuedKey{Text: text, Expires: time.Unix(1, 0)}
	encoded, _ := json.Marshal(key)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("got", "key", key)
	if all := fmt.Sprintf("%v %+v %#v %s %q %x %d %v", key, key, key, key, &key, key, key, []any{key}) + string(encoded) + log.String() + key.String(); strings.Contains(all, "secret") || strings.Contains(all, fmt.Sprintf("%x", text)) {
		t.Errorf("the key was printed: %s", all)
	}
}

func TestClientRevoke(t *testing.T) {
	s := newClientServer(t, (*httptest.Server).Start)
	c := s.client()
	c.Token = clientSource(t)
	if err := c.Revoke(t.Context(), "kw_1"); !errors.Is(err, exchange.ErrUnsupported) {
		t.Errorf("without an endpoint: %v", err)
	}
	s.md["revocation_endpoint"] = s.URL + "/r#"
	if err := c.Revoke(t.Context(), "kw_1"); err == nil || s.posts() > 0 {
		t.Errorf("endpoint with a fragment: %v", err)
	}
	s.md["revocation_endpoint"] = s.URL + "/r"
	s.answer["POST /r"] = clientAnswer(200, ``)
	err := c.Revoke(t.Context(), "kw_1&x")
	if _, body := s.request(); err != nil || body != "token=kw_1%26x&token_type_hint=access_token" {
		t.Errorf("got %v, sent %q", err, body)
	}
	s.answer["POST /r"] = clientAnswer(400, `{"error":"invalid_request","error_description":"about kw_1"}`)
	if err := c.Revoke(t.Context(), "kw_1"); !clientStatus(400)(err) || strings.Contains(err.Error(), "kw_1") {
		t.Errorf("got %v", err)
	}
	n := len(s.asked())
	for _, bad := range []string{"", "a b", "a\r\nb"} {
		if err := c.Revoke(t.Context(), bad); err == nil || len(s.asked()) > n {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestClientCheck(t *testing.T) {
	const at = "GET /p/__api__/v1/user"
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   func(error) bool
	}{
		{"a user's", clientAnswer(200, `{"username":"ci"}`), clientGood},
		{"of no user", clientAnswer(403, `{"code":22,"error":"You don't have permission."}`), clientGood},
		{"another code", clientAnswer(403, `{"code":23,"error":"No."}`), clientStatus(403, "23", "No.")},
		{"code in a page", clientAnswer(403, `{"code":22}`, "Content-Type", "text/html"), clientStatus(403)},
		{"code with another status", clientAnswer(404, `{"code":22}`), clientStatus(404)},
		{"401", clientAnswer(401, ``, "Content-Type", "text/plain"), clientIs(exchange.ErrKeyRefused)},
		{"code 30", clientAnswer(400, `{"code":30}`), clientIs(exchange.ErrKeyRefused)},
		{"code 30 with 200", clientAnswer(200, `{"code":30}`), clientIs(exchange.ErrKeyRefused)},
		{"a page", clientAnswer(200, `<html>`, "Content-Type", "text/html"), clientStatus(200)},
		{"201", clientAnswer(201, `{}`), clientStatus(201)},
		{"a redirect to another host", clientAnswer(302, ``, "Location", "http://localhost:1/"), clientStatus(302)},
		{"no answer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, clientIs(exchange.ErrConnection)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newClientServer(t, (*httptest.Server).Start)
			s.answer[at] = tt.answer
			err := s.client().Check(t.Context(), "kw_1")
			if r, _ := s.request(); !tt.want(err) || len(s.asked()) != 1 || r.Header.Get("Authorization") != "Key kw_1" {
				t.Errorf("got %v after %q", err, s.asked())
			}
		})
	}
	s := newClientServer(t, (*httptest.Server).Start)
	s.answer["GET /p/whoami"] = clientAnswer(200, `{}`)
	c := s.client()
	c.CheckPath = "/whoami"
	if err := c.Check(t.Context(), "kw_1"); err != nil {
		t.Error(err)
	}
	if err := c.Check(t.Context(), "k\r\nX: y"); !errors.Is(err, exchange.ErrKeyRefused) || len(s.asked()) != 1 {
		t.Errorf("a key that is none: %v after %q", err, s.asked())
	}
}
