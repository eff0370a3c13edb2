package agentauth_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/keywright/keywright/agentauth"
)

func TestOriginsAreSchemeHostAndPort(t *testing.T) {
	for text, want := range map[string]string{ // of the error; "": none
		"https://resource.example":       "",
		"https://resource.example:8443":  "",
		"https://Resource.Example:443":   "",
		"https://[2001:db8::1]":          "",
		"https://resource.example/":      "nothing after it",
		"https://resource.example/a":     "nothing after it",
		"https://resource.example?":      "nothing after it",
		"https://resource.example?a=b":   "nothing after it",
		"https://resource.example#":      "nothing after it",
		"https://resource.example#a":     "want a URL",
		"https://a@resource.example":     "want a URL",
		"https://a:b@resource.example":   "want a URL",
		"https://":                       "want a URL",
		"https://b\u00fccher.example":    "ASCII",
		"https://[fe80::1%25en0]":        "ASCII",
		"http://resource.example":        "want https",
		"http://localhost:8080":          "want https",
		"resource.example":               "want",
		"ftp://resource.example":         "want https",
		"https://resource.example:port/": "want a URL",
	} {
		identity, err := agentauth.FixedIdentity(seedKey("agent"), agentauth.SignOptions{})
		must(t, err)
		_, err = agentauth.NewTransport(agentauth.TransportConfig{Identity: identity, Origins: []string{text}})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	for text, ok := range map[string]bool{"http://localhost:8080": true, "http://127.0.0.1": true, "http://[::1]:1": true, "http://resource.example": false, "http://192.0.2.1": false} {
		identity, err := agentauth.FixedIdentity(seedKey("agent"), agentauth.SignOptions{})
		must(t, err)
		_, err = agentauth.NewTransport(agentauth.TransportConfig{Identity: identity, Origins: []string{text}, Development: true})
		if (err == nil) != ok {
			t.Errorf("%s in development: %v", text, err)
		}
	}
}

func TestTransportConfigIsChecked(t *testing.T) {
	identity, err := agentauth.FixedIdentity(seedKey("agent"), agentauth.SignOptions{})
	must(t, err)
	good := agentauth.TransportConfig{Identity: identity, Origins: []string{"https://resource.example"}}
	for name, edit := range map[string]func(*agentauth.TransportConfig){
		"no identity":               func(c *agentauth.TransportConfig) { c.Identity = nil },
		"no origins":                func(c *agentauth.TransportConfig) { c.Origins = nil },
		"a limit below zero":        func(c *agentauth.TransportConfig) { c.MaxBody = -1 },
		"an unknown component":      func(c *agentauth.TransportConfig) { c.Components = []string{"@status"} },
		"a component in upper case": func(c *agentauth.TransportConfig) { c.Components = []string{"Date"} },
		"a component without its @": func(c *agentauth.TransportConfig) { c.Components = []string{"query"} },
		"a field of the connection": func(c *agentauth.TransportConfig) { c.Components = []string{"te"} },
		"the signature":             func(c *agentauth.TransportConfig) { c.Components = []string{"signature"} },
		"many components": func(c *agentauth.TransportConfig) {
			c.Components = strings.Fields("a b c d e f g h i j k l m n o p q")
		},
	} {
		c := good
		edit(&c)
		if _, err := agentauth.NewTransport(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestRequestsToOthersPassAsTheyAre(t *testing.T) {
	for target, signed := range map[string]bool{
		"https://resource.example/a":      true,
		"https://RESOURCE.example:443/a":  true,
		"https://resource.example:8443/a": false,
		"https://resource.example:80/a":   false,
		"http://resource.example/a":       false,
		"http://resource.example:443/a":   false,
		"https://resource.example./a":     false,
		"https://a.resource.example/a":    false,
		"https://other.example/a":         false,
		"https://user@other.example/a":    false,
	} {
		s := new(stage)
		r := clientRequest(t, "POST", target, "body")
		r.Header.Set("Authorization", "Bearer of-the-caller")
		_, err := signingTransport(t, s, nil).RoundTrip(r)
		must(t, err)
		sent := s.seen[0]
		switch {
		case signed && (sent.Header.Get("Signature") == "" || sent == r):
			t.Errorf("%s: not signed: %v", target, sent.Header)
		case signed && sent.Host != "resource.example":
			t.Errorf("%s: sent with Host %s", target, sent.Host)
		case !signed && (sent != r || len(sent.Header) != 2):
			t.Errorf("%s: %v", target, sent.Header)
		}
	}
}

func TestTransportRefusesWhatItCannotSignFor(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*http.Request)
		want string
	}{
		"another Host":     {func(r *http.Request) { r.Host = "other.example" }, "another Host"},
		"another port":     {func(r *http.Request) { r.Host = "resource.example:8443" }, "another Host"},
		"the usual port":   {func(r *http.Request) { r.Host = "Resource.example:443" }, ""},
		"no Host":          {func(r *http.Request) { r.Host = "" }, ""},
		"an empty port":    {func(r *http.Request) { r.URL.Host, r.Host = "resource.example:", "resource.example:" }, ""},
		"no header":        {func(r *http.Request) { r.Header = nil; r.Body = nil }, ""},
		"a user":           {func(r *http.Request) { r.URL.User = url.User("a") }, "user"},
		"another target":   {func(r *http.Request) { r.URL.Opaque = "//other.example/a" }, "opaque"},
		"a request URI":    {func(r *http.Request) { r.RequestURI = "/other" }, ""},
		"a trailer":        {func(r *http.Request) { r.Trailer = http.Header{"X-Sum": nil} }, "trailers"},
		"no type":          {func(r *http.Request) { r.Header.Del("Content-Type") }, "Content-Type"},
		"two credentials":  {func(r *http.Request) { r.Header["Authorization"] = []string{"a", "b"} }, "authorization"},
		"not ASCII":        {func(r *http.Request) { r.Header.Set("Content-Type", "text/\u00e9") }, "content-type"},
		"a wrong length":   {func(r *http.Request) { r.ContentLength = 3 }, "ContentLength"},
		"a GetBody broken": {func(r *http.Request) { r.GetBody = func() (io.ReadCloser, error) { return nil, errStore } }, errStore.Error()},
		"a GetBody of nil": {func(r *http.Request) { r.GetBody = func() (io.ReadCloser, error) { return nil, nil } }, "GetBody"},
	} {
		s := new(stage)
		r := clientRequest(t, "POST", "https://resource.example/a", "body")
		c.edit(r)
		var body *tracked
		if r.Body != nil {
			body = &tracked{Reader: r.Body}
			r.Body = body
		}
		_, err := signingTransport(t, s, nil).RoundTrip(r)
		switch {
		case c.want == "" && (err != nil || s.seen[0].Header.Get("Signature") == "" || s.seen[0].Host != "resource.example" || s.seen[0].RequestURI != ""):
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || len(s.seen) > 0):
			t.Errorf("%s: %v, %d sent", name, err, len(s.seen))
		case body != nil && !body.isClosed():
			t.Errorf("%s: the body is not closed", name)
		}
	}
}
