package agentauth_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keywright/keywright/agentauth"
)

// TestFindingTheEndpoint is section 7.1, as a client sees it.
func TestFindingTheEndpoint(t *testing.T) {
	about := func(changes claims) claims {
		return claims{"issuer": issuer, "jwks_uri": issuer + "/jwks.json"}.with(changes)
	}
	for name, tt := range map[string]struct {
		metadata any
		want     string // URL that is asked, or what an error says
	}{
		"as they say":               {about(claims{"enrol_endpoint": issuer + "/e?a=b"}), issuer + "/e?a=b"},
		"on another host":           {about(claims{"enrol_endpoint": "https://api.example/e"}), "https://api.example/e"},
		"nothing said":              {about(nil), issuer + "/enrol"},
		"more than is known":        {about(claims{"enrol": claims{"a": 1}, "x": null}), issuer + "/enrol"},
		"none":                      {nil, "agentauth: metadata of https://ap.example: https://ap.example answers 404 Not Found"},
		"no JSON":                   {"<html>", "agentauth: metadata of https://ap.example: no JSON object"},
		"a list":                    {"[]", "agentauth: metadata of https://ap.example: no JSON object"},
		"a member twice":            {`{"issuer":"https://ap.example","enrol_endpoint":"https://ap.example/a","enrol_endpoint":"https://ap.example/b"}`, "agentauth: metadata of https://ap.example: no JSON object"},
		"no issuer":                 {about(claims{"issuer": nil}), "agentauth: metadata of https://ap.example name another issuer"},
		"another issuer":            {about(claims{"issuer": "https://other.example"}), "agentauth: metadata of https://ap.example name another issuer"},
		"the issuer and a slash":    {about(claims{"issuer": issuer + "/"}), "agentauth: metadata of https://ap.example name another issuer"},
		"the issuer in upper case":  {about(claims{"issuer": "https://AP.example"}), "agentauth: metadata of https://ap.example name another issuer"},
		"an issuer that is no text": {about(claims{"issuer": []string{issuer}}), "agentauth: metadata of https://ap.example name another issuer"},
		"http":                      {about(claims{"enrol_endpoint": "http://ap.example/e"}), "agentauth: metadata: enrol_endpoint: want https;"},
		"http on this machine":      {about(claims{"enrol_endpoint": "http://localhost/e"}), "agentauth: metadata: enrol_endpoint: want https;"},
		"a path":                    {about(claims{"enrol_endpoint": "/e"}), "agentauth: metadata: enrol_endpoint: want a URL"},
		"a password":                {about(claims{"enrol_endpoint": "https://a:b@ap.example/e"}), "agentauth: metadata: enrol_endpoint: want a URL"},
		"no host but a port":        {about(claims{"enrol_endpoint": "https://:443/e"}), "agentauth: metadata: enrol_endpoint: want a URL"},
		"another scheme":            {about(claims{"enrol_endpoint": "javascript://ap.example/e"}), "agentauth: metadata: enrol_endpoint: want https;"},
		"a number":                  {about(claims{"enrol_endpoint": 1}), "agentauth: metadata: enrol_endpoint: "},
		"null":                      {about(claims{"enrol_endpoint": null}), "agentauth: metadata: enrol_endpoint: "},
		"64 KiB":                    {about(claims{"x": strings.Repeat("x", 64<<10)}), "agentauth: metadata of https://ap.example: the answer is longer than 65536 bytes"},
	} {
		p := &foreignProvider{t: t, metadata: tt.metadata}
		c := p.config()
		c.Provider, c.Endpoint = issuer, ""
		c.HTTP.Transport = local{"ap.example": p, "api.example": p}
		_, err := agentauth.Enroll(t.Context(), c)
		switch {
		case err != nil && !strings.HasPrefix(err.Error(), tt.want), err != nil && len(p.requests) > 0:
			t.Errorf("%s: %v", name, err)
		case err == nil && (len(p.requests) != 1 || p.requests[0].url != tt.want):
			t.Errorf("%s: %v", name, p.requests)
		}
	}
}

// TestDevelopment: servers on this machine need no TLS where that is said.
func TestDevelopment(t *testing.T) {
	var provider string
	p := &foreignProvider{t: t}
	server := httptest.NewServer(p)
	defer server.Close()
	provider = server.URL
	p.metadata = claims{"issuer": provider, "enrol_endpoint": provider + "/e"}
	p.claims = claims{"iss": provider, "sub": "aauth:a@127.0.0.1"}
	p.answer = claims{"jwks_uri": provider + "/a.json"}
	c := p.config()
	c.Provider, c.Endpoint, c.AgentID, c.HTTP = provider, "", "aauth:a@127.0.0.1", nil
	if _, err := agentauth.Enroll(t.Context(), c); err == nil || len(p.requests) > 0 {
		t.Errorf("without Development: %v", err)
	}
	c.Development = true
	if e, err := agentauth.Enroll(t.Context(), c); err != nil || e.Provider != provider {
		t.Errorf("%v, %v", e, err)
	}
	p.metadata = claims{"issuer": provider, "enrol_endpoint": "http://ap.example/e"}
	if _, err := agentauth.Enroll(t.Context(), c); err == nil || !strings.Contains(err.Error(), "enrol_endpoint: want https") {
		t.Errorf("http elsewhere: %v", err)
	}
}

// TestEnrollFollowsNoRedirect: what is signed for one place is not for another.
func TestEnrollFollowsNoRedirect(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		elsewhere := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Errorf("%d was followed", status) })
		redirect := fails(status, "", "Location", "https://elsewhere.example/")
		p := &foreignProvider{t: t, instead: redirect}
		c := p.config()
		c.HTTP.Transport = local{"ap.example": p, "elsewhere.example": elsewhere}
		if _, err := agentauth.Enroll(t.Context(), c); statusOf(err) != status {
			t.Errorf("of the endpoint, %d: %v", status, err)
		}
		c.Provider, c.Endpoint = issuer, ""
		c.HTTP.Transport = local{"ap.example": redirect, "elsewhere.example": elsewhere}
		if _, err := agentauth.Enroll(t.Context(), c); statusOf(err) != status {
			t.Errorf("of the metadata, %d: %v", status, err)
		}
	}
}
