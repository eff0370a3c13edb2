package main_test

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/keywright/keywright/bootstrap"
)

// wantKey checks an answer as the client reads it: a status in the 200s, a
// content type that begins in lower case, UTF-8, and a key fit for a header.
func (a rawAnswer) wantKey(t *testing.T) {
	t.Helper()
	if !strings.HasPrefix(a.head, "HTTP/1.1 200 OK\r\n") {
		t.Errorf("got %q, want status 200", strings.SplitN(a.head, "\r\n", 2)[0])
	}
	if !strings.Contains(a.head, "\r\nContent-Type: application/json") {
		t.Errorf("no Content-Type that begins with application/json in lower case:\n%s", a.head)
	}
	if !strings.Contains(a.head, "\r\nCache-Control: no-store\r\n") {
		t.Errorf("the answer may be cached:\n%s", a.head)
	}
	if !utf8.ValidString(a.body) {
		t.Error("the body is not UTF-8")
	}
	if !regexp.MustCompile(`^\{"api_key":"kw_admin_[0-9A-Za-z]{45}"\}\n?$`).MatchString(a.body) {
		t.Error("the body is not one api_key")
	}
}

// TestRequestAsSent sends the bytes that rsconnect-python sends, whole and in
// segments, and variations that a server must not mind.
func TestRequestAsSent(t *testing.T) {
	t.Parallel()
	body := func(request string) string {
		return strings.Replace(request, "Content-Length: 0", "Content-Length: 2", 1)
	}
	tests := []struct {
		name     string
		path     string
		segments func(request string) []string
	}{
		{"whole", bootstrap.Path, func(r string) []string { return []string{r} }},
		{"head in two segments", bootstrap.Path, func(r string) []string { return []string{r[:60], r[60:]} }},
		{"split within the token", bootstrap.Path, func(r string) []string { return []string{r[:len(r)-50], r[len(r)-50:]} }},
		{"last line break alone", bootstrap.Path, func(r string) []string { return []string{r[:len(r)-2], r[len(r)-2:]} }},
		{"head and body in segments", bootstrap.Path, func(r string) []string { return []string{body(r), "{}"} }},
		{"scheme in lower case", bootstrap.Path, func(r string) []string {
			return []string{strings.Replace(r, "Connect-Bootstrap", "connect-bootstrap", 1)}
		}},
		{"two slashes", "/" + bootstrap.Path, func(r string) []string { return []string{r} }},
		{"slashes within", strings.ReplaceAll(bootstrap.Path, "/", "//"), func(r string) []string { return []string{r} }},
		{"a query", bootstrap.Path + "?x=1", func(r string) []string { return []string{r} }},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := newInstallation(t)
			p := in.start()
			request := p.postLines(tt.path, "Connect-Bootstrap "+in.rsconnectToken(15*time.Minute-time.Duration(i)*time.Second))
			a, err := p.exchange(tt.segments(request)...)
			if err != nil {
				t.Fatal(err)
			}
			a.wantKey(t)
			in.hide(a.key())
			if a.key() != "" && !p.accepts(a.key()) {
				t.Error("the key does not work")
			}
		})
	}
}

// TestErrorTable has a row for each answer that the client knows, on one server
// before its bootstrap and again after it: authentication comes first.
func TestErrorTable(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	p := in.start()
	rows := in.unauthorized()
	for _, when := range []string{"before", "after"} {
		for name, authorization := range rows {
			p.wantRefusal(when+": "+name, http.MethodPost, bootstrap.Path, authorization, 401)
		}
		for _, path := range []string{bootstrap.Path + "/", "/connect" + bootstrap.Path, "/__api__/v1/bootstrap", "/"} {
			p.wantRefusal(when+": POST "+path, http.MethodPost, path, "Connect-Bootstrap "+in.token(), 404)
		}
		for _, method := range []string{"GET", "PUT", "DELETE", "OPTIONS", "PATCH"} {
			a := p.wantRefusal(when+": "+method, method, bootstrap.Path, "Connect-Bootstrap "+in.token(), 405)
			if got := a.header.Get("Allow"); got != "POST" {
				t.Errorf("%s: Allow: got %q, want POST", method, got)
			}
		}
		if when == "before" {
			if s := in.look(); !s.untouched() {
				t.Errorf("the refusals left something behind: %+v", s)
			}
			p.claim()
		}
	}
	for _, token := range []string{in.token(), in.rsconnectToken(10 * time.Minute)} {
		p.wantRefusal("claimed", http.MethodPost, bootstrap.Path, "Connect-Bootstrap "+token, 403)
	}
}

