package agentauth_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keywright/keywright/agentauth"
)

// personRefusal is why the person server has granted nothing, if it has not.
func personRefusal(err error) string {
	if e, ok := errors.AsType[*agentauth.StatusError](err); ok {
		return strings.TrimSpace(http.StatusText(e.Status) + " " + e.Code)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "deadline"
	}
	if err != nil {
		return "other: " + err.Error()
	}
	return ""
}

// TestWaiting: a request that was put off is polled until it is decided, no faster
// than the server wants. The first answers are those of the person leg.
func TestWaiting(t *testing.T) {
	const approval = "requirement=approval"
	endless := make([]scripted, 1000)
	for i := range endless {
		endless[i] = scripted{202, approval, "", `{"status":"pending"}`}
	}
	for name, tt := range map[string]struct {
		script []scripted
		took   time.Duration
		want   string
	}{
		"at once":                   {[]scripted{{202, approval, "0", ""}}, 0, ""},
		"5 seconds by default":      {[]scripted{{202, approval, "", ""}}, 5 * time.Second, ""},
		"as the server says":        {[]scripted{{202, approval, "7", ""}, {202, approval, "2", ""}}, 9 * time.Second, ""},
		"no busy loop":              {[]scripted{{202, approval, "0", ""}, {202, approval, "0", ""}, {202, approval, "0", ""}}, 2 * time.Second, ""},
		"any status":                {[]scripted{{202, approval, "1", `{"status":"interacting"}`}, {202, approval, "1", `{"status":"dreaming"}`}}, 2 * time.Second, ""},
		"an unknown requirement":    {[]scripted{{202, "requirement=dance", "1", ""}}, time.Second, ""},
		"no requirement on polls":   {[]scripted{{202, approval, "1", ""}, {202, "", "", ""}}, 2 * time.Second, ""},
		"too fast":                  {[]scripted{{202, approval, "1", ""}, {429, "", "", `{"error":"slow_down"}`}, {202, approval, "", ""}}, 1*time.Second + 6*time.Second + 6*time.Second, ""},
		"too fast, and how long":    {[]scripted{{202, approval, "1", ""}, {429, "", "30", `{"error":"slow_down"}`}}, 31 * time.Second, ""},
		"unreachable":               {[]scripted{{202, approval, "1", ""}, {502, "", "", `{"error":"as_unreachable"}`}}, 2 * time.Second, ""},
		"busy":                      {[]scripted{{202, approval, "1", ""}, {503, "", "9", ""}}, 10 * time.Second, ""},
		"denied":                    {[]scripted{{202, approval, "1", ""}, {403, "", "", `{"error":"denied"}`}}, time.Second, "Forbidden denied"},
		"expired":                   {[]scripted{{202, approval, "1", ""}, {408, "", "", `{"error":"expired"}`}}, time.Second, "Request Timeout expired"},
		"gone":                      {[]scripted{{202, approval, "1", ""}, {410, "", "", `{"error":"invalid_code"}`}}, time.Second, "Gone invalid_code"},
		"not found":                 {[]scripted{{202, approval, "1", ""}, {404, "", "", `{"error":"not_found"}`}}, time.Second, "Not Found not_found"},
		"broken":                    {[]scripted{{202, approval, "1", ""}, {500, "", "", `{"error":"server_error"}`}}, time.Second, "Internal Server Error server_error"},
		"a gateway":                 {[]scripted{{202, approval, "1", ""}, {502, "", "", ""}}, time.Second, "Bad Gateway"},
		"former texts":              {[]scripted{{202, approval, "1", ""}, {403, "", "", `{"error":"denied","error_description":"no"}`}}, time.Second, "Forbidden denied"},
		"nobody decides":            {endless, 15*time.Minute - 5*time.Second, "deadline"},
		"longer than there is time": {[]scripted{{202, approval, "86400", ""}}, 0, "deadline"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newErrandWorld(t, nil)
				w.desk.script = tt.script
				began := time.Now()
				status, err := w.fetch(shopURL)
				if got := personRefusal(err); got != tt.want || (err == nil) != (status == 200) {
					t.Errorf("got %d, %v, want %q", status, err, tt.want)
				}
				if took := time.Since(began); took != tt.took {
					t.Errorf("took %v, want %v", took, tt.took)
				}
			})
		})
	}
}

