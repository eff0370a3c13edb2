package exchange_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/exchange"
	"github.com/keywright/keywright/exchange/exchangetest"
)

// What the caller reads says little; what the operator reads says all.
func TestWhatIsToldOfARefusal(t *testing.T) {
	onRef := func(id, ref string) func(*exchange.Publisher) {
		return func(p *exchange.Publisher) {
			p.ID, p.Subject, p.Claims["ref"] = id, id, exchange.Values{ref, "refs/heads/both"}
		}
	}
	unlimited := github(onRef("b", "refs/heads/b"))
	unlimited.Targets = []string{"urn:b"}
	w := newWorld(t, []exchange.Publisher{github(onRef("a", "refs/heads/a")), unlimited})
	ref := func(name string) string { return w.issuer.GitHub(changes{"ref": "refs/heads/" + name}) }
	used := ref("a")
	w.wantKey(used)
	kid := w.issuer.KeyID()
	const unverified = "could not verify the identity token: its signature, time or issuer"
	for _, tt := range []struct{ name, token, class, public, private string }{
		{"malformed", "x", "malformed", unverified, "malformed: jose: token is not three parts"},
		{"no issuer", w.issuer.GitHub(changes{"iss": nil}), "issuer", unverified, "issuer: jose: claims"},
		{"unknown issuer", w.issuer.GitHub(changes{"iss": "https://evil.example"}), "issuer", unverified, "no publisher trusts it"},
		{"algorithm", w.issuer.RawToken([]byte(`{"alg":"ES256","kid":"`+kid+`"}`), payload(used)), "algorithm", unverified, "alg ES256 is not configured for this issuer"},
		{"key", w.issuer.RawToken([]byte(`{"alg":"RS256","kid":"x"}`), payload(used)), "key", unverified, "unknown key id"},
		{"time", w.issuer.GitHub(changes{"exp": nil}), "time", unverified, `"exp"`},
		{"audience", w.issuer.GitHub(changes{"aud": "x"}), "audience", "its audience must be " + audience + " alone", "another audience"},
		{"jti", w.issuer.GitHub(changes{"jti": nil}), "jti", "the identity token has no usable jti", "absent"},
		{"used", used, "used", "the identity token has been used", "used before"},
		{"ambiguous", ref("both"), "ambiguous", "ambiguous: publishers with different principals", "publishers a, b"},
		{"no match", ref("x"), "no match", "no trusted publisher matches", "publisher a: ref: want refs/heads/a or refs/heads/both, got refs/heads/x; publisher b: ref"},
		{"no tenant", w.issuer.GitHub(changes{"repository_id": "1", "repository_owner_id": "2"}), "no match", "no trusted publisher matches", "no publisher for this tenant"},
	} {
		a := w.post(tt.token)
		e := w.last()
		if a.status != 400 || !strings.Contains(a.text("error_description"), tt.public) {
			t.Errorf("%s: got %d %s, want %q", tt.name, a.status, a.body, tt.public)
		}
		if e.Name != "exchange.refused" || e.Attrs["class"] != tt.class || !strings.Contains(e.Detail, tt.private) || len(e.Attrs["token"]) != 64 {
			t.Errorf("%s: heard %+v, want class %q and %q", tt.name, e, tt.class, tt.private)
		}
		if knowsIssuer := tt.name != "malformed" && tt.name != "no issuer"; knowsIssuer != (e.Attrs["issuer"] != "") {
			t.Errorf("%s: the issuer is %q", tt.name, e.Attrs["issuer"])
		}
	}
	for want, body := range map[string]string{"a": "scope=x", "b": "audience=x"} {
		f := form(ref(want))
		name, value, _ := strings.Cut(body, "=")
		f.Set(name, value)
		if a := w.send("POST", exchange.TokenPath, "", f); a.status != 400 || w.last().Attrs["publisher"] != want || w.last().Attrs["run"] == "" {
			t.Errorf("%s: got %d %s, heard %+v", body, a.status, a.body, w.last())
		}
	}
	if err := w.DisableIssuer(t.Context(), operator, w.issuer.URL()); err != nil {
		t.Fatal(err)
	}
	if a := w.post(ref("a")); !strings.Contains(a.text("error_description"), unverified) || w.last().Attrs["class"] != "issuer" || !strings.Contains(w.last().Detail, "disabled") {
		t.Errorf("disabled: got %s, heard %+v", a.body, w.last())
	}
}

// Of many publishers that were near, three are described.
func TestNearPublishers(t *testing.T) {
	for n := range 6 {
		var publishers []exchange.Publisher
		for i := range n {
			publishers = append(publishers, github(func(p *exchange.Publisher) {
				p.ID, p.Patterns = fmt.Sprint("p", i), map[string]exchange.Values{"ref": {"refs/tags/*"}}
			}))
		}
		other := github(func(p *exchange.Publisher) { p.ID, p.Claims["repository_id"] = "other", exchange.Values{"75"} })
		w := newWorld(t, append(publishers, other))
		w.wantRefused("no match", w.issuer.GitHub(nil), "")
		detail := w.last().Detail
		more := ""
		if n > 3 {
			more = fmt.Sprintf("; and %d more", n-3)
		}
		if strings.Count(detail, "publisher p") != min(n, 3) || !strings.HasSuffix(detail, more) || strings.Contains(detail, "more") != (n > 3) || strings.Contains(detail, "no publisher for this tenant") != (n == 0) {
			t.Errorf("%d publishers: heard %q", n, detail)
		}
	}
	w := newWorld(t, []exchange.Publisher{github(func(p *exchange.Publisher) { p.Disabled = true })})
	w.wantRefused("disabled", w.issuer.GitHub(nil), "")
	if !strings.Contains(w.last().Detail, "publisher deploy: does not name a subject, is disabled or no longer pending") {
		t.Errorf("heard %+v", w.last())
	}
}