// unauthorized names every cause for 401 with an Authorization that has it.
func (in *installation) unauthorized() map[string]string {
	now := time.Now().Unix()
	claims := func(iss, aud, scope string, iat, exp int64) string {
		return fmt.Sprintf(`{"exp":%d,"iss":%q,"aud":%q,"iat":%d,"scope":%q}`, exp, iss, aud, iat, scope)
	}
	good := claims("rsconnect-python", "rsconnect", "bootstrap", now, now+900)
	rows := map[string]string{
		"no Authorization":    "",
		"another scheme":      "Bearer " + in.sign(pyJWTHeader, good),
		"a scheme alone":      "Connect-Bootstrap",
		"an API key":          "Key kw_admin_" + strings.Repeat("a", 45),
		"not a JWT":           "Connect-Bootstrap not-a-jwt",
		"another secret":      "Connect-Bootstrap " + signWith([]byte(strings.Repeat("x", 32)), pyJWTHeader, good),
		"an empty secret":     "Connect-Bootstrap " + signWith(nil, pyJWTHeader, good),
		"the secret's base64": "Connect-Bootstrap " + signWith([]byte(in.secret), pyJWTHeader, good),
		"no signature":        "Connect-Bootstrap " + strings.TrimRight(in.sign(pyJWTHeader, good), "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
	}
	for name, token := range map[string][2]string{
		"alg none":         {`{"alg":"none","typ":"JWT"}`, good},
		"alg HS512":        {`{"alg":"HS512","typ":"JWT"}`, good},
		"iss":              {pyJWTHeader, claims("rsconnect", "rsconnect", "bootstrap", now, now+900)},
		"aud":              {pyJWTHeader, claims("rsconnect-python", "connect", "bootstrap", now, now+900)},
		"scope":            {pyJWTHeader, claims("rsconnect-python", "rsconnect", "admin", now, now+900)},
		"no scope":         {pyJWTHeader, fmt.Sprintf(`{"exp":%d,"iss":"rsconnect-python","aud":"rsconnect","iat":%d}`, now+900, now)},
		"no exp":           {pyJWTHeader, fmt.Sprintf(`{"iss":"rsconnect-python","aud":"rsconnect","iat":%d,"scope":"bootstrap"}`, now)},
		"expired":          {pyJWTHeader, claims("rsconnect-python", "rsconnect", "bootstrap", now-900, now-60)},
		"not yet valid":    {pyJWTHeader, claims("rsconnect-python", "rsconnect", "bootstrap", now+120, now+900)},
		"lives too long":   {pyJWTHeader, claims("rsconnect-python", "rsconnect", "bootstrap", now, now+901)},
		"claims not JSON":  {pyJWTHeader, "x"},
		"claims not UTF-8": {pyJWTHeader, strings.Replace(good, "bootstrap", "bootstrap\xff", 1)},
	} {
		rows[name] = "Connect-Bootstrap " + in.sign(token[0], token[1])
	}
	return rows
}

// wantRefusal sends the client's own bytes and wants the status, no redirect
// and no key.
func (p *process) wantRefusal(name, method, path, authorization string, status int) answer {
	p.in.t.Helper()
	request := p.postLines(path, authorization)
	a, err := p.exchange(method + strings.TrimPrefix(request, "POST"))
	switch {
	case err != nil:
		p.in.t.Errorf("%s: %v", name, err)
	case a.status != status:
		p.in.t.Errorf("%s: got %d, want %d", name, a.status, status)
	case strings.Contains(a.body, "api_key") || a.header.Get("Location") != "" || !utf8.ValidString(a.body):
		p.in.t.Errorf("%s: a key, a redirect or no UTF-8 in the answer:\n%s%s", name, a.head, a.body)
	}
	return a.answer
}

// TestDisabled compares the endpoint that is turned off with one that was
// never there.
func TestDisabled(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.configure(`{"bootstrap":{"disabled":true}}`)
	p := in.start()
	for _, method := range []string{"POST", "GET", "PUT", "DELETE", "OPTIONS"} {
		authorization := "Connect-Bootstrap " + in.token()
		off := p.wantRefusal("disabled "+method, method, bootstrap.Path, authorization, 404)
		absent := p.wantRefusal("absent "+method, method, bootstrap.Path+"x", authorization, 404)
		off.header.Del("Date")
		absent.header.Del("Date")
		if fmt.Sprint(off) != fmt.Sprint(absent) {
			t.Errorf("%s: the disabled endpoint is told from an absent one:\n%v\n%v", method, off, absent)
		}
	}
	if s := in.look(); !s.untouched() {
		t.Errorf("a disabled endpoint left something behind: %+v", s)
	}
	p.wantNoCommand()
}

// TestConnectionReuse sends several requests on one connection, a refused one
// with a body first.
func TestConnectionReuse(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	p := in.start()
	conn := p.dial()
	refused := strings.Replace(p.postLines(bootstrap.Path, "Connect-Bootstrap junk"), "Content-Length: 0", "Content-Length: 4", 1) + "body"
	for i, step := range []struct {
		request string
		status  int
	}{
		{refused, 401},
		{p.postLines(bootstrap.Path, "Connect-Bootstrap "+in.token()), 200},
		{p.postLines(bootstrap.Path, "Connect-Bootstrap "+in.token()), 403},
	} {
		if _, err := io.WriteString(conn, step.request); err != nil {
			t.Fatal(err)
		}
		a, err := readRaw(conn)
		if err != nil {
			t.Fatal(err)
		}
		if a.status != step.status {
			t.Errorf("request %d on the connection: got %d, want %d", i+1, a.status, step.status)
		}
		in.hide(a.key())
	}
}
