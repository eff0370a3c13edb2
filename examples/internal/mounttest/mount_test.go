package mounttest

import (
	"bufio"
	"errors"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/bootstrap"
)

func (a *app) token(t *testing.T) string {
	t.Helper()
	token, err := bootstrap.Client{Secret: a.secret}.Token(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return "Connect-Bootstrap " + token
}

func TestBootstrapThenWhoami(t *testing.T) {
	forEach(t, false, func(t *testing.T, a *app, base string) {
		c := bootstrap.Client{URL: base, Secret: a.secret}
		if res, _ := send(t, "POST", base+bootstrap.Path, "Connect-Bootstrap x.y.z"); res.StatusCode != 401 {
			t.Errorf("bad token: got %d, want 401", res.StatusCode)
		}
		key, err := c.Bootstrap(t.Context())
		if err != nil {
			t.Fatalf("good token: %v", err)
		}
		if _, err := c.Bootstrap(t.Context()); !errors.Is(err, bootstrap.ErrClaimed) {
			t.Errorf("second token: got %v, want ErrClaimed", err)
		}
		res, body := send(t, "GET", base+"/whoami", "Key "+key)
		if want := `{"ok":true,"subject":"` + bootstrap.DefaultSubject + `"}` + "\n"; res.StatusCode != 200 || body != want {
			t.Errorf("whoami: got %d %s, want 200 %s", res.StatusCode, body, want)
		}
		if res, body := send(t, "GET", base+"/whoami", ""); res.StatusCode != 401 || strings.Contains(body, "subject") {
			t.Errorf("whoami without a key: got %d %s, want 401 from keywright alone", res.StatusCode, body)
		}
	})
}

func TestOtherMethodsAreRefusedByTheEndpoint(t *testing.T) {
	forEach(t, false, func(t *testing.T, a *app, base string) {
		for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} {
			res, _ := send(t, method, base+bootstrap.Path, a.token(t))
			got := []string{res.Status[:3], res.Header.Get("Allow"), res.Header.Get("Content-Type")}
			if diff := cmp.Diff([]string{"405", "POST", "application/problem+json"}, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", method, diff)
			}
		}
	})
}

func TestDisabledIsNotThere(t *testing.T) {
	forEach(t, true, func(t *testing.T, a *app, base string) {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} {
			if res, _ := send(t, method, base+bootstrap.Path, a.token(t)); res.StatusCode != 404 {
				t.Errorf("%s: got %d, want 404", method, res.StatusCode)
			}
		}
	})
}

// No spelling of the path makes a machine client repeat its POST as a GET. 401
// means that the endpoint was reached.
func TestNoSpellingRedirectsAPost(t *testing.T) {
	const endpoint = "/__api__/v1/experimental/bootstrap"
	tests := []struct {
		path string // below the prefix
		want map[string]int
	}{
		{endpoint, all(401)},
		{endpoint + "?a=b", all(401)},
		{"/" + endpoint, all(401)},
		{"//" + endpoint, all(401)},
		{"/__api__//v1///experimental/bootstrap", all(401)},
		{endpoint + "/", all(404)},
		{endpoint + "//", all(404)},
		{"/" + endpoint + "/", all(404)},
		{endpoint + "/?a=b", all(404)},
		{"/." + endpoint, all(404)},
		{"/x/.." + endpoint, all(404)},
		{endpoint + "/.", all(404)},
		{endpoint + "/x/..", all(404)},
		{"/__api__/v1/./experimental/../experimental/bootstrap", all(404)},
		{"/__API__/v1/experimental/Bootstrap", all(404)},
		{"/tree", map[string]int{"ServeMux": 405, "chi": 405, "gin": 404}},
		{"/tree//", map[string]int{"ServeMux": 405, "chi": 404, "gin": 404}},
		// An escaped slash belongs to its segment, or does not: the router decides.
		{"/__api__/v1/experimental%2Fbootstrap", map[string]int{"ServeMux": 404, "chi": 404, "gin": 401}},
		{"/__api__/v1/experimental%2fbootstrap/", all(404)},
		{"/__api__/v1/experimental/boot%73trap", map[string]int{"ServeMux": 401, "chi": 404, "gin": 401}},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			forEach(t, false, func(t *testing.T, a *app, base string) {
				res, _ := send(t, "POST", base+tt.path, "Connect-Bootstrap x.y.z")
				if res.StatusCode != tt.want[a.router] || res.Header.Get("Location") != "" {
					t.Errorf("got %d to %q, want %d", res.StatusCode, res.Header.Get("Location"), tt.want[a.router])
				}
			})
		})
	}
}

func all(status int) map[string]int {
	return map[string]int{"ServeMux": status, "chi": status, "gin": status}
}

func TestOtherRedirectsPass(t *testing.T) {
	forEach(t, false, func(t *testing.T, _ *app, base string) {
		res, _ := send(t, "POST", base+"/moved", "")
		if got := res.Header.Get("Location"); res.StatusCode != 307 || got != "/elsewhere" {
			t.Errorf("POST /moved: got %d to %q, want 307 to /elsewhere", res.StatusCode, got)
		}
		u, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		res, _ = send(t, "GET", base+"/tree", "")
		if got := res.Header.Get("Location"); res.StatusCode/100 != 3 || got != u.Path+"/tree/" {
			t.Errorf("GET /tree: got %d to %q, want a redirect to %s/tree/", res.StatusCode, got, u.Path)
		}
	})
}

func TestStreamArrivesBeforeItsEnd(t *testing.T) {
	forEach(t, false, func(t *testing.T, a *app, base string) {
		res, err := client.Post(base+"/stream", "", nil)
		if err != nil {
			t.Fatalf("the first half did not arrive: %v", err)
		}
		defer res.Body.Close()
		body := bufio.NewReader(res.Body)
		if line, err := body.ReadString('\n'); err != nil || line != "first\n" {
			t.Fatalf("got %q, %v, want the first line", line, err)
		}
		close(a.stream)
		if rest, err := io.ReadAll(body); err != nil || string(rest) != "last\n" {
			t.Errorf("got %q, %v, want the last line", rest, err)
		}
	})
}

func TestAbortHandlerCutsTheConnection(t *testing.T) {
	forEach(t, false, func(t *testing.T, _ *app, base string) {
		res, err := client.Post(base+"/abort", "", nil)
		if err == nil {
			defer res.Body.Close()
			_, err = io.ReadAll(res.Body)
		}
		if err == nil {
			t.Error("the answer came whole, want an error")
		}
		if res, _ := send(t, "GET", base+"/whoami", ""); res.StatusCode != 401 {
			t.Errorf("afterwards: got %d, want 401", res.StatusCode)
		}
	})
}
