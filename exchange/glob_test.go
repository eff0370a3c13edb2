package exchange

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestGlob(t *testing.T) {
	for _, tt := range []struct {
		pattern, text string
		want          bool
	}{
		{"refs/heads/*", "refs/heads/main", true},
		{"refs/heads/*", "refs/heads/", false}, // one character at least
		{"refs/heads/*", "refs/heads", false},
		{"refs/heads/*", "refs/heads/a/b", false},
		{"refs/heads/*", "refs/heads/main:environment:prod", false},
		{"refs/heads/*", "refs/heads/main%3Aenvironment%3Aprod", false},
		{"refs/heads/*", "refs/heads/main%2Fx", false},
		{"refs/heads/*", "refs/heads/..", false},
		{"refs/heads/*", "refs/heads/.", false},
		{"refs/heads/*", "refs/heads/...", true},
		{"refs/heads/*", "refs/heads/.a", true},
		{"refs/heads/*", "Refs/heads/main", false},
		{"refs/heads/*", "xrefs/heads/main", false},
		{"refs/heads/*", "/refs/heads/main", false},
		{"refs/heads/*", "refs/heads/main/", false},
		{"refs/heads/*", "refs/heads/main\n", false},
		{"refs/heads/*", "refs/heads/ma in", false},
		{"refs/heads/*", "refs/heads/ma\x00in", false},
		{"refs/heads/*", "refs/heads/\u00fc", false},
		{"refs/heads/*", "refs/heads/a\u2215b", false}, // a slash that is none
		{"refs/heads/*", `refs/heads/a\b`, false},
		{"refs/heads/*", "refs/heads/a*b", false},
		{"refs/heads/*", "refs/heads/a?b", false},
		{"refs/heads/*", "refs/heads/a|b", false},
		{"refs/heads/*", "refs/heads/dependabot-$(x)_1.2~3@4+5=6#7,8!9&0", true},
		{"repo:octo-org/*", "repo:octo-org/x", true},
		{"repo:octo-org/*", "repo:octo-org-evil/x", false},
		{"repo:octo-org/*", "repo:octo-org/../evil/x", false},
		{"repo:octo-org/*", "repo:OCTO-ORG/x", false},
		{"repo:octo-org/*", "repo/octo-org:x", false}, // separators are not each other
		{"a/../*", "a/../b", false},
		{"a/./*", "a/./b", false},
		{"*..*", "a..b", true},
		{"v*", "v", false},
		{"v*", "v1", true},
		{"*-rc", "1-rc", true},
		{"*-rc", "-rc", false},
		{"*-rc", "-rc-rc", true},
		{"*-rc", "1-rcx", false},
		{"*-rc", "1-rc-", false},
		{"*a*b*", "xaybz", true},
		{"*a*b*", "xayb", false},
		{"*a*b*", "aaabb", true},
		{"*a*b*", "aab", false},
		{"*ab", "aab", true},
		{"*ab", "ab", false},
		{"*a%*", "xa%ya%z", false}, // what "*" passes over must be names too
		{"a*/*b", "ax/xb", true},
		{"a*/*b", "a/xb", false},
		{"a*/*b", "ax/b", false},
		{"a b*", "a bc", true}, // a literal may be anything
		{"\u00fc*", "\u00fcx", true},
		{"\u00fc*", "\u00fc\u00fc", false},
		{"https://*/x", "https://a.example/x", true},
		{"https://*/x", "https:///x", false},
		{"https://*:*/x", "https://a.example:1/x", true},
		{"https://*/x", "https://a.example:1/x", false},
		{"a:*", "a:..", false},
		{"a:*:b", "a:.:b", false},
		{"plain", "plain", true},
		{"plain", "plainer", false},
		{"plain", "", false},
		{"", "", true},
		{"*", "", false},
		{"a//*", "a//b", true},
		{"a/*", "a//b", false},
	} {
		if got := matchGlob(tt.pattern, tt.text); got != tt.want {
			t.Errorf("matchGlob(%q, %q) = %v, want %v", tt.pattern, tt.text, got, tt.want)
		}
	}
}

// "*" stands for these characters and no others.
func TestGlobAlphabet(t *testing.T) {
	const names = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~@+=#,!$&()"
	for c := range 256 {
		text := "x" + string([]byte{byte(c)})
		if want := strings.IndexByte(names, byte(c)) >= 0; matchGlob("x*", text) != want {
			t.Errorf("%q: got %v, want %v", text, !want, want)
		}
	}
}

