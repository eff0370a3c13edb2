package apptoken

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
)

// PRV-02 and RFC 7617.
func TestParseBasic(t *testing.T) {
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	longName, longPassword := strings.Repeat("n", 255), strings.Repeat("p", 1024)
	for _, tt := range []struct {
		name, field, user, password string // no user: refused
	}{
		{"of RFC 7617", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin", "open sesame"},
		{"of RFC 7617, UTF-8", "Basic dGVzdDoxMjPCow==", "test", "123£"},
		{"scheme in lower case", "basic " + encode("a:b"), "a", "b"},
		{"scheme in upper case", "BASIC " + encode("a:b"), "a", "b"},
		{"two spaces", "Basic  " + encode("a:b"), "a", "b"},
		{"colons in the password", "Basic " + encode("a:b:c:"), "a", "b:c:"},
		{"a password of colons", "Basic " + encode("a::"), "a", ":"},
		{"spaces", "Basic " + encode(" a : b "), " a ", " b "},
		{"the longest", "Basic " + encode(longName+":"+longPassword), longName, longPassword},

		{"nothing", "Basic", "", ""},
		{"a space", "Basic ", "", ""},
		{"a second word", "Basic " + encode("a:b") + " x", "", ""},
		{"padding missing", "Basic " + strings.TrimRight(encode("ab:c"), "="), "", ""},
		{"padding too long", "Basic " + encode("a:b") + "=", "", ""},
		{"spare bits set", "Basic YTpjZB==", "", ""},
		{"URL alphabet", "Basic " + base64.URLEncoding.EncodeToString([]byte("a:\u00ff\u00fe?>")), "", ""},
		{"a line break", "Basic YTpi\n", "", ""},
		{"plain text", "Basic a:b", "", ""},
		{"no colon", "Basic " + encode("admin"), "", ""},
		{"no name", "Basic " + encode(":b"), "", ""},
		{"no password", "Basic " + encode("a:"), "", ""},
		{"a colon alone", "Basic " + encode(":"), "", ""},
		{"Latin-1", "Basic " + encode("a:\xa3"), "", ""},
		{"Latin-1 in the name", "Basic " + encode("\xa3:b"), "", ""},
		{"NUL", "Basic " + encode("a:b\x00b"), "", ""},
		{"NUL in the name", "Basic " + encode("a\x00:b"), "", ""},
		{"a line feed", "Basic " + encode("a:b\n"), "", ""},
		{"a line feed in the name", "Basic " + encode("a\r\n:b"), "", ""},
		{"DEL", "Basic " + encode("a:\x7f"), "", ""},
		{"NEL in the name", "Basic " + encode("a\u0085:b"), "", ""},
		{"a name too long", "Basic " + encode(longName+"n:b"), "", ""},
		{"a password too long", "Basic " + encode("a:p"+longPassword), "", ""},
		{"a field too long", "Basic " + encode("a:"+strings.Repeat("p", 9<<10)), "", ""},
	} {
		user, password, err := parseBasic(http.Header{"Authorization": {tt.field}})
		if user != tt.user || password != tt.password || (err == nil) != (tt.user != "") {
			t.Errorf("%s: got %.20q %.20q %v", tt.name, user, password, err)
		}
		if err != nil && strings.Contains(err.Error(), "YTpi") {
			t.Errorf("%s: the error has the credential: %v", tt.name, err)
		}
	}
}

func FuzzParseBasic(f *testing.F) {
	for _, pair := range []string{"a:b", "admin:p:w", ":", "a", "a\x00:b", "\xff:b", "Aladdin:open sesame"} {
		f.Add("Basic " + base64.StdEncoding.EncodeToString([]byte(pair)))
	}
	f.Add("Basic")
	f.Fuzz(func(t *testing.T, field string) {
		user, password, err := parseBasic(http.Header{"Authorization": {field}})
		if err != nil {
			if user != "" || password != "" {
				t.Errorf("%q: refused with %q and %q", field, user, password)
			}
			return
		}
		if checkUserName(user) != nil || password == "" || !isPlainText(password) || !strings.HasSuffix(field, " "+base64.StdEncoding.EncodeToString([]byte(user+":"+password))) {
			t.Errorf("%q: accepted as %q and %q", field, user, password)
		}
	})
}