// The answer names the audience wherever it would arrive as it is.
func TestNamedAudience(t *testing.T) {
	for own, named := range map[string]bool{
		audience: true, "a b": true, "~": true, "!#[]^": true, "it's": true, `a"b`: false, `a\b`: false, "\u00e9": false, "verif": false, "AMBIGUOUS": false,
	} {
		w := newWorld(t, []exchange.Publisher{github()}, func(c *exchange.Config) { c.Audience = own })
		a := w.wantRefused(own, w.issuer.GitHub(changes{"aud": "x"}), "")
		if got := strings.HasSuffix(a.text("error_description"), "must be "+own+" alone"); got != named {
			t.Errorf("%q: %s", own, a.body)
		}
		if got := strings.HasSuffix(a.text("error_description"), "see identity_token_audience in its metadata"); got == named {
			t.Errorf("%q: %s", own, a.body)
		}
	}
}

// A fact is a claim without what would break a line or a terminal, and cut
// short. A key has the claim as it is, or not at all: a host may decide by it.
func TestFacts(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	long := strings.Repeat("a", 512)
	for _, tt := range []struct{ claim, fact, attr string }{
		{"a b~", "a b~", "a b~"}, {"a\x1fb\x7fc", "abc", ""}, {"a\u0080b\u009fc\u00a0d", "abc\u00a0d", ""}, {"a\u00a0d", "a\u00a0d", "a\u00a0d"},
		{"a\u2027\u202fb", "a\u2027\u202fb", "a\u2027\u202fb"}, {"a\u2028b", "ab", ""}, {"a\u2029b", "ab", ""}, {"\n", "", ""}, {"a\ufffdb", "ab", ""},
		{"\u00e9\u4e16", "\u00e9\u4e16", "\u00e9\u4e16"}, {long[:120], long[:120], long[:120]}, {long[:121], long[:120] + "...", long[:121]},
		{long, long[:120] + "...", long}, {long + "a", long[:120] + "...", ""},
	} {
		key := w.wantKey(w.issuer.GitHub(changes{"run_id": tt.claim, "sub": tt.claim}))
		e := w.events("exchange.issued")
		info, err := w.host.Keys.Check(t.Context(), key)
		got := []string{e[len(e)-1].Attrs["run"], e[len(e)-1].Attrs["sub"], info.Attrs["run_id"]}
		if diff := cmp.Diff([]string{tt.fact, tt.fact, tt.attr}, got); err != nil || diff != "" {
			t.Errorf("%q: %v (-want +got):\n%s", tt.claim, err, diff)
		}
		if info.Description != "exchanged by publisher deploy" {
			t.Errorf("Description %q", info.Description)
		}
	}
}

// A publisher that only reports does so once for each post, and obtains nothing.
func TestReportsOfRepeatedTries(t *testing.T) {
	var w *world
	again := 2
	w = newWorld(t, []exchange.Publisher{github(func(p *exchange.Publisher) { p.ID, p.ReportOnly = "watching", true })}, func(c *exchange.Config) {
		c.Account = func(ctx context.Context, _ keywright.Principal) (bool, error) {
			if again--; again < 0 {
				return true, nil
			}
			p := w.own(github(bySubject)) // changes, so that the trade is tried again
			p.Description = fmt.Sprint(again)
			_, err := w.Replace(ctx, operator, p, "")
			return true, err
		}
	})
	w.wantRefused("alone", w.issuer.GitHub(nil), "")
	if _, err := w.Create(t.Context(), operator, w.own(github(bySubject))); err != nil {
		t.Fatal(err)
	}
	w.wantKey(w.issuer.GitHub(nil))
	heard := w.events("exchange.would_issue")
	if again >= 0 || len(heard) != 2 {
		t.Fatalf("heard %d events after two posts, one of them tried three times", len(heard))
	}
	e := heard[0]
	if e.Target != "watching" || e.Attrs["publisher"] != "watching" || e.Remote != "127.0.0.1" || !e.Time.Equal(t0) || e.Attrs["run"] == "" {
		t.Errorf("heard %+v", e)
	}
}

// Whoever hangs up while we wait for an issuer is no trouble of ours.
func TestHangingUp(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{github()})
	w.issuer.SetFault(exchangetest.Silent)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	a := w.serveContext(ctx, "192.0.2.1", exchange.TokenPath, form(w.issuer.GitHub(nil)).Encode())
	w.want503("hung up", a)
	if time.Since(began) > 4*time.Second {
		t.Errorf("took %v", time.Since(began))
	}
	if e := w.last(); e.Name != "exchange.refused" || e.Attrs["issuer"] != w.issuer.URL() || !strings.Contains(e.Detail, "context deadline exceeded") || e.Remote != "192.0.2.1" {
		t.Errorf("heard %+v", e)
	}
}
