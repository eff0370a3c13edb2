package httpsig

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFieldsOfAnswers: servers write words as tokens and as strings, and put more
// into a field than this client knows.
func TestFieldsOfAnswers(t *testing.T) {
	type read struct {
		First, Token, Param string
		Strings             []string
	}
	for _, tt := range []struct {
		lines []string
		want  read
	}{
		{[]string{`error=invalid_input, required_input=("@method" "@query")`}, read{"error", "invalid_input", "", []string{"@method", "@query"}}},
		{[]string{`error="invalid_input"`, `required_input=()`}, read{"error", "invalid_input", "", []string{}}},
		{[]string{`error=interaction;url="https://a.example/"; x=1`}, read{"error", "interaction", "https://a.example/", nil}},
		{[]string{`error=interaction; url=token`}, read{"error", "interaction", "token", nil}},
		{[]string{`error=a;url=1, required_input=("a" b)`}, read{"error", "a", "", nil}},
		{[]string{`error=("a"), required_input="a"`}, read{"error", "", "", nil}},
		{[]string{`error=1`}, read{"error", "", "", nil}},
		{[]string{`error`}, read{"error", "", "", nil}},
		{[]string{`invalid_signature`}, read{"invalid_signature", "", "", nil}},
		{[]string{`x=?0, error=:YQ==:`}, read{"x", "", "", nil}},
		{[]string{`error="a\"b"`}, read{"error", `a"b`, "", nil}},
	} {
		f, err := ReadField(http.Header{"Signature-Error": tt.lines}, "signature-error")
		if err != nil {
			t.Errorf("%q: %v", tt.lines, err)
			continue
		}
		var got read
		got.First = f.First()
		got.Token, _ = f.Token("error")
		got.Param, _ = f.Param("error", "url")
		got.Strings, _ = f.Strings("required_input")
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.lines, diff)
		}
	}
}

// TestFieldsThatAreNone of a dictionary, too long, or not there.
func TestFieldsThatAreNone(t *testing.T) {
	for _, lines := range [][]string{
		nil, {}, {""}, {" "}, {"\t"}, {"", ""}, {","}, {"error="}, {"error=a,"}, {"error=a, error=b"}, {"error=é"}, {"Error=a"}, {"a b"},
		{`error="a`}, {"error=a\nb"}, {"error=" + strings.Repeat("a", maxField)},
	} {
		f, err := ReadField(http.Header{"Signature-Error": lines}, "Signature-Error")
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("%.20q: %v", lines, err)
		}
		if _, ok := f.Token("error"); ok || f.First() != "" {
			t.Errorf("%.20q: read as %q", lines, f.First())
		}
	}
}
