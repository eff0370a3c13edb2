package authorization

import (
	"errors"
	"net/http"
	"strings"
	"testing"
)

// PRV-02, PRV-03 and BST-28: everything that an Authorization header can look like.
func TestParse(t *testing.T) {
	long := strings.Repeat("k", maxLen-len("Bearer "))
	tests := []struct {
		name          string
		fields        []string
		scheme, token string
		err           error
	}{
		{"no field", nil, "", "", ErrAbsent},
		{"scheme and token", []string{"Bearer KEY"}, "Bearer", "KEY", nil},
		{"scheme in lower case", []string{"bearer KEY"}, "bearer", "KEY", nil},
		{"scheme with a dash", []string{"Connect-Bootstrap a.b.c"}, "Connect-Bootstrap", "a.b.c", nil},
		{"every character of a token68", []string{"Key Az09-._~+/=="}, "Key", "Az09-._~+/==", nil},
		{"two spaces", []string{"Bearer  KEY"}, "Bearer", "KEY", nil},
		{"the longest field", []string{"Bearer " + long}, "Bearer", long, nil},

		{"empty field", []string{""}, "", "", ErrMalformed},
		{"scheme alone", []string{"Bearer"}, "Bearer", "", ErrMalformed},
		{"scheme and a space", []string{"Bearer "}, "Bearer", "", ErrMalformed},
		{"scheme and two spaces", []string{"Bearer  "}, "Bearer", "", ErrMalformed},
		{"space before the scheme", []string{" Bearer KEY"}, "", "", ErrMalformed},
		{"tab instead of the space", []string{"Bearer\tKEY"}, "", "", ErrMalformed},
		{"tab behind the space", []string{"Bearer \tKEY"}, "Bearer", "", ErrMalformed},
		{"no space", []string{"BearerKEY"}, "BearerKEY", "", ErrMalformed},
		{"colon behind the scheme", []string{"Bearer: KEY"}, "", "", ErrMalformed},
		{"scheme outside ASCII", []string{"Béarer KEY"}, "", "", ErrMalformed},
		{"the Kelvin sign, which folds to k", []string{"\u212aey KEY"}, "", "", ErrMalformed},
		{"a second word", []string{"Bearer KEY x"}, "Bearer", "", ErrMalformed},
		{"space behind the token", []string{"Bearer KEY "}, "Bearer", "", ErrMalformed},
		{"padding alone", []string{"Bearer =="}, "Bearer", "", ErrMalformed},
		{"padding within", []string{"Bearer K=Y"}, "Bearer", "", ErrMalformed},
		{"quotes", []string{`Bearer "KEY"`}, "Bearer", "", ErrMalformed},
		{"a parameter", []string{`Bearer token="KEY"`}, "Bearer", "", ErrMalformed},
		{"NUL in the token", []string{"Bearer K\x00Y"}, "Bearer", "", ErrMalformed},
		{"line feed in the token", []string{"Bearer K\nY"}, "Bearer", "", ErrMalformed},
		{"token outside ASCII", []string{"Bearer Ké"}, "Bearer", "", ErrMalformed},
		{"one byte too long", []string{"Bearer " + long + "k"}, "", "", ErrMalformed},
		{"a mebibyte of spaces", []string{"Bearer" + strings.Repeat(" ", 1<<20)}, "", "", ErrMalformed},

		{"two fields", []string{"Bearer A", "Bearer B"}, "", "", ErrMultiple},
		{"the same field twice", []string{"Bearer A", "Bearer A"}, "", "", ErrMultiple},
		{"two fields of two schemes", []string{"Basic A", "Bearer B"}, "", "", ErrMultiple},
		{"two empty fields", []string{"", ""}, "", "", ErrMultiple},
		{"a list", []string{"Bearer A, Bearer GOOD"}, "Bearer", "", ErrMultiple},
		{"a list without a space", []string{"Bearer A,Bearer GOOD"}, "Bearer", "", ErrMultiple},
		{"a list with a tab", []string{"Bearer A,\tBearer GOOD"}, "Bearer", "", ErrMultiple},
		{"a list that ends early", []string{"Bearer GOOD,"}, "Bearer", "", ErrMultiple},
	}
	for _, tt := range tests {
		h := http.Header{"X": {"y"}}
		if tt.fields != nil {
			h["Authorization"] = tt.fields
		}
		scheme, token, err := Parse(h)
		if scheme != tt.scheme || token != tt.token || !errors.Is(err, tt.err) {
			t.Errorf("%s: got %q %.20q %v, want %q %.20q %v", tt.name, scheme, token, err, tt.scheme, tt.token, tt.err)
		}
	}
}

func TestErrorsHoldNothingOfTheHeader(t *testing.T) {
	for _, field := range []string{"Bearer sEcReT x", "Bearer sEcReT, sEcReT", "sEcReT\x00"} {
		if _, _, err := Parse(http.Header{"Authorization": {field}}); err == nil || strings.Contains(err.Error(), "sEcReT") {
			t.Errorf("the error for a bad header is %v", err)
		}
	}
}

func TestIs(t *testing.T) {
	for scheme, want := range map[string]bool{
		"Bearer": true, "bearer": true, "BEARER": true, "bEaReR": true,
		"": false, "Bear": false, "Bearer2": false, "Key": false,
	} {
		if got := Is(scheme, "Bearer"); got != want {
			t.Errorf("Is(%q, Bearer) = %v, want %v", scheme, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, field := range []string{"Bearer KEY", "bearer  a.b.c==", "Bearer", "Bearer A, Bearer B", "\tBearer A", "Key =", ""} {
		f.Add(field)
	}
	f.Fuzz(func(t *testing.T, field string) {
		scheme, token, err := Parse(http.Header{"Authorization": {field}})
		if err != nil {
			if token != "" {
				t.Errorf("%q: refused with the token %q", field, token)
			}
			return
		}
		rest, ok := strings.CutPrefix(field, scheme+" ")
		if !ok || strings.TrimLeft(rest, " ") != token || !isToken(scheme) || !isToken68(token) || len(field) > maxLen {
			t.Errorf("%q: accepted as %q %q", field, scheme, token)
		}
		if _, _, err := Parse(http.Header{"Authorization": {field, field}}); !errors.Is(err, ErrMultiple) {
			t.Errorf("%q twice: got %v, want ErrMultiple", field, err)
		}
	})
}