func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newErrandWorld(t, func(c *agentauth.PersonServerConfig) { c.Patience = time.Minute })
		for range 100 {
			w.desk.script = append(w.desk.script, scripted{202, "requirement=approval", "", ""})
		}
		began := time.Now()
		_, err := w.fetch(shopURL)
		refusedAs(t, "one minute", 0, err, "person-token", "in time")
		if took := time.Since(began); took > time.Minute || took < 50*time.Second {
			t.Errorf("took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "GET", shopURL, nil)
		must(t, err)
		began = time.Now()
		if _, err = w.client.Do(req); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 12*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
	})
}

// TestPlacesToWaitAt: a server names places of its own alone.
func TestPlacesToWaitAt(t *testing.T) {
	for location, good := range map[string]bool{
		"/pending/1": true, "https://ps.example/pending/1": true, "https://PS.example/pending/1": true, "1?a=b": true,
		"": false, "https://other.example/pending/1": false, "http://ps.example/pending/1": false, "//other.example/": false,
		"https://ps.example:444/": false, "https://u:p@ps.example/pending/1": false, "https://ps.example.other.example/": false, ":": false,
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newErrandWorld(t, nil)
			w.servers["other.example"] = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it went there") })
			inner := w.servers["ps.example"]
			w.servers["ps.example"] = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/person" && r.Method == "POST" {
					rw = relocated{rw, location}
				}
				inner.ServeHTTP(rw, r)
			})
			w.servers["PS.example"] = inner
			w.desk.script = []scripted{{202, "requirement=approval", "0", ""}}
			if status, err := w.fetch(shopURL); (status == 200) != good {
				t.Errorf("%q: %d, %v", location, status, err)
			}
		})
	}
}

// A relocated answers with another Location.
type relocated struct {
	http.ResponseWriter
	location string
}

// WriteHeader implements [http.ResponseWriter].
func (r relocated) WriteHeader(status int) {
	r.Header().Set("Location", r.location)
	if r.location == "" {
		r.Header().Del("Location")
	}
	r.ResponseWriter.WriteHeader(status)
}

// TestLostPolls: the way to the server may fail, but not for long.
func TestLostPolls(t *testing.T) {
	for lost, want := range map[int]string{1: "", 3: "", 4: "other"} {
		synctest.Test(t, func(t *testing.T) {
			left := lost
			w := newErrandWorld(t, nil)
			w.person.HTTP = &http.Client{Transport: lossy(func(r *http.Request) (*http.Response, error) {
				if strings.HasPrefix(r.URL.Path, "/pending") && left > 0 {
					left--
					return nil, errors.New("no route")
				}
				return w.servers.RoundTrip(r)
			})}
			identity, err := agentauth.FixedIdentity(w.agent, agentauth.SignOptions{Token: w.token})
			must(t, err)
			w.client = w.as(identity)
			w.desk.script = []scripted{{202, "requirement=approval", "1", ""}}
			if _, err := w.fetch(shopURL); !strings.HasPrefix(personRefusal(err), want) || (err == nil) != (want == "") {
				t.Errorf("%d lost: %v", lost, err)
			}
		})
	}
}

type lossy func(r *http.Request) (*http.Response, error)

// RoundTrip implements [http.RoundTripper].
func (l lossy) RoundTrip(r *http.Request) (*http.Response, error) { return l(r) }

// TestKeyTurnsWhileWaiting: a request is polled for with the key that has made it.
func TestKeyTurnsWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newErrandWorld(t, nil)
		other := newEd25519(t)
		identity := &turning{now: credentialOf(w.agent, w.token)}
		next := credentialOf(other, w.enroll(other, `{"agent_id":"aauth:second@ap.example","ps":"https://ps.example"}`))
		w.client = w.as(identity)
		w.desk.script = []scripted{{202, "requirement=approval", "5", ""}, {200, "", "", "{}"}}
		time.AfterFunc(time.Second, func() { identity.turn(next) })
		_, err := w.fetch(shopURL)
		refusedAs(t, "an empty grant", 0, err, "person-token", "without it")
		if h := w.desk.headers; len(h) != 2 || h[0].Get("Signature-Key") != h[1].Get("Signature-Key") {
			t.Errorf("%d requests, by two keys", len(h))
		}
	})
}
