package jose_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/internal/jose"
)

func claims(t *testing.T, text string) jose.Claims {
	t.Helper()
	return must[jose.Claims](t)(read(build(goodHeader, text, hs256), hsKey(t)))
}

func TestTimes(t *testing.T) {
	const (
		now  = 1767225600
		skew = 30 * time.Second
		most = 15 * time.Minute
	)
	at := func(iat, exp int64) string { return fmt.Sprintf(`{"iat":%d,"exp":%d}`, iat, exp) }
	nbf := func(v string) string { return fmt.Sprintf(`{"iat":%d,"exp":%d,"nbf":%s}`, now, now+60, v) }
	exp := func(v string) string { return fmt.Sprintf(`{"iat":%d,"exp":%s}`, now, v) }
	iat := func(v string) string { return fmt.Sprintf(`{"iat":%s,"exp":%d}`, v, now+60) }
	const good, bad, expired = 0, 1, 2

	tests := []struct {
		name, claims string
		want         int
	}{
		{"a good token", at(now-5, now+895), good},
		{"BST-12 exp = now + 1", at(now-60, now+1), good},
		{"BST-12 exp = now", at(now-60, now), good},
		{"BST-12 exp = now - skew + 1", at(now-60, now-29), good},
		{"BST-12 exp = now - skew", at(now-60, now-30), expired},
		{"BST-12 exp = now - skew - 1", at(now-60, now-31), expired},
		{"exp long ago", at(1, 2), expired},
		{"iat = now + skew", at(now+30, now+60), good},
		{"iat = now + skew + 1", at(now+31, now+60), bad},
		{"BST-13 a lifetime of the most", at(now, now+900), good},
		{"BST-13 a second more", at(now, now+901), bad},
		{"BST-13 a second more, begun a while ago", at(now-600, now+301), bad},
		{"BST-13 24 hours", at(now, now+86400), bad},
		{"J08 a hundred years", at(now, now+3155760000), bad},
		{"J08 400 years, more than a time.Duration holds", at(now, now+12622780800), bad},
		{"J08 until 2^53", at(now, 1<<53), bad},
		{"over-long and expired", at(now-10000, now-31), bad},
		{"exp = iat", at(now, now), bad},
		{"exp before iat", at(now, now-1), bad},
		{"nbf = now + skew", nbf("1767225630"), good},
		{"nbf = now + skew + 1", nbf("1767225631"), bad},
		{"nbf long ago", nbf("0"), good},
		{"nbf a string", nbf(`"1767225600"`), bad},
		{"nbf null", nbf("null"), bad},
		{"nbf negative", nbf("-1"), bad},
		{"nbf above 2^53", nbf("9007199254740993"), bad},
		{"nbf the last int64, which time.Time cannot tell from the past", nbf("9223372036854775807"), bad},
		{"J08 exp missing", `{"iat":1767225600}`, bad},
		{"J08 iat missing", `{"exp":1767225660}`, bad},
		{"J08 Exp instead of exp", `{"iat":1767225600,"Exp":1767225660}`, bad},
		{"BST-15 exp a string", exp(`"9999999999"`), bad},
		{"BST-15 exp a good string", exp(`"1767225660"`), bad},
		{"BST-15 exp RFC 3339", exp(`"2099-01-01T00:00:00Z"`), bad},
		{"BST-15 exp a fraction", exp("1767225660.9"), bad},
		{"BST-15 exp a whole fraction", exp("1767225660.0"), bad},
		{"BST-15 exp an exponent", exp("1767225660e0"), bad},
		{"BST-15 exp 1e300", exp("1e300"), bad},
		{"BST-15 exp -1", exp("-1"), bad},
		{"BST-15 exp null", exp("null"), bad},
		{"BST-15 exp true", exp("true"), bad},
		{"BST-15 exp a list", exp("[1767225660]"), bad},
		{"exp above int64", exp("18446744073709551616"), bad},
		{"iat a string", iat(`"1767225600"`), bad},
		{"iat a fraction", iat("1767225600.5"), bad},
		{"iat negative", iat("-1"), bad},
		{"iat null", iat("null"), bad},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			times, err := claims(t, tt.claims).Times(time.Unix(now, 0), skew, most)
			if (err == nil) != (tt.want == good) || errors.Is(err, jose.ErrExpired) != (tt.want == expired) {
				t.Errorf("got %v, %v", times, err)
			}
		})
	}
}

