package httpsig

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"
)

// TestMembersEndWhereTheyEnd: a member's text is what is signed, so what a comma,
// a quote or a bracket means must be plain in every place.
func TestMembersEndWhereTheyEnd(t *testing.T) {
	for text, want := range map[string][]string{
		"a":                                  {""},
		"a;b":                                {";b"},
		"a;b;c=1,d":                          {";b;c=1", ""},
		"a=?1":                               {"?1"},
		"a=1 ,\t b=2":                        {"1", "2"},
		"  a=1\t ":                           {"1"},
		`a="b, c=1";d=",", e=2`:              {`"b, c=1";d=","`, "2"},
		`a="\", b=1", c="\\"`:                {`"\", b=1"`, `"\\"`},
		`a="\\", b="\\\""`:                   {`"\\"`, `"\\\""`},
		"a=(1 2), b=()":                      {"(1 2)", "()"},
		`a=("(" ")" ", b=1");c=")", d=( 1 )`: {`("(" ")" ", b=1");c=")"`, "( 1 )"},
		"a=(1;x=2 3;y);z=(":                  nil,
		"a=:AAAA:;b=:AA==:, c=::":            {":AAAA:;b=:AA==:", "::"},
		`a=%"b, c=1%22";d, e=%""`:            {`%"b, c=1%22";d`, `%""`},
		"a=@1;b=@-2, c=1.5":                  {"@1;b=@-2", "1.5"},
		"a=b/c:d;e=*f, g=1":                  {"b/c:d;e=*f", "1"},
		"a=1;  b=2, c":                       {"1;  b=2", ""},

		"a=1;\tb": nil, "a= 1": nil, "a =1": nil, "a=1 ;b": nil, "a;b =1": nil, "a=1,": nil, ",a": nil, "a,,b": nil, "a b": nil, "=1": nil,
		"a=(1,2)": nil, "a=(1\t2)": nil, "a=((1))": nil, "a=(1)2": nil, `a=("1""2")`: nil, "a=(1": nil, "a=1)": nil, "a=(;b)": nil, "a=( )b": nil,
		`a="b`: nil, `a="\`: nil, `a="\n"`: nil, `a='b'`: nil, "a=\"\t\"": nil, "a=\"\x7f\"": nil, "a=\"\xc3\xa9\"": nil,
		"a=:A:": nil, "a=:AA:": nil, "a=:AAA:": nil, "a=:A===:": nil, "a=:====:": nil, "a=:AA=A:": nil, "a=:AA==AA==:": nil, "a=:AA-_:": nil, "a=:AAAA": nil, "a=: :": nil,
		`a=%"b`: nil, `a=%b`: nil, `a=%"%2G"`: nil, `a=%"%C3"`: nil, `a=%"%c3"`: nil, `a=%"%2"`: nil, "a=%": nil,
		"a=@": nil, "a=@x": nil, "a=@1.0": nil, "a=?": nil, "a=?2": nil, "a=-": nil, "a=--1": nil, "a=1.": nil, "a=.1": nil, "a=1.2345": nil, "a=1234567890123.1": nil,
		"a=1234567890123456": nil, "A=1": nil, "a=1, B": nil, "a;B": nil, "a;": nil, "a;=1": nil, "a=1;b=": nil, "\ta": nil, "a\x00": nil, "a=\x00": nil, "": nil, " ": nil,
	} {
		d, err := readDictionary(text)
		var got []string
		for _, m := range d {
			got = append(got, m.text)
		}
		if strings.Join(got, "|") != strings.Join(want, "|") || (err == nil) != (want != nil) {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
		if _, theirs := httpsfv.UnmarshalDictionary([]string{text}); (theirs == nil) != (want != nil) && text != "" && text != " " {
			t.Errorf("%q: the library says %v", text, theirs)
		}
	}
}

func TestLimits(t *testing.T) {
	list := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	for _, c := range []struct {
		name, text string
		want       error
	}{
		{"members", "a0" + list(maxMembers-1, ", b%d"), nil},
		{"a member more", "a0" + list(maxMembers, ", b%d"), errMembers},
		{"a member twice", "a, b, a", errTwice},
		{"a member twice with other values", "a=1, a=(2)", errTwice},
		{"parameters", "a" + list(maxParams, ";b%d"), nil},
		{"a parameter more", "a" + list(maxParams+1, ";b%d"), errParams},
		{"parameters of a component", `a=("b"` + list(maxParams, ";b%d") + ")", nil},
		{"one more of a component", `a=("b"` + list(maxParams+1, ";b%d") + ")", errParams},
		{"a parameter twice", "a;b;c;b", errTwice},
		{"a parameter of a component twice", `a=("b";c;d;c=1)`, errTwice},
		{"a parameter of a list twice", `a=("b");c=1;c=2`, errTwice},
		{"a parameter of two components", `a=("b";c "d";c);c, e;c`, nil},
		{"values", "a=(" + strings.TrimSpace(list(maxValues, "%d ")) + ")", nil},
		{"a value more", "a=(" + strings.TrimSpace(list(maxValues+1, "%d ")) + ")", errValues},
		{"values with parameters", "a=(" + list(maxValues/2, "%d;b ") + ")", nil},
		{"a value more with parameters", "a=(" + list(maxValues/2, "%d;b ") + ");c", errValues},
		{"values in two members", "a=(" + list(maxValues/2, "%d ") + "), b=(" + list(maxValues/2, "%d ") + ")", nil},
	} {
		if _, err := readDictionary(c.text); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}

func TestFieldIsOfLimitedLength(t *testing.T) {
	for _, c := range []struct {
		lines []string
		limit int
		text  string
		ok    bool
	}{
		{nil, 10, "", true},
		{[]string{"a=1"}, 3, "a=1", true},
		{[]string{"a=1"}, 2, "", false},
		{[]string{"a", "b"}, 4, "a, b", true},
		{[]string{"a", "b"}, 3, "", false},
		{make([]string, 1000), 100, "", false},
	} {
		if text, ok := join(c.lines, c.limit); text != c.text || ok != c.ok {
			t.Errorf("%q, %d: %q, %v", c.lines, c.limit, text, ok)
		}
	}
}

// FuzzDictionary: the library reads the same, but for the names that come twice
// and what is too much; and what is signed, alone, is the member.
func FuzzDictionary(f *testing.F) {
	for _, seed := range []string{
		`sig=("@method" "@path";req "b";sf="x");created=1;keyid="a\"b"`, `sig=hwk;kty="OKP";x="AA", b=:AAAA:;c, d=(1 2.5 @3 ?0 %"e%c3%a9" *t/o:k)`,
		"a ,\tb", "a=1, a=2", `a="\\", b="\""`, "a=-0.0", "a=:AA==:, b=:AB==:", "a=(1  2 ) ", "a;b;b", "a=@-1", `a=%"%22"`, "a=999999999999999", "a=1.",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ours, err := readDictionary(text)
		theirs, theirErr := httpsfv.UnmarshalDictionary([]string{text})
		switch {
		case err == nil && theirErr != nil:
			t.Fatalf("%q: only the library refuses it: %v", text, theirErr)
		case errors.Is(err, errSyntax) && theirErr == nil && strings.Trim(text, " ") != "":
			t.Fatalf("%q: the library reads it", text)
		case err != nil:
			return
		}
		if len(ours) != len(theirs.Names()) {
			t.Fatalf("%q: %d members, the library has %d", text, len(ours), len(theirs.Names()))
		}
		rest := text
		for i, m := range ours {
			their, _ := theirs.Get(m.name)
			if m.name != theirs.Names()[i] || !sameMember(m, their) {
				t.Fatalf("%q: member %s is %+v", text, m.name, m)
			}
			rest = afterMember(t, rest, m)
			alone, err := readDictionary(spelled(m))
			if err != nil || alone[0].text != m.text || !sameMember(alone[0], their) {
				t.Fatalf("%q: member %s alone is %+v, %v", text, m.name, alone, err)
			}
		}
		if strings.Trim(rest, " \t") != "" {
			t.Fatalf("%q: %q is in no member", text, rest)
		}
	})
}

func spelled(m member) string {
	if m.text == "" || m.text[0] == ';' {
		return m.name + m.text
	}
	return m.name + "=" + m.text
}

// afterMember takes m from the front of text, and the comma before it.
func afterMember(t *testing.T, text string, m member) string {
	t.Helper()
	text = strings.TrimLeft(text, " \t,")
	rest, ok := strings.CutPrefix(text, spelled(m))
	if !ok {
		t.Fatalf("%q does not begin with %q", text, spelled(m))
	}
	return rest
}

func sameMember(m member, their httpsfv.Member) bool {
	switch their := their.(type) {
	case httpsfv.Item:
		return !m.isList() && sameValue(m.value, their.Value) && sameParams(m.params, their.Params)
	case httpsfv.InnerList:
		if !m.isList() || len(m.items) != len(their.Items) || !sameParams(m.params, their.Params) {
			return false
		}
		for i, item := range m.items {
			if !sameValue(item.value, their.Items[i].Value) || item.params != (len(their.Items[i].Params.Names()) > 0) {
				return false
			}
		}
		return true
	}
	return false
}

func sameParams(ps params, theirs *httpsfv.Params) bool {
	if len(ps) != len(theirs.Names()) {
		return false
	}
	for i, p := range ps {
		their, _ := theirs.Get(p.name)
		if p.name != theirs.Names()[i] || !sameValue(p.value, their) {
			return false
		}
	}
	return true
}

func sameValue(v value, their any) bool {
	switch their := their.(type) {
	case string:
		s, ok := v.str()
		return ok && s == their
	case httpsfv.Token:
		return v.kind == kindToken && v.text == string(their)
	case int64:
		n, ok := v.integer()
		return ok && n == their
	case bool:
		return v.kind == kindBoolean && (v.text == "?1") == their
	case []byte:
		b, ok := v.octets()
		return v.kind == kindBytes && (!ok || bytes.Equal(b, their)) // spare bits are not ours
	case float64, time.Time, httpsfv.DisplayString:
		return v.kind == kindOther
	}
	return false
}
