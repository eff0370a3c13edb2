package exchange_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/exchange"
	"github.com/keywright/keywright/store"
)

// What is wrong with a configuration is said before the server listens.
func TestNewRefuses(t *testing.T) {
	hostAt := func(text string) keywright.Host {
		c := keywright.HostConfig{Store: &store.Memory{}, Kinds: map[string]string{"ci": "kw_ci", "job": "kw_job"}}
		if text != "" {
			u, err := url.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			c.URL = u
		}
		h, err := keywright.NewHost(c)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	good := func() exchange.Config { return exchange.Config{Host: hostAt("https://connect.example")} }
	public := func(edit ...func(*exchange.Publisher)) exchange.Publisher { return github(edit...) }
	for _, tt := range []struct {
		name  string
		edit  func(*exchange.Config)
		wrong string // in the error; "": there is none
	}{
		{"as it should be", func(*exchange.Config) {}, ""},
		{"another kind", func(c *exchange.Config) { c.KeyKind = "job" }, ""},
		{"http on this machine", func(c *exchange.Config) { c.Host = hostAt("http://localhost:8080") }, ""},
		{"http by address", func(c *exchange.Config) { c.Host = hostAt("http://127.0.0.1:8080/connect") }, ""},
		{"no host", func(c *exchange.Config) { c.Host = keywright.Host{} }, "Host is required"},
		{"no URL", func(c *exchange.Config) { c.Host = hostAt("") }, "no URL"},
		{"http elsewhere", func(c *exchange.Config) { c.Host = hostAt("http://connect.example") }, "must be https"},
		{"http at a name that begins like loopback", func(c *exchange.Config) { c.Host = hostAt("http://127.0.0.1.example") }, "must be https"},
		{"an unknown kind", func(c *exchange.Config) { c.KeyKind = "other" }, "KeyKind"},
		{"an audience with a line break", func(c *exchange.Config) { c.Audience = "a\nb" }, "Audience"},
		{"an audience that cannot be seen", func(c *exchange.Config) { c.Audience = "a\u0080" }, "Audience"},
		{"an audience that is long", func(c *exchange.Config) { c.Audience = strings.Repeat("a", 513) }, "Audience"},
		{"GitHub's default audience", func(c *exchange.Config) { c.Audience = "https://github.com/octo-org" }, "for anybody"},
		{"Buildkite's default audience", func(c *exchange.Config) { c.Audience = "https://buildkite.com/acme" }, "for anybody"},
		{"GitLab's default audience", func(c *exchange.Config) { c.Audience = "https://gitlab.com" }, "for anybody"},
		{"a GitLab instance's default audience", func(c *exchange.Config) {
			c.Audience = "https://gitlab.corp.example"
			c.Publishers = []exchange.Publisher{{
				ID: "p", Provider: exchange.GitLab, Issuer: c.Audience, Subject: "s", Scopes: []string{"a"}, Claims: map[string]exchange.Values{"project_id": {"1"}},
			}}
		}, "without having been asked"},
		{"CircleCI's default audience", func(c *exchange.Config) {
			c.Audience = "9f1a"
			c.Publishers = []exchange.Publisher{{
				ID: "p", Provider: exchange.CircleCI, Issuer: "https://oidc.circleci.com/org/9f1a", Subject: "s", Scopes: []string{"a"},
				Claims: map[string]exchange.Values{"oidc.circleci.com/project-id": {"1"}, "oidc.circleci.com/vcs-origin": {"github.com/a/b"}},
			}}
		}, "without having been asked"},
		{"a publisher that is not valid", func(c *exchange.Config) { c.Publishers = []exchange.Publisher{{ID: "p"}} }, "provider"},
		{"a publisher twice", func(c *exchange.Config) { c.Publishers = []exchange.Publisher{public(), public()} }, "twice"},
		{"a pending publisher", func(c *exchange.Config) {
			c.Publishers = []exchange.Publisher{public(func(p *exchange.Publisher) {
				delete(p.Claims, "repository_id")
				p.PendingUntil = c.Host.Hooks.Now().AddDate(0, 0, 1)
			})}
		}, "only a stored publisher"},
		{"an issuer twice", func(c *exchange.Config) {
			c.Issuers = []exchange.Issuer{{URL: "https://a.example"}, {URL: "https://a.example"}}
		}, "twice"},
		{"an issuer over http", func(c *exchange.Config) { c.Issuers = []exchange.Issuer{{URL: "http://a.example"}} }, "https"},
		{"an issuer on this machine", func(c *exchange.Config) { c.Issuers = []exchange.Issuer{{URL: "http://127.0.0.1:1"}} }, "http"},
		{"an algorithm that is none", func(c *exchange.Config) {
			c.Issuers = []exchange.Issuer{{URL: "https://a.example", Algorithms: []string{"HS256"}}}
		}, "HS256"},
		{"static keys that are none", func(c *exchange.Config) {
			c.Issuers = []exchange.Issuer{{URL: "https://a.example", JWKS: []byte(`{"keys":[]}`)}}
		}, "empty"},
		{"keys over http", func(c *exchange.Config) {
			c.Issuers = []exchange.Issuer{{URL: "https://a.example", JWKSURL: "http://a.example/keys"}}
		}, "https"},
		{"a negative lifetime", func(c *exchange.Config) { c.Issuers = []exchange.Issuer{{URL: "https://a.example", MaxLifetime: -1}} }, "MaxLifetime"},
		{"a negative rate", func(c *exchange.Config) { c.Failures.PerMinute = -1 }, "PerMinute"},
	} {
		c := good()
		tt.edit(&c)
		h, err := exchange.New(c)
		switch {
		case tt.wrong == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.wrong != "" && (err == nil || h != nil || !strings.Contains(err.Error(), tt.wrong)):
			t.Errorf("%s: got %v, want an error with %q", tt.name, err, tt.wrong)
		}
	}
}