func TestTimesBetweenSeconds(t *testing.T) {
	c := claims(t, `{"iat":1000,"exp":1060}`)
	for _, tt := range []struct {
		now  time.Time
		good bool
	}{
		{time.Unix(1090, -1), true},
		{time.Unix(1090, 0), false},
		{time.Unix(970, 0), true},
		{time.Unix(970, -1), false},
	} {
		if _, err := c.Times(tt.now, 30*time.Second, time.Minute); (err == nil) != tt.good {
			t.Errorf("at %v: %v", tt.now.UnixNano(), err)
		}
	}
	// The zero policy refuses.
	if _, err := c.Times(time.Unix(1000, 0), 0, 0); err == nil {
		t.Error("a lifetime passes where none is allowed")
	}
}

func TestTimesReturned(t *testing.T) {
	got := must[jose.Times](t)(claims(t, `{"iat":1000,"exp":1060,"nbf":990}`).Times(time.Unix(1000, 0), 0, time.Minute))
	want := jose.Times{IssuedAt: time.Unix(1000, 0), NotBefore: time.Unix(990, 0), Expires: time.Unix(1060, 0)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got = must[jose.Times](t)(claims(t, `{"iat":1000,"exp":1060}`).Times(time.Unix(1000, 0), 0, time.Minute))
	if !got.NotBefore.IsZero() {
		t.Errorf("NotBefore is %v without nbf", got.NotBefore)
	}
}

func TestLifetimeErrorNamesTheCap(t *testing.T) {
	_, err := claims(t, `{"iat":1000,"exp":87400}`).Times(time.Unix(1000, 0), 0, 15*time.Minute)
	if want := "lifetime of 24h0m0s, at most 15m0s"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q in it", err, want)
	}
	if _, err = claims(t, `{"iat":0,"exp":12622780800}`).Times(time.Unix(1000, 0), 0, 15*time.Minute); err == nil || strings.Contains(err.Error(), "-") {
		t.Errorf("got %v, want no negative duration", err)
	}
}

func TestAudience(t *testing.T) {
	for _, tt := range []struct{ name, claims, want string }{
		{"a string", `{"aud":"rsconnect"}`, "rsconnect"},
		{"a list of one", `{"aud":["rsconnect"]}`, "rsconnect"},
		{"EXC-10 a list of two", `{"aud":["rsconnect","other"]}`, ""},
		{"EXC-10 the same twice", `{"aud":["rsconnect","rsconnect"]}`, ""},
		{"BST-18 an empty list", `{"aud":[]}`, ""},
		{"BST-18 a list in a list", `{"aud":[["rsconnect"]]}`, ""},
		{"BST-18 a number", `{"aud":5}`, ""},
		{"BST-18 missing", `{}`, ""},
		{"null", `{"aud":null}`, ""},
		{"an object", `{"aud":{"rsconnect":1}}`, ""},
		{"the empty string", `{"aud":""}`, ""},
		{"a list of the empty string", `{"aud":[""]}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := claims(t, tt.claims).Audience()
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestUnverifiedIssuer(t *testing.T) {
	for _, text := range []string{`{"iss":["a"]}`, `{"iss":5}`, `{"iss":null}`, `{}`, `{"Iss":"a"}`, `{"iss":"a","iss":"b"}`} {
		token := must[*jose.Token](t)(jose.Parse(build(goodHeader, text, hs256)))
		if iss, err := token.UnverifiedIssuer(); err == nil {
			t.Errorf("EXC-09 %s: %q", text, iss)
		}
	}
}
