package apicall_test

import (
	"context"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/internal/apicall"
)

func serve(t *testing.T, h http.HandlerFunc) apicall.Server {
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return apicall.Server{Package: "test", URL: srv.URL + "/prefix/"}
}

func TestWhatIsSent(t *testing.T) {
	type seen struct{ Method, URI, Authorization, Type, Body string }
	var got seen
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, 100)
		n, _ := r.Body.Read(body)
		got = seen{r.Method, r.RequestURI, r.Header.Get("Authorization"), r.Header.Get("Content-Type"), string(body[:n])}
		w.Write([]byte(`{"a":1}`))
	})
	for _, tt := range []struct {
		call apicall.Call
		want seen
	}{
		{apicall.Call{Method: "GET", Path: "/a%2Fb?c=d"}, seen{"GET", "/prefix/a%2Fb?c=d", "", "", ""}},
		{apicall.Call{Method: "POST", Path: "/a", Authorization: "Bearer x", Body: map[string]int{"n": 1}}, seen{"POST", "/prefix/a", "Bearer x", "application/json", `{"n":1}`}},
	} {
		r, err := s.Do(t.Context(), tt.call)
		if diff := cmp.Diff(tt.want, got); err != nil || !r.OK() || diff != "" {
			t.Errorf("%v, %d (-want +got):\n%s", err, r.Status, diff)
		}
	}
}

func TestNoRedirectIsFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/prefix/a" {
				t.Errorf("%d: followed to %s", status, r.URL)
			}
			http.Redirect(w, r, "/b", status)
		})
		if r, err := s.Do(t.Context(), apicall.Call{Method: "GET", Path: "/a"}); err != nil || r.Status != status || r.OK() {
			t.Errorf("%d: got %d, %v", status, r.Status, err)
		}
	}
}

func TestWhatIsNotSent(t *testing.T) {
	for _, tt := range []struct {
		name, url string
		call      apicall.Call
	}{
		{"http", "http://example.com", apicall.Call{Method: "GET"}},
		{"a query", "https://example.com/?a=b", apicall.Call{Method: "GET"}},
		{"a fragment", "https://example.com/#a", apicall.Call{Method: "GET"}},
		{"a password", "https://a:b@example.com", apicall.Call{Method: "GET"}},
		{"no host", "https://", apicall.Call{Method: "GET"}},
		{"no URL", "://", apicall.Call{Method: "GET"}},
		{"a line break in the credential", "https://example.com", apicall.Call{Method: "GET", Authorization: "Bearer a\r\nX: y"}},
		{"a body that is no JSON", "https://example.com", apicall.Call{Method: "GET", Body: make(chan int)}},
		{"a method that is none", "https://example.com", apicall.Call{Method: "G ET"}},
	} {
		r, err := apicall.Server{Package: "test", URL: tt.url}.Do(t.Context(), tt.call)
		if err == nil || !r.Unsent || !strings.HasPrefix(err.Error(), "test: ") {
			t.Errorf("%s: %v, unsent %v", tt.name, err, r.Unsent)
		}
	}
}

func TestConnections(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	r, err := apicall.Server{Package: "test", URL: "http://" + ln.Addr().String()}.Do(t.Context(), apicall.Call{Method: "GET"})
	if !errors.Is(err, apicall.ErrConnection) || !r.Unsent {
		t.Errorf("nobody listens: %v, unsent %v", err, r.Unsent)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	quiet := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("it was sent") })
	if r, err := quiet.Do(ctx, apicall.Call{Method: "POST", Path: "/"}); !errors.Is(err, context.Canceled) || !r.Unsent {
		t.Errorf("a caller that has given up: %v, unsent %v", err, r.Unsent)
	}
	hangUp := serve(t, func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	if r, err := hangUp.Do(t.Context(), apicall.Call{Method: "POST", Path: "/"}); !errors.Is(err, apicall.ErrConnection) || r.Unsent {
		t.Errorf("the server hangs up: %v, unsent %v", err, r.Unsent)
	}
	cut := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.Write([]byte("{"))
	})
	if r, err := cut.Do(t.Context(), apicall.Call{Method: "GET", Path: "/"}); !errors.Is(err, apicall.ErrConnection) || r.Unsent {
		t.Errorf("an answer cut short: %v, unsent %v", err, r.Unsent)
	}
}

