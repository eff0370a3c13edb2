package agentauth_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keywright/keywright/agentauth"
)

// behind is a refusal by a server whose clock is so much behind.
func behind(d time.Duration) reply {
	r := refusal("error=clock_skew")
	r.header.Set("Date", time.Now().Add(-d).UTC().Format(http.TimeFormat))
	return r
}

func TestRefusalsAreMendedOnce(t *testing.T) {
	input := func(names string) reply { return refusal("error=invalid_input, required_input=(" + names + ")") }
	usual := `"@method" "@authority" "@path" "signature-key"`
	for name, c := range map[string]struct {
		replies func() []reply // made when the clock runs
		sent    int
		status  int
		took    time.Duration // at least, and less than a second more
		covered string        // beside the usual; by the last
	}{
		"components":                             {func() []reply { return []reply{input(usual + ` "@query"`)} }, 2, 200, 0, "@query"},
		"a field that is there":                  {func() []reply { return []reply{input(usual + ` "x-a" "cookie"`)} }, 2, 200, 0, "x-a cookie"},
		"the digest of no body":                  {func() []reply { return []reply{input(`"content-digest"`)} }, 2, 200, 0, "content-digest"},
		"a field that is not there":              {func() []reply { return []reply{input(`"@query" "x-b"`)} }, 1, 401, 0, ""},
		"a field in two lines":                   {func() []reply { return []reply{input(`"x-two"`)} }, 1, 401, 0, ""},
		"a field of the connection":              {func() []reply { return []reply{input(`"connection"`)} }, 1, 401, 0, ""},
		"the signature":                          {func() []reply { return []reply{input(`"signature"`)} }, 1, 401, 0, ""},
		"an unknown component":                   {func() []reply { return []reply{input(`"@status"`)} }, 1, 401, 0, ""},
		"a host":                                 {func() []reply { return []reply{input(`"host"`)} }, 1, 401, 0, ""},
		"a component with a parameter":           {func() []reply { return []reply{input(`"x-a" "@query-param";name="a"`)} }, 1, 401, 0, ""},
		"what is covered already":                {func() []reply { return []reply{input(usual)} }, 1, 401, 0, ""},
		"no components":                          {func() []reply { return []reply{refusal("error=invalid_input")} }, 1, 401, 0, ""},
		"a number of components":                 {func() []reply { return []reply{refusal("error=invalid_input, required_input=5")} }, 1, 401, 0, ""},
		"more than are learned":                  {func() []reply { return []reply{input(`"x-1" "x-2" "x-3" "x-4" "x-5" "x-6" "x-7" "x-8" "x-9"`)} }, 1, 401, 0, ""},
		"components, and then others":            {func() []reply { return []reply{input(`"@query"`), input(`"x-a"`)} }, 2, 401, 0, "@query"},
		"a signature":                            {func() []reply { return []reply{refusal("error=invalid_signature")} }, 2, 200, 600 * time.Millisecond, ""},
		"as a bare token":                        {func() []reply { return []reply{refusal("invalid_signature")} }, 2, 200, 600 * time.Millisecond, ""},
		"a signature, twice":                     {func() []reply { return []reply{refusal("error=invalid_signature"), refusal("error=invalid_signature")} }, 2, 401, 600 * time.Millisecond, ""},
		"a clock":                                {func() []reply { return []reply{behind(70 * time.Second)} }, 2, 200, 11 * time.Second, ""},
		"a clock, twice":                         {func() []reply { return []reply{behind(70 * time.Second), behind(60 * time.Second)} }, 2, 401, 11 * time.Second, ""},
		"a clock with a narrow window":           {func() []reply { return []reply{behind(10 * time.Second)} }, 2, 200, 11 * time.Second, ""},
		"a clock as far behind as is waited for": {func() []reply { return []reply{behind(88 * time.Second)} }, 2, 200, 29 * time.Second, ""},
		"a clock too far behind":                 {func() []reply { return []reply{behind(91 * time.Second)} }, 1, 401, 0, ""},
		"a clock with a window not known":        {func() []reply { return []reply{behind(50 * time.Second)} }, 1, 401, 0, ""},
		"a clock that is right":                  {func() []reply { return []reply{behind(-2 * time.Second)} }, 1, 401, 0, ""},
		"a clock ahead":                          {func() []reply { return []reply{behind(-70 * time.Second)} }, 1, 401, 0, ""},
		"a clock that is not shown":              {func() []reply { return []reply{refusal("error=clock_skew")} }, 1, 401, 0, ""},
		"a token where there is none":            {func() []reply { return []reply{refusal("error=expired_jwt")} }, 1, 401, 0, ""},
		"an unknown code":                        {func() []reply { return []reply{refusal("error=unknown_key")} }, 1, 401, 0, ""},
		"in two fields": {func() []reply {
			return []reply{{401, http.Header{"Signature-Error": {"error=invalid_signature", "error=clock_skew"}}}}
		}, 1, 401, 0, ""},
		"not a dictionary":              {func() []reply { return []reply{refusal("error=(")} }, 1, 401, 0, ""},
		"longer than is read":           {func() []reply { return []reply{refusal("error=invalid_signature, a=" + strings.Repeat("a", 16<<10))} }, 1, 401, 0, ""},
		"with a status that is another": {func() []reply { r := input(`"@query"`); r.status = 403; return []reply{r} }, 1, 403, 0, ""},
		"with success":                  {func() []reply { r := refusal("error=invalid_signature"); r.status = 200; return []reply{r} }, 1, 200, 0, ""},
		"a server that has no time":     {func() []reply { return []reply{{429, nil}} }, 1, 429, 0, ""},
		"a server in trouble":           {func() []reply { return []reply{{503, nil}} }, 1, 503, 0, ""},
		"all at once": {func() []reply {
			return []reply{input(`"@query"`), refusal("error=invalid_signature"), behind(10 * time.Second), input(`"x-a"`)}
		}, 4, 401, 12 * time.Second, "@query"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(300 * time.Millisecond) // not at the beginning of a second
				s := &stage{replies: c.replies()}
				r := clientRequest(t, "GET", "https://resource.example/a?b", "")
				r.Header = http.Header{"X-A": {"a"}, "Cookie": {"a=b"}, "Connection": {"close"}, "X-Two": {"a", "b"}}
				for _, n := range "123456789" {
					r.Header.Set("X-"+string(n), "a")
				}
				began := time.Now()
				resp, err := signingTransport(t, s, nil).RoundTrip(r)
				must(t, err)
				if took := time.Since(began); took < c.took || took >= c.took+time.Second {
					t.Errorf("took %v", took)
				}
				if body, _ := io.ReadAll(resp.Body); resp.StatusCode != c.status || string(body) != "the answer" {
					t.Errorf("%d %q, want %d", resp.StatusCode, body, c.status)
				}
				if len(s.seen) != c.sent {
					t.Fatalf("%d sent, want %d", len(s.seen), c.sent)
				}
				if got := strings.Join(coveredBy(s.seen[c.sent-1])[4:], " "); got != c.covered {
					t.Errorf("covered %q, want %q", got, c.covered)
				}
			})
		})
	}
}

