package exchange_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keywright/keywright/exchange"
)

// clientLong is good for everything but its length.
var clientLong = `{"access_token":"k"}` + strings.Repeat(" ", 64<<10)

const (
	clientToken = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjbGllbnQgdGVzdCJ9.c2lnbmF0dXJlLW9mLXRoZS1jbGllbnQtdGVzdA"
	clientPost  = "POST /p/oauth/v1/token"
)

// A clientServer answers as a test says, and takes down what it was asked.
type clientServer struct {
	*httptest.Server
	md     map[string]any
	answer map[string]http.HandlerFunc // by method and request target

	mu   sync.Mutex
	seen []string
	last *http.Request
	body string
}

func newClientServer(t *testing.T, start func(*httptest.Server)) *clientServer {
	s := &clientServer{answer: map[string]http.HandlerFunc{clientPost: clientAnswer(200, `{"access_token":"kw_1","token_type":"Bearer","expires_in":900}`)}}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.seen, s.last, s.body = append(s.seen, r.Method+" "+r.RequestURI), r, string(body)
		answer := s.answer[r.Method+" "+r.RequestURI]
		s.mu.Unlock()
		if answer == nil {
			answer = http.NotFound
		}
		answer(w, r)
	}))
	start(s.Server)
	t.Cleanup(s.Close)
	s.md = map[string]any{"issuer": s.URL + "/p", "token_endpoint": s.URL + "/p/oauth/v1/token", "grant_types_supported": []string{"urn:ietf:params:oauth:grant-type:token-exchange"}}
	s.answer["GET /p/.well-known/oauth-authorization-server"] = s.metadata
	return s
}

func (s *clientServer) metadata(w http.ResponseWriter, r *http.Request) {
	text, _ := json.Marshal(s.md)
	clientAnswer(200, string(text))(w, r)
}

// client has a token for any audience.
func (s *clientServer) client() exchange.Client {
	return exchange.Client{URL: s.URL + "/p", HTTP: s.Server.Client(), Token: func(context.Context, string) (string, error) { return clientToken, nil }}
}

// asked returns what the server was asked for so far.
func (s *clientServer) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// request returns the last request and its body.
func (s *clientServer) request() (*http.Request, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, s.body
}

func (s *clientServer) posts() (n int) {
	for _, one := range s.asked() {
		if strings.HasPrefix(one, "POST ") {
			n++
		}
	}
	return n
}

