package exchange_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/exchange"
	"github.com/keywright/keywright/exchange/exchangetest"
	"github.com/keywright/keywright/store"
)

// exchangeBytes sends segments over one connection and returns the answer.
func (w *world) exchangeBytes(segments ...string) answer {
	w.t.Helper()
	conn := w.dial()
	for i, s := range segments {
		if i > 0 {
			time.Sleep(20 * time.Millisecond) // so that they are segments
		}
		if _, err := io.WriteString(conn, s); err != nil {
			w.t.Fatal(err)
		}
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answerOf(res, text)
}

// What "rsconnect login SERVER --identity-token T" sends, byte for byte, and
// what it makes of the answers.
func TestRsconnectPython(t *testing.T) {
	for _, prefix := range []string{"", "/connect"} {
		for _, segments := range []int{1, 2} {
			t.Run(fmt.Sprintf("prefix %q in %d segments", prefix, segments), func(t *testing.T) {
				c := new(clock)
				issuer := exchangetest.NewIssuer(t)
				issuer.Now, issuer.Audience = c.Now, audience
				w := worldOn(t, &store.Memory{Now: c.Now}, c, issuer, prefix, []exchange.Publisher{github()})
				rsconnectLogin(t, w, segments)
			})
		}
	}
}

func rsconnectLogin(t *testing.T, w *world, segments int) {
	base, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	const agent = "Accept-Encoding: identity\r\nUser-Agent: RSConnectPython/1.28.0\r\n"
	a := w.exchangeBytes("GET " + base.Path + "/.well-known/oauth-authorization-server HTTP/1.1\r\nHost: " + base.Host + "\r\n" + agent + "\r\n")
	grants, _ := json.Marshal(a.fields["grant_types_supported"])
	if a.status != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") || !strings.Contains(string(grants), `"urn:ietf:params:oauth:grant-type:token-exchange"`) {
		t.Fatalf("metadata: got %d %s", a.status, a.body)
	}
	endpoint, err := url.Parse(a.text("token_endpoint"))
	if err != nil || !endpoint.IsAbs() || endpoint.Host != base.Host {
		t.Fatalf("token_endpoint %q, %v", a.text("token_endpoint"), err)
	}

	body := "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange" +
		"&subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aid_token" +
		"&requested_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token" +
		"&subject_token=" + w.issuer.GitHub(nil)
	head := "POST " + endpoint.RequestURI() + " HTTP/1.1\r\nHost: " + endpoint.Host + "\r\nAccept-Encoding: identity\r\n" +
		fmt.Sprintf("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\nUser-Agent: RSConnectPython/1.28.0\r\n\r\n", len(body))
	if segments == 1 {
		a = w.exchangeBytes(head + body)
	} else {
		a = w.exchangeBytes(head, body)
	}
	w.checkOAuth("rsconnect", a)
	if a.status != 200 || a.key() == "" || !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		t.Fatalf("exchange: got %d %s", a.status, a.body)
	}
	a = w.exchangeBytes("GET " + base.Path + "/whoami HTTP/1.1\r\nHost: " + base.Host + "\r\n" + agent + "Authorization: Key " + a.key() + "\r\n\r\n")
	if a.status != 200 || a.text("Subject") != "deployer" {
		t.Errorf("with the key: got %d %s", a.status, a.body)
	}
}

// The three causes that rsconnect-python tells apart by words of the
// description, whatever words the host's own audience has.
func TestWording(t *testing.T) {
	audiences := []string{
		audience, "https://verify.example", "urn:VERIFIED", "https://ambiguous.example", "Ambiguous", `ver\if`, "amb\"iguous\\", "vér\u00efif", "veri\u200bf",
		strings.Repeat("a", 500) + "verif",
	}
	for _, own := range audiences {
		one := func(p *exchange.Publisher) {
			p.ID, p.Claims["ref"] = "one", exchange.Values{"refs/heads/one", "refs/heads/main"}
		}
		two := func(p *exchange.Publisher) {
			p.ID, p.Subject, p.Claims["ref"] = "two", "other", exchange.Values{"refs/heads/two", "refs/heads/main"}
		}
		account := func(p *exchange.Publisher) {
			p.ID, p.Subject, p.SubjectClaim, p.Claims["ref"] = "account", "", "actor", exchange.Values{"refs/heads/account"}
		}
		w := newWorld(t, []exchange.Publisher{github(one), github(two), github(account)}, func(c *exchange.Config) {
			c.Audience = own
			c.Account = noAccount
		})
		w.issuer.Audience = own
		strange := exchangetest.NewIssuer(t)
		strange.Now, strange.Audience = w.clock.Now, own
		used := w.issuer.GitHub(map[string]any{"ref": "refs/heads/one"})
		w.wantKey(used)
		good := w.issuer.GitHub(nil)
		for _, tt := range []struct{ name, token, class string }{
			{"two publishers", good, "ambiguous"},
			{"another signature", good[:len(good)-10] + "AAAAAAAAAA", "verif"},
			{"no token at all", "x", "verif"},
			{"expired", w.issuer.GitHub(map[string]any{"iat": t0.Unix() - 600, "exp": t0.Unix() - 300}), "verif"},
			{"another issuer", strange.GitHub(nil), "verif"},
			{"another audience", w.issuer.GitHub(map[string]any{"aud": "https://other.example"}), ""},
			{"another audience that says verif", w.issuer.GitHub(map[string]any{"aud": "verif ambiguous"}), ""},
			{"no audience", w.issuer.GitHub(map[string]any{"aud": nil}), ""},
			{"another repository", w.issuer.GitHub(map[string]any{"repository_id": "75"}), ""},
			{"another repository named verif", w.issuer.GitHub(map[string]any{"repository": "ambiguous/verif"}), ""},
			{"another owner", w.issuer.GitHub(map[string]any{"repository_owner_id": "1"}), ""},
			{"no account", w.issuer.GitHub(map[string]any{"ref": "refs/heads/account"}), ""},
			{"no jti", w.issuer.GitHub(map[string]any{"jti": nil}), ""},
			{"used", used, ""},
		} {
			a := w.wantRefused(own+": "+tt.name, tt.token, tt.class)
			w.checkOAuth(tt.name, a)
		}
	}
}

func noAccount(context.Context, keywright.Principal) (bool, error) { return false, nil }