func TestWhatIsSentAgain(t *testing.T) {
	for name, c := range map[string]struct {
		reply func() reply
		same  bool
	}{
		"signed anew":  {func() reply { return refusal("error=invalid_signature") }, false},
		"as it was":    {func() reply { return behind(10 * time.Second) }, true},
		"with another": {func() reply { return refusal(`error=invalid_input, required_input=("@query")`) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &stage{replies: []reply{c.reply()}}
				_, err := signingTransport(t, s, nil).RoundTrip(clientRequest(t, "POST", "https://resource.example/a", "body"))
				must(t, err)
				if len(s.seen) != 2 || s.bodies[0] != "body" || s.bodies[1] != "body" {
					t.Fatalf("sent %q", s.bodies)
				}
				if same := s.seen[0].Header.Get("Signature") == s.seen[1].Header.Get("Signature"); same != c.same {
					t.Errorf("the same signature: %v", same)
				}
			})
		})
	}
}

func TestComponentsAreLearned(t *testing.T) {
	s := &stage{replies: []reply{refusal(`error=invalid_input, required_input=("@query" "x-a")`), {status: 200}}}
	transport := signingTransport(t, s, func(c *agentauth.TransportConfig) {
		c.Origins = append(c.Origins, "https://other.example")
		c.Components = []string{"date"}
	})
	ask := func(url, header string) []string {
		r := clientRequest(t, "GET", url, "")
		r.Header.Set("Date", "today")
		if header != "" {
			r.Header.Set(header, "a")
		}
		_, err := transport.RoundTrip(r)
		must(t, err)
		return coveredBy(s.seen[len(s.seen)-1])[4:]
	}
	for _, c := range []struct{ url, header, want string }{
		{"https://resource.example/a", "X-A", "date @query x-a"},
		{"https://resource.example/b", "X-A", "date @query x-a"},
		{"https://resource.example/b", "", "date @query"}, // as far as there is
		{"https://other.example/a", "X-A", "date"},
	} {
		if got := strings.Join(ask(c.url, c.header), " "); got != c.want {
			t.Errorf("%s with %q: %s, want %s", c.url, c.header, got, c.want)
		}
	}
	if len(s.seen) != 5 {
		t.Errorf("%d sent", len(s.seen))
	}
	// A server that wants ever more is not followed for ever.
	for _, names := range []string{`"x-1" "x-2" "x-3" "x-4"`, `"x-5" "x-6" "x-7" "x-8"`} {
		s.replies = []reply{refusal("error=invalid_input, required_input=(" + names + ")")}
		r := clientRequest(t, "GET", "https://resource.example/c", "")
		r.Header.Set("Date", "today")
		for _, n := range "12345678" {
			r.Header.Set("X-"+string(n), "a")
		}
		_, err := transport.RoundTrip(r)
		must(t, err)
	}
	if got := strings.Join(coveredBy(s.seen[len(s.seen)-1])[4:], " "); got != "date x-5 x-6 x-7 x-8" {
		t.Errorf("covered %s", got)
	}
}

func TestConfiguredComponentsMustBeThere(t *testing.T) {
	transport := signingTransport(t, new(stage), func(c *agentauth.TransportConfig) { c.Components = []string{"x-a"} })
	if _, err := transport.RoundTrip(clientRequest(t, "GET", "https://resource.example/a", "")); err == nil || !strings.Contains(err.Error(), "x-a") {
		t.Errorf("sent without: %v", err)
	}
}

// TestWaitingEndsWithTheContext: who cannot wait gets the answer at once.
func TestWaitingEndsWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		s := &stage{replies: []reply{behind(10 * time.Second)}}
		began := time.Now()
		resp, err := signingTransport(t, s, nil).RoundTrip(clientRequest(t, "GET", "https://resource.example/a", "").WithContext(ctx))
		if err != nil || resp.StatusCode != 401 || time.Since(began) > 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