func clientAnswer(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func TestClientExchange(t *testing.T) {
	s := newClientServer(t, (*httptest.Server).Start)
	asked := ""
	c := s.client()
	c.Token = func(_ context.Context, audience string) (string, error) {
		asked = audience
		return "\n " + clientToken + " \r\n", nil
	}
	before := time.Now()
	key, err := c.Exchange(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if key.Text != "kw_1" || key.TokenType != "Bearer" || key.Scopes != nil || key.Expires.Before(before.Add(900*time.Second)) || key.Expires.After(time.Now().Add(900*time.Second)) {
		t.Errorf("got %q %q %q until %v", key.Text, key.TokenType, key.Scopes, key.Expires)
	}
	const want = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange" +
		"&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aid_token" +
		"&requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token" +
		"&subject_token=" + clientToken
	if r, body := s.request(); body != want || r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || r.Header.Get("Authorization") != "" {
		t.Errorf("body %q, header %v", body, r.Header)
	}
	if asked != s.URL+"/p" {
		t.Errorf("a token was asked for %q", asked)
	}
	s.md["identity_token_audience"] = "named"
	s.answer[clientPost] = clientAnswer(200, `{"access_token":"k","scope":"b  c","audience":["t1"],"expires_in":9223372036854775807}`)
	c.Scopes, c.Targets = []string{"a", "b"}, []string{"t1", "t&2"}
	key, err = c.Exchange(t.Context())
	if err != nil || !slices.Equal(key.Scopes, []string{"b", "c"}) || !slices.Equal(key.Targets, []string{"t1"}) || time.Until(key.Expires) < 24*time.Hour {
		t.Errorf("%q, %q, %v, %v", key.Scopes, key.Targets, key.Expires, err)
	}
	if _, body := s.request(); body != want+"&scope=a+b&audience=t1&audience=t%262" || asked != "named" {
		t.Errorf("body %q, audience %q", body, asked)
	}
	s.answer[clientPost] = clientAnswer(201, `{"access_token":"k"}`)
	c.Audience = "mine"
	if key, err = c.Exchange(t.Context()); err != nil || !slices.Equal(key.Scopes, c.Scopes) || !key.Expires.IsZero() || asked != "mine" {
		t.Errorf("%q, %v, %v, audience %q", key.Scopes, key.Expires, err, asked)
	}
	for _, never := range []string{"0", "-5", `"900"`, "null"} {
		s.answer[clientPost] = clientAnswer(200, `{"access_token":"k","expires_in":`+never+`}`)
		if key, err := c.Exchange(t.Context()); err != nil || !key.Expires.IsZero() {
			t.Errorf("expires_in %s: %v, %v", never, key.Expires, err)
		}
	}
	n := len(s.asked())
	for _, bad := range []string{"", "a b", "a\tb"} {
		c.Scopes, c.Targets = []string{bad}, nil
		_, err1 := c.Exchange(t.Context())
		c.Scopes, c.Targets = nil, []string{bad}
		_, err2 := c.Exchange(t.Context())
		if err1 == nil || err2 == nil || len(s.asked()) != n {
			t.Errorf("%q: %v, %v", bad, err1, err2)
		}
	}
}

// clientSource fails the test when the identity token is read.
func clientSource(t *testing.T) exchange.TokenSource {
	return func(context.Context, string) (string, error) {
		t.Error("the identity token was read")
		return clientToken, nil
	}
}

func TestClientRefusesMetadata(t *testing.T) {
	for _, tt := range []struct {
		name        string
		change      map[string]any
		unsupported bool
	}{
		{"another issuer", map[string]any{"issuer": "http://other.example/p"}, false},
		{"two slashes", map[string]any{"issuer": "URL/p//"}, false},
		{"the issuer above", map[string]any{"issuer": "URL"}, false},
		{"no issuer", map[string]any{"issuer": nil}, false},
		{"issuer under another case", map[string]any{"issuer": nil, "Issuer": "URL/p"}, false},
		{"another grant", map[string]any{"grant_types_supported": []string{"authorization_code"}}, true},
		{"no grants", map[string]any{"grant_types_supported": []string{}}, true},
		{"no endpoint", map[string]any{"token_endpoint": nil}, true},
		{"endpoint is a number", map[string]any{"token_endpoint": 5}, true},
		{"relative endpoint", map[string]any{"token_endpoint": "/p/oauth/v1/token"}, false},
		{"endpoint without host", map[string]any{"token_endpoint": "https://:443/t"}, false},
		{"endpoint of another scheme", map[string]any{"token_endpoint": "ftp://h/t"}, false},
		{"endpoint with user", map[string]any{"token_endpoint": "https://u:p@h/t"}, false},
		{"endpoint with fragment", map[string]any{"token_endpoint": "https://h/t#f"}, false},
		{"endpoint with an empty fragment", map[string]any{"token_endpoint": "https://h/t#"}, false},
		{"endpoint with a blank", map[string]any{"token_endpoint": "https://h/t?a b"}, false},
		{"endpoint that would be rewritten", map[string]any{"token_endpoint": `https://h/t"`}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newClientServer(t, (*httptest.Server).Start)
			for name, value := range tt.change {
				if text, ok := value.(string); ok {
					value = strings.Replace(text, "URL", s.URL, 1)
				}
				if s.md[name] = value; value == nil {
					delete(s.md, name)
				}
			}
			c := s.client()
			c.Token = clientSource(t)
			if _, err := c.Exchange(t.Context()); err == nil || errors.Is(err, exchange.ErrUnsupported) != tt.unsupported || s.posts() > 0 {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestClientAcceptsMetadata(t *testing.T) {
	s := newClientServer(t, (*httptest.Server).Start)
	delete(s.md, "grant_types_supported") // as Connect's own client has it
	s.md["issuer"] = s.URL + "/p/"
	s.md["token_endpoint"] = s.URL + "/x%2Fy//z?q=%7e&r"
	s.answer["POST /x%2Fy//z?q=%7e&r"] = s.answer[clientPost]
	if _, err := s.client().Exchange(t.Context()); err != nil {
		t.Errorf("%v: %q", err, s.asked())
	}
	c := s.client()
	s.md["issuer"] = c.URL
	c.URL += "/"
	if md, err := c.Discover(t.Context()); err != nil || md.TokenEndpoint != s.md["token_endpoint"] || md.Issuer != s.md["issuer"] {
		t.Errorf("%+v, %v", md, err)
	}
	for _, bad := range []string{"", "h", "ftp://h", "http://", "http://u@h", "http://h?", "http://h#", "http://h/a b"} {
		if _, err := (exchange.Client{URL: bad}).Discover(t.Context()); err == nil || !strings.Contains(err.Error(), "Client.URL") {
			t.Errorf("URL %q: %v", bad, err)
		}
	}
}

// TestClientTLS: where the server is https, so is the token endpoint; and the
// same over HTTP/2.
func TestClientTLS(t *testing.T) {
	s := newClientServer(t, func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() })
	if _, err := s.client().Exchange(t.Context()); err != nil {
		t.Error(err)
	}
	if r, _ := s.request(); r.ProtoMajor != 2 {
		t.Errorf("over %s", r.Proto)
	}
	s.answer[clientPost] = func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	if _, err := s.client().Exchange(t.Context()); !errors.Is(err, exchange.ErrLost) || !errors.Is(err, exchange.ErrConnection) {
		t.Errorf("lost over HTTP/2: %v", err)
	}
	c := s.client()
	c.Token = clientSource(t)
	s.md["token_endpoint"] = strings.Replace(s.URL, "https", "http", 1)
	if _, err := c.Exchange(t.Context()); err == nil || !strings.Contains(err.Error(), "https") {
		t.Errorf("plain token endpoint: %v", err)
	}
	c.HTTP = nil // which does not know the certificate
	if _, err := c.Exchange(t.Context()); !errors.Is(err, exchange.ErrConnection) || errors.Is(err, exchange.ErrLost) {
		t.Errorf("unknown certificate: %v", err)
	}
}

func TestClientDiscovery(t *testing.T) {
	appended, inserted := "GET /p/.well-known/oauth-authorization-server", "GET /.well-known/oauth-authorization-server/p"
	for _, tt := range []struct {
		name    string
		path    string
		answers map[string]http.HandlerFunc // nil: the metadata
		seen    []string
		want    func(error) bool
	}{
		{"appended", "/p", map[string]http.HandlerFunc{appended: nil}, []string{appended}, clientGood},
		{"appended to a slash", "/p/", map[string]http.HandlerFunc{appended: nil}, []string{appended}, clientGood},
		{"inserted", "/p/", map[string]http.HandlerFunc{inserted: nil}, []string{appended, inserted}, clientGood},
		{"none", "/p", nil, []string{appended, inserted}, clientIs(exchange.ErrUnsupported)},
		{"none without a path", "/", nil, []string{"GET /.well-known/oauth-authorization-server"}, clientIs(exchange.ErrUnsupported)},
		{"an error is no absence", "/p", map[string]http.HandlerFunc{appended: clientAnswer(500, `{}`), inserted: nil}, []string{appended}, clientStatus(500)},
		{"201", "/p", map[string]http.HandlerFunc{appended: clientAnswer(201, `{}`)}, []string{appended}, clientStatus(201)},
		{"a page", "/p", map[string]http.HandlerFunc{appended: clientAnswer(200, `{}`, "Content-Type", "text/html")}, []string{appended}, clientIs(exchange.ErrUnsupported)},
		{"64 KiB", "/p", map[string]http.HandlerFunc{appended: clientAnswer(200, clientLong)}, []string{appended}, clientIs(exchange.ErrUnsupported)},
		{"no object", "/p", map[string]http.HandlerFunc{appended: clientAnswer(200, `[]`)}, []string{appended}, clientIs(exchange.ErrUnsupported)},
		{"a redirect on the host", "/p", map[string]http.HandlerFunc{appended: clientAnswer(307, ``, "Location", "/m"), "GET /m": nil}, []string{appended, "GET /m"}, clientGood},
		{"a redirect to another host", "/p", map[string]http.HandlerFunc{appended: clientAnswer(302, ``, "Location", "http://localhost:1/m")}, []string{appended}, clientStatus(302)},
		{"a redirect to another scheme", "/p", map[string]http.HandlerFunc{appended: clientAnswer(302, ``, "Location", "SCHEME")}, []string{appended}, clientStatus(302)},
		{"a circle", "/p", map[string]http.HandlerFunc{appended: clientAnswer(302, ``, "Location", "#")}, slices.Repeat([]string{appended}, 6), clientStatus(302)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newClientServer(t, (*httptest.Server).Start)
			delete(s.answer, appended)
			for at, answer := range tt.answers {
				if s.answer[at] = answer; answer == nil {
					s.answer[at] = s.metadata
				}
			}
			if tt.name == "a redirect to another scheme" {
				s.answer[appended] = clientAnswer(302, ``, "Location", strings.Replace(s.URL, "http", "https", 1))
			}
			c := s.client()
			c.URL = s.URL + tt.path
			if _, err := c.Discover(t.Context()); !tt.want(err) || !slices.Equal(s.asked(), tt.seen) {
				t.Errorf("got %v after %q", err, s.asked())
			}
		})
	}
}

func clientGood(err error) bool { return err == nil }

func clientIs(want error) func(error) bool {
	return func(err error) bool { return errors.Is(err, want) }
}

func clientStatus(status int, words ...string) func(error) bool {
	return func(err error) bool {
		e, ok := errors.AsType[*exchange.StatusError](err)
		return ok && e.Status == status && (len(words) == 0 || slices.Equal(words, []string{e.Code, e.Description}))
	}
}

// clientLost: no key, and not because of the network unless told so.
func clientLost(network bool) func(error) bool {
	return func(err error) bool {
		return errors.Is(err, exchange.ErrLost) && errors.Is(err, exchange.ErrConnection) == network && strings.Contains(err.Error(), "may have been made")
	}
}

func clientCut(status int) http.HandlerFunc {
	return clientAnswer(status, `{"access_token":"kw_1"}`, "Content-Length", "100")
}

func clientEndless(w http.ResponseWriter, r *http.Request) {
	clientAnswer(200, clientLong)(w, r)
	for blanks := []byte(clientLong[20:]); r.Context().Err() == nil; {
		w.Write(blanks)
	}
}

func TestClientAnswers(t *testing.T) {
	grant := func(description string) string {
		return fmt.Sprintf(`{"error":"invalid_grant","error_description":%q}`, description)
	}
	only := func(want error) func(error) bool {
		return func(err error) bool {
			for _, one := range []error{exchange.ErrAmbiguous, exchange.ErrVerification, exchange.ErrNoMatch, exchange.ErrLost, exchange.ErrUnsupported} {
				if errors.Is(err, one) != (one == want) {
					return false
				}
			}
			return true
		}
	}
	html := []string{"Content-Type", "text/html"}
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   func(error) bool
	}{
		{"ambiguous", clientAnswer(400, grant("an Ambiguous match, could not verify")), only(exchange.ErrAmbiguous)},
		{"verification", clientAnswer(400, grant("could not VERIFy token signature")), only(exchange.ErrVerification)},
		{"no match", clientAnswer(400, grant("no service principal found")), only(exchange.ErrNoMatch)},
		{"no description", clientAnswer(400, `{"error":"invalid_grant"}`), only(exchange.ErrNoMatch)},
		{"ambiguous far behind", clientAnswer(400, grant(strings.Repeat("x", 999)+"ambiguous")), only(exchange.ErrAmbiguous)},
		{"another code", clientAnswer(400, `{"error":"invalid_request","error_description":"ambiguous"}`), clientStatus(400, "invalid_request", "ambiguous")},
		{"another status", clientAnswer(401, grant("ambiguous")), clientStatus(401, "invalid_grant", "ambiguous")},
		{"no JSON", clientAnswer(400, grant("ambiguous"), html...), clientStatus(400, "", "")},
		{"404", clientAnswer(404, ``), clientStatus(404, "", "")},
		{"307", clientAnswer(307, ``, "Location", "/p/elsewhere"), clientStatus(307)},
		{"303", clientAnswer(303, ``, "Location", "/p/elsewhere"), clientStatus(303)},
		{"500 with a key", clientAnswer(500, `{"access_token":"k"}`), clientStatus(500)},
		{"429 without Retry-After", clientAnswer(429, `{}`), clientStatus(429)},
		{"words made printable", clientAnswer(400, `{"error":"a\u0000\nb","error_description":"c\u001b[31m\u202ed"}`), clientStatus(400, "ab", "c[31md")},
		{"words cut", clientAnswer(400, `{"error":"e","error_description":"`+strings.Repeat("ä", 300)+`"}`), clientStatus(400, "e", strings.Repeat("ä", 200)+"…")},
		{"success without a key", clientAnswer(200, `{}`), clientLost(false)},
		{"success with an empty key", clientAnswer(200, `{"access_token":""}`), clientLost(false)},
		{"success with a number", clientAnswer(200, `{"access_token":5}`), clientLost(false)},
		{"a key with a line break", clientAnswer(200, `{"access_token":"k\r\nX: y"}`), clientLost(false)},
		{"a key outside ASCII", clientAnswer(200, `{"access_token":"kü"}`), clientLost(false)},
		{"success in HTML", clientAnswer(200, `{"access_token":"k"}`, html...), clientLost(false)},
		{"success of 64 KiB", clientAnswer(200, clientLong), clientLost(false)},
		{"success without end", clientEndless, clientLost(false)},
		{"success cut short", clientCut(200), clientLost(true)},
		{"failure cut short", clientCut(400), clientStatus(400)},
		{"no answer", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, clientLost(true)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newClientServer(t, (*httptest.Server).Start)
			s.answer[clientPost] = tt.answer
			key, err := s.client().Exchange(t.Context())
			if key.Text != "" || err == nil || !tt.want(err) || s.posts() != 1 || len(s.asked()) != 2 {
				t.Errorf("got %q, %v after %q", key.Text, err, s.asked())
			}
		})
	}
}

func TestClientConnection(t *testing.T) {
	s := newClientServer(t, (*httptest.Server).Start)
	dead := httptest.NewServer(nil)
	dead.Close()
	s.md["token_endpoint"] = dead.URL
	if _, err := s.client().Exchange(t.Context()); !errors.Is(err, exchange.ErrConnection) || errors.Is(err, exchange.ErrLost) {
		t.Errorf("refused: got %v, want ErrConnection alone, for nothing was sent", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.client().Discover(ctx); !errors.Is(err, exchange.ErrConnection) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want ErrConnection and its cause", err)
	}
	c := s.client()
	c.HTTP = &http.Client{Transport: clientTrip(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodPost {
			return nil, io.ErrUnexpectedEOF
		}
		return http.DefaultTransport.RoundTrip(r)
	})}
	if _, err := c.Exchange(t.Context()); !clientLost(true)(err) {
		t.Errorf("a transport that does not tell what it did: %v", err)
	}
}

type clientTrip func(*http.Request) (*http.Response, error)

func (f clientTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestClientRetries(t *testing.T) {
	for _, tt := range []struct {
		name    string
		status  int
		after   string // AT+n: n seconds from now, as a date
		busy    int    // how often the server is
		timeout time.Duration
		posts   int
		waited  time.Duration
		good    bool
	}{
		{"once", 503, "3", 1, 0, 2, 3 * time.Second, true},
		{"at once", 429, "0", 1, 0, 2, 0, true},
		{"twice", 429, "30", 2, 0, 3, time.Minute, true},
		{"three times", 429, "1", 3, 0, 3, 2 * time.Second, false},
		{"too long", 503, "31", 1, 0, 1, 0, false},
		{"no time", 503, "soon", 1, 0, 1, 0, false},
		{"negative", 503, "-1", 1, 0, 1, 0, false},
		{"another status", 500, "1", 1, 0, 1, 0, false},
		{"a date", 503, "AT+20", 1, 0, 2, 20 * time.Second, true},
		{"a date that is over", 503, "AT-20", 1, 0, 2, 0, true},
		{"a date far off", 503, "AT+40", 1, 0, 1, 0, false},
		{"a deadline before", 503, "20", 1, 10 * time.Second, 1, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				posts, bodies, asked := 0, map[string]bool{}, time.Time{}
				respond := func(w *httptest.ResponseRecorder, r *http.Request) {
					if r.Method == http.MethodGet {
						clientAnswer(200, `{"issuer":"https://h","token_endpoint":"https://h/t"}`)(w, r)
						return
					}
					body, _ := io.ReadAll(r.Body)
					bodies[string(body)] = true
					asked = time.Now()
					time.Sleep(time.Second)
					after := tt.after
					if offset, ok := strings.CutPrefix(after, "AT"); ok {
						d, _ := time.ParseDuration(offset + "s")
						after = time.Now().Add(d).UTC().Format(http.TimeFormat)
					}
					if posts++; posts <= tt.busy {
						clientAnswer(tt.status, `{}`, "Retry-After", after)(w, r)
						return
					}
					clientAnswer(200, `{"access_token":"k","expires_in":5}`)(w, r)
				}
				c := exchange.Client{URL: "https://h", Token: func(context.Context, string) (string, error) { return clientToken, nil }}
				c.HTTP = &http.Client{Transport: clientTrip(func(r *http.Request) (*http.Response, error) {
					w := httptest.NewRecorder()
					respond(w, r)
					return w.Result(), nil
				})}
				ctx, cancel := context.WithTimeout(t.Context(), cmp.Or(tt.timeout, time.Hour))
				defer cancel()
				start := time.Now()
				key, err := c.Exchange(ctx)
				waited := time.Since(start) - time.Duration(posts)*time.Second // which each post takes
				if err == nil && !key.Expires.Equal(asked.Add(5*time.Second)) {
					t.Errorf("expires %v, asked %v", key.Expires, asked)
				}
				if (err == nil) != tt.good || !tt.good && !clientStatus(tt.status)(err) || posts != tt.posts || waited != tt.waited || len(bodies) != 1 {
					t.Errorf("got %v after %d posts and %v", err, posts, waited)
				}
			})
		})
	}
}

// The identity token and the key do not travel in the clear, except within a machine.
func TestClientWantsHTTPS(t *testing.T) {
	token := func(context.Context, string) (string, error) { return clientToken, nil }
	for _, at := range []string{"http://connect.example", "http://127.0.0.1.example", "http://192.0.2.1:8080"} {
		c := exchange.Client{URL: at, Token: token}
		if _, err := c.Exchange(t.Context()); err == nil || !strings.Contains(err.Error(), "https") {
			t.Errorf("%s: got %v, want an error that asks for https", at, err)
		}
		if err := c.Check(t.Context(), "key"); err == nil || !strings.Contains(err.Error(), "https") {
			t.Errorf("check at %s: got %v, want an error that asks for https", at, err)
		}
	}
}

func TestClientEndpointInTheClear(t *testing.T) {
	var srv *httptest.Server
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"issuer":%q,"token_endpoint":"http://connect.example/token"}`, srv.URL)
	}))
	defer srv.Close()
	if _, err := (exchange.Client{URL: srv.URL}).Discover(t.Context()); err == nil || !strings.Contains(err.Error(), "not on this machine") {
		t.Errorf("got %v, want the endpoint refused", err)
	}
}