func TestCheckGlob(t *testing.T) {
	for _, tt := range []struct{ pattern, says string }{
		{"a*", ""}, {"*a", ""}, {"*/a/*", ""}, {"a:*", ""}, {"refs/tags/v*.*", ""}, {"*.*", ""},
		{"a", "no \"*\""}, {"", "no \"*\""}, {"a/**", "\"**\""}, {"***a", "\"**\""},
		{"*?", "only special"}, {"[a]*", "only special"}, {"a]*", "only special"}, {"{a,b}*", "only special"}, {"a}*", "only special"},
		{"a*|b", "only special"}, {"^a*", "only special"}, {`a\*`, "only special"},
		{"*", "literal"}, {"*/*", "literal"}, {"/:*", "literal"},
	} {
		err := checkGlob(tt.pattern)
		if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
			t.Errorf("%q: got %v, want %q", tt.pattern, err, tt.says)
		}
	}
}

// globRegexp says the same as a glob in another language, except of dots.
func globRegexp(pattern string) *regexp.Regexp {
	parts := strings.Split(pattern, "*")
	for i, p := range parts {
		parts[i] = regexp.QuoteMeta(p)
	}
	return regexp.MustCompile(`\A(?s:` + strings.Join(parts, `[A-Za-z0-9\-._~@+=#,!$&()]+`) + `)\z`)
}

var dotSegment = regexp.MustCompile(`(?s)(?:\A|[/:])\.\.?(?:[/:]|\z)`)

func FuzzGlob(f *testing.F) {
	for _, p := range []string{"refs/heads/*", "*a*b*", "repo:octo-org/*", "*", "", "a//*", "*a%*", "https://*:*/x", "*..*", "*aab*aab", "../*"} {
		for _, t := range []string{"refs/heads/main", "xaybz", "repo:octo-org/../x", "", "a//b", "a%a%", "https://a:1/x", "a..b", "aaabaab", "../x"} {
			f.Add(p, t)
		}
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		if !utf8.ValidString(pattern) || !utf8.ValidString(text) || len(pattern) > 100 {
			t.Skip()
		}
		want := globRegexp(pattern).MatchString(text) && !dotSegment.MatchString(text)
		if got := matchGlob(pattern, text); got != want {
			t.Errorf("matchGlob(%q, %q) = %v, want %v", pattern, text, got, want)
		}
	})
}

// TestGlobEverywhere compares all short patterns with all short texts.
func TestGlobEverywhere(t *testing.T) {
	words := func(alphabet string, most int) []string {
		all := []string{""}
		for from, n := 0, 0; n < most; n++ {
			to := len(all)
			for _, w := range all[from:to] {
				for _, c := range alphabet {
					all = append(all, w+string(c))
				}
			}
			from = to
		}
		return all
	}
	texts := words("a./%", 5)
	for _, pattern := range words("a*/%", 4) {
		re := globRegexp(pattern)
		for _, text := range texts {
			if want := re.MatchString(text) && !dotSegment.MatchString(text); matchGlob(pattern, text) != want {
				t.Fatalf("matchGlob(%q, %q) = %v, want %v", pattern, text, !want, want)
			}
		}
	}
}

// hostile are patterns that make backtracking matchers take for ever, and texts
// of length n that nearly match.
func hostile(n int) map[string][2]string {
	return map[string][2]string{
		"many stars":        {strings.Repeat("*a", 255) + "b", strings.Repeat("a", n)},
		"a long literal":    {"*" + strings.Repeat("a", 510) + "b", strings.Repeat("a", n)},
		"stars and a flaw":  {strings.Repeat("a*", 255), strings.Repeat("a", n-1) + "%"},
		"many segments":     {strings.Repeat("*/", 255) + "x", strings.Repeat("a/", n/2)},
		"another separator": {strings.Repeat("*:", 255) + "x", strings.Repeat("a/", n/2)},
	}
}

func TestHostileGlobsAreCheap(t *testing.T) {
	start := time.Now()
	for name, h := range hostile(8 << 10) {
		if matchGlob(h[0], h[1]) {
			t.Errorf("%s: it matches", name)
		}
	}
	if d := time.Since(start); d > 5*time.Second { // some ms, except where steps multiply
		t.Errorf("took %v", d)
	}
}

// BenchmarkHostileGlob takes twice as long for twice the text: ns/byte stays.
func BenchmarkHostileGlob(b *testing.B) {
	for _, n := range []int{1 << 10, 8 << 10} {
		for name, h := range hostile(n) {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					matchGlob(h[0], h[1])
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/byte")
			})
		}
	}
}
