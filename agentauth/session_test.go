package agentauth_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestSessions(t *testing.T) {
	w := newErrandWorld(t, nil)
	tr := w.transport()
	keep := func(lines ...string) { tr.KeepSession(w.shop.id, http.Header{"Aauth-Access": lines}) }
	keep("first.one")
	for _, bad := range [][]string{{""}, {" "}, {"a b"}, {"a\tb"}, {"a\x00"}, {"a\r\nb"}, {"a", "b"}, {"=="}, {"a=b"}, {"a,b"}, {`"a"`}, {"é"}, {" a"}, {strings.Repeat("a", 5000)}, nil} {
		keep(bad...)
		if got := tr.Session(w.shop.id); got != "first.one" {
			t.Fatalf("%q was kept as %q", bad, got)
		}
	}
	keep("aZ09-._~+/==")
	if got := tr.Session(w.shop.id); got != "aZ09-._~+/==" {
		t.Errorf("got %q", got)
	}
	if got := tr.Session("https://other.example"); got != "" {
		t.Errorf("another origin has %q", got)
	}
}

// TestSessionsAreSent: covered by the signature, until the resource refuses them, and
// never in the place of what the caller sends.
func TestSessionsAreSent(t *testing.T) {
	w := newErrandWorld(t, nil)
	var sent []string
	refuse := false
	w.shop.serve = func(rw http.ResponseWriter, r *http.Request, typ string, _ map[string]any) bool {
		authorization := r.Header.Get("Authorization")
		if covered := strings.Contains(r.Header.Get("Signature-Input"), `"authorization"`); covered != (authorization != "") {
			t.Errorf("%q, covered %v", authorization, covered)
		}
		sent = append(sent, authorization)
		if refuse && authorization != "" {
			return false
		}
		rw.Header().Set("AAuth-Access", fmt.Sprint("s", len(sent)))
		return true
	}
	for range 3 {
		w.want("agent", shopURL, 200, "agent /data", "")
	}
	req, err := http.NewRequest("GET", shopURL, nil)
	must(t, err)
	req.Header.Set("Authorization", "Bearer mine")
	resp, err := w.client.Do(req)
	must(t, err)
	resp.Body.Close()
	w.shop.took()
	refuse = true
	w.want("refused", shopURL, 200, "agent /data, person /data", "POST /person")
	if got := strings.Join(sent, ", "); got != ", AAuth s1, AAuth s2, Bearer mine, AAuth s4, " {
		t.Errorf("sent %q", got)
	}
}