// TestLongAnswers: a call may be content with less than others.
func TestLongAnswers(t *testing.T) {
	size := 0
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, size)) })
	for _, tt := range []struct {
		size int
		most int64
		ok   bool
	}{{1 << 20, 0, true}, {1<<20 + 1, 0, false}, {1<<20 + 1, 2 << 20, false}, {10, 10, true}, {11, 10, false}} {
		size = tt.size
		_, err := s.Do(t.Context(), apicall.Call{Method: "GET", Path: "/", MaxReply: tt.most})
		if (err == nil) != tt.ok || err != nil && (!strings.Contains(err.Error(), "longer") || errors.Is(err, apicall.ErrConnection)) {
			t.Errorf("%d bytes of %d: %v", tt.size, tt.most, err)
		}
	}
}

// rude is a server that quotes what it was sent where no HTTP is.
type rude struct{ text string }

func (r rude) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("malformed HTTP: " + r.text)
}

func TestNoErrorHoldsASecret(t *testing.T) {
	const secret, password = "averysecretkey", "hunter22"
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("root:"+password))
	for _, tt := range []struct{ name, authorization, says string }{
		{"a bearer", "Bearer " + secret, secret},
		{"a part of a JWT", "Bearer eyJh." + secret + ".sig", secret},
		{"a password", basic, password},
		{"one of the body", "", secret},
	} {
		call := apicall.Call{Method: "GET", Path: "/", Authorization: tt.authorization}
		if tt.authorization == "" {
			call.Secrets = []string{secret}
		}
		s := apicall.Server{Package: "test", URL: "https://example.com", HTTP: &http.Client{Transport: rude{tt.says}}}
		if _, err := s.Do(t.Context(), call); err == nil || strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", tt.name, err)
		}
		s = serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(`{"error":"bad ` + tt.says + `"}`)) })
		r, err := s.Do(t.Context(), call)
		if text := r.Text("error"); err != nil || !strings.Contains(text, "withheld") {
			t.Errorf("%s: %q, %v", tt.name, text, err)
		}
	}
}

func TestReplies(t *testing.T) {
	body, header := "", ""
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if header != "" {
			w.Header().Set("Retry-After", header)
		}
		w.Write([]byte(body))
	})
	get := func(text, retry string) apicall.Reply {
		t.Helper()
		body, header = text, retry
		r, err := s.Do(t.Context(), apicall.Call{Method: "GET", Path: "/"})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, tt := range []struct{ body, want string }{
		{`{"b":"two","a":"one"}`, "one"}, {`{"b":"two","a":""}`, "two"}, {`{"b":"two","a":1}`, "two"}, {`{}`, ""}, {`[]`, ""},
		{`{"a":"x\u0000\u001b[1m\ny\u202e"}`, "x[1my"}, {`{"a":"` + strings.Repeat("é", 201) + `"}`, strings.Repeat("é", 200) + "…"},
	} {
		if got := get(tt.body, "").Text("a", "b"); got != tt.want {
			t.Errorf("%s: got %q", tt.body, got)
		}
	}
	var v struct {
		A string `json:"a"`
	}
	if err := get(`{"a":"x","more":1}`, "").Decode(&v); err != nil || v.A != "x" {
		t.Errorf("%v, %v", v, err)
	}
	for _, bad := range []string{`{"a":1}`, `{"a":"x","a":"y"}`, `[]`, ``} {
		if err := get(bad, "").Decode(&v); err == nil {
			t.Errorf("%s: accepted", bad)
		}
	}
	for text, want := range map[string]time.Duration{"": 0, "7": 7 * time.Second, "-1": 0, "x": 0, "999999999999": 365 * 24 * time.Hour} {
		if got := get("{}", text).RetryAfter(); got != want {
			t.Errorf("Retry-After %q: %v", text, got)
		}
	}
}
