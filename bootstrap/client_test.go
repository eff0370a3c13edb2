package bootstrap_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/bootstrap"
)

// TestClient: real time, since the client has no other.
func TestClient(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t)
	f.clock.now = time.Now()
	srv := f.serve(f.config())
	for _, url := range []string{"", "localhost:1", "ftp://x", "http://"} {
		if _, err := (bootstrap.Client{URL: url, Secret: secret}).Bootstrap(ctx); err == nil || !strings.Contains(err.Error(), "Client.URL") {
			t.Errorf("URL %q: got %v, want an error that names it", url, err)
		}
	}
	if _, err := (bootstrap.Client{URL: srv.URL, Secret: bootstrap.NewSecret()}).Bootstrap(ctx); !errors.Is(err, bootstrap.ErrUnauthorized) {
		t.Errorf("another secret: got %v, want ErrUnauthorized", err)
	}
	c := bootstrap.Client{URL: srv.URL + "/", Secret: secret}
	key, err := c.Bootstrap(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := f.whoami(srv, key); got != 200 {
		t.Errorf("the key: got %d, want 200", got)
	}
	if _, err := c.Bootstrap(ctx); !errors.Is(err, bootstrap.ErrClaimed) || strings.Contains(err.Error(), "lost") {
		t.Errorf("again: got %v, want ErrClaimed and nothing about a loss", err)
	}
}

// answers serves one prepared answer after the other, the last one for ever.
func answers(t *testing.T, list ...http.HandlerFunc) *httptest.Server {
	n := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := list[min(n, len(list)-1)]
		n++
		h(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv
}

func answerWith(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func hasStatus(err error, status int) bool {
	e, ok := errors.AsType[*bootstrap.StatusError](err)
	return ok && e.Status == status
}

func hangUp(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }

func TestClientAnswers(t *testing.T) {
	good := answerWith(200, "application/json; charset=utf-8", `{"api_key":"k"}`)
	tests := []struct {
		name    string
		answers []http.HandlerFunc
		key     string
		want    func(error) bool
	}{
		{"200", []http.HandlerFunc{good}, "k", func(err error) bool { return err == nil }},
		{"201", []http.HandlerFunc{answerWith(201, "application/json", `{"api_key":"k"}`)}, "k", func(err error) bool { return err == nil }},
		{"404", []http.HandlerFunc{answerWith(404, "text/plain", "")}, "", func(err error) bool { return errors.Is(err, bootstrap.ErrNotFound) }},
		{"500 with a key", []http.HandlerFunc{answerWith(500, "application/json", `{"api_key":"k"}`)}, "", func(err error) bool { return hasStatus(err, 500) }},
		{"429 is not repeated", []http.HandlerFunc{answerWith(429, "", ""), good}, "", func(err error) bool { return hasStatus(err, 429) }},
		{"503 is repeated", []http.HandlerFunc{answerWith(503, "", ""), good}, "k", func(err error) bool { return err == nil }},
		{"503, then claimed", []http.HandlerFunc{answerWith(503, "", ""), answerWith(403, "", "")}, "", func(err error) bool {
			return errors.Is(err, bootstrap.ErrClaimed) && strings.Contains(err.Error(), "lost")
		}},
		{"a redirect is not followed", []http.HandlerFunc{func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, good}, "", func(err error) bool { return hasStatus(err, 307) }},
		{"no key", []http.HandlerFunc{answerWith(200, "application/json", `{}`)}, "", func(err error) bool { return err != nil }},
		{"no JSON", []http.HandlerFunc{answerWith(200, "text/html", `{"api_key":"k"}`)}, "", func(err error) bool { return err != nil }},
		{"a key with a line break", []http.HandlerFunc{answerWith(200, "application/json", `{"api_key":"k\nX: y"}`)}, "", func(err error) bool { return err != nil }},
		{"a lost answer, repeated", []http.HandlerFunc{hangUp, hangUp, good}, "k", func(err error) bool { return err == nil }},
		{"a lost answer, then claimed", []http.HandlerFunc{hangUp, answerWith(403, "", "")}, "", func(err error) bool {
			return errors.Is(err, bootstrap.ErrClaimed) && strings.Contains(err.Error(), "lost")
		}},
		{"no answer at all", []http.HandlerFunc{hangUp}, "", func(err error) bool { return errors.Is(err, io.EOF) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // some of them wait between two tries
			srv := answers(t, tt.answers...)
			key, err := bootstrap.Client{URL: srv.URL, Secret: secret}.Bootstrap(context.Background())
			if key != tt.key || !tt.want(err) {
				t.Errorf("got %q, %v", key, err)
			}
		})
	}
}

// TestClientSendsTheSameToken: only then can a server redeliver.
func TestClientSendsTheSameToken(t *testing.T) {
	var seen []string
	record := func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Header.Get("Authorization"))
		if len(seen) < 3 {
			panic(http.ErrAbortHandler)
		}
		answerWith(200, "application/json", `{"api_key":"k"}`)(w, r)
	}
	srv := answers(t, record)
	if _, err := (bootstrap.Client{URL: srv.URL + "/connect/", Secret: secret}).Bootstrap(context.Background()); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 3 || seen[0] != seen[1] || seen[1] != seen[2] {
		t.Errorf("%d tries, want 3 with one token", len(seen))
	}
}
