package egress_test

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keywright/keywright/internal/egress"
)

func TestRedirects(t *testing.T) {
	elsewhere := listen(t)
	var requests atomic.Int64
	srv, c := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if r.Header.Get("Referer") != "" {
			t.Error("the redirect tells where it came from")
		}
		to := r.URL.Query().Get("to")
		if n, err := strconv.Atoi(to); err == nil && n > 0 {
			w.Header().Set("Location", "/?to="+strconv.Itoa(n-1))
			w.WriteHeader(http.StatusFound + n%2)
			return
		}
		switch {
		case to == "nowhere":
			w.WriteHeader(http.StatusFound)
		case to == "0":
			io.WriteString(w, "{}")
		default:
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusTemporaryRedirect)
		}
	})
	host := srv.Listener.Addr().String()
	other := elsewhere.Addr().String()
	for _, tt := range []struct {
		name, to string
		requests int64
		refused  string // part of the error; empty: it ends well
	}{
		{"one", "1", 2, ""},
		{"three", "3", 4, ""},
		{"four", "4", 4, "more than 3 redirects"},
		{"absolute, same host", srv.URL + "/?to=0", 2, ""},
		{"another port", "https://" + other + "/", 1, "redirect to another host"},
		{"SSRF metadata", "http://169.254.169.254/latest/meta-data/", 1, "redirect to another host"},
		{"SSRF metadata over https", "https://169.254.169.254/", 1, "redirect to another host"},
		{"another name of the host", strings.Replace(srv.URL, "127.0.0.1", "localhost", 1), 1, "redirect to another host"},
		{"no scheme", "//" + other + "/", 1, "redirect to another host"},
		{"down to http", "http://" + host + "/", 1, "redirect to another host"},
		{"default port", "https://127.0.0.1/", 1, "redirect to another host"},
		{"userinfo", "https://me@" + host + "/?to=0", 1, "userinfo"},
		{"fragment", "/?to=0#a", 1, "fragment"},
		{"dots", "/a/%2e%2e/?to=0", 1, "two dots"},
		{"not a URL", "https://%zz/", 1, "not a URL"},
	} {
		requests.Store(0)
		// The target travels in the query, so its own query must be escaped.
		to := strings.NewReplacer("%", "%25", "#", "%23", "?", "%3F", "&", "%26").Replace(tt.to)
		_, err := c.Get(t.Context(), srv.URL+"/?to="+to, limit)
		switch {
		case requests.Load() != tt.requests:
			t.Errorf("%s: %d requests, want %d", tt.name, requests.Load(), tt.requests)
		case tt.refused == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.refused != "" && (!errors.Is(err, egress.ErrRefused) || !strings.Contains(err.Error(), tt.refused)):
			t.Errorf("%s: got %v, want ErrRefused for %q", tt.name, err, tt.refused)
		case err != nil && strings.Contains(err.Error(), "to="):
			t.Errorf("%s: %v tells the query", tt.name, err)
		}
	}
	requests.Store(0)
	if _, err := c.Get(t.Context(), srv.URL+"/?to=nowhere", limit); err == nil || requests.Load() != 1 {
		t.Errorf("without a location: got %v after %d requests", err, requests.Load())
	}
	untouched(t, elsewhere)
}
