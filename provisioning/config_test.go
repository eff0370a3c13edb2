package provisioning_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning"
	"github.com/keywright/keywright/store"
)

func TestNewChecksItsConfig(t *testing.T) {
	host := func(edit func(*keywright.HostConfig)) keywright.Host {
		c := keywright.HostConfig{
			Store: new(store.Memory), URL: &url.URL{Scheme: "https", Host: "server.example"},
			Kinds: map[string]string{"provisioning": "ck_prov", "runner": "ck_runner", "enrollment": "ck_enroll"},
		}
		if edit != nil {
			edit(&c)
		}
		h, err := keywright.NewHost(c)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	good := host(nil)
	without := func(kind string) keywright.Host {
		return host(func(c *keywright.HostConfig) { delete(c.Kinds, kind) })
	}
	limits := func(l provisioning.Limits) provisioning.Config { return provisioning.Config{Host: good, Limits: l} }
	const century = 100 * 365 * 24 * time.Hour
	for _, tt := range []struct {
		name string
		c    provisioning.Config
		want string // in the error; empty: none
	}{
		{"the least", provisioning.Config{Host: good}, ""},
		{"no host", provisioning.Config{}, "Config.Host is required"},
		{"no keys", provisioning.Config{Host: keywright.Host{Store: new(store.Memory), URL: good.URL}}, "Config.Host is required"},
		{"no store", provisioning.Config{Host: keywright.Host{Keys: good.Keys, URL: good.URL}}, "Config.Host is required"},
		{"no URL", provisioning.Config{Host: host(func(c *keywright.HostConfig) { c.URL = nil })}, "Config.Host has no URL"},
		{"a long URL", provisioning.Config{Host: host(func(c *keywright.HostConfig) { c.URL.Path = "/" + strings.Repeat("x", 255) })}, "Config.Host.URL: want http(s)://host"},
		{"no provisioning keys", provisioning.Config{Host: without("provisioning")}, `no kind of keys named "provisioning"`},
		{"no runners' keys", provisioning.Config{Host: without("runner")}, `no kind of keys named "runner"`},
		{"no tokens", provisioning.Config{Host: without("enrollment")}, `no kind of keys named "enrollment"`},
		{"a negative lifetime", limits(provisioning.Limits{Lifetime: -1}), "Config.Limits.Lifetime: want"},
		{"a lifetime above its maximum", limits(provisioning.Limits{Lifetime: 2 * time.Hour, MaxLifetime: time.Hour}), "Config.Limits.Lifetime: want"},
		{"the standard lifetime above its maximum", limits(provisioning.Limits{MaxLifetime: time.Hour}), "Config.Limits.Lifetime: want"},
		{"a lifetime above the standard maximum", limits(provisioning.Limits{Lifetime: 31 * 24 * time.Hour}), ""},
		{"the longest lifetime", limits(provisioning.Limits{MaxLifetime: century}), ""},
		{"a longer one", limits(provisioning.Limits{MaxLifetime: century + 1}), "Config.Limits.MaxLifetime: want"},
		{"a negative rate", limits(provisioning.Limits{PerHour: -1}), "Config.Limits.PerHour is negative"},
		{"a negative life of keys", limits(provisioning.Limits{RunnerKey: -1}), "Config.Limits.RunnerKey: want"},
		{"the longest life of keys", limits(provisioning.Limits{RunnerKey: century}), ""},
		{"a longer one", limits(provisioning.Limits{RunnerKey: century + 1}), "Config.Limits.RunnerKey: want"},
		{"a negative overlap", limits(provisioning.Limits{Overlap: -1}), "Config.Limits.Overlap: want"},
		{"the longest overlap", limits(provisioning.Limits{Overlap: century}), ""},
		{"a longer one", limits(provisioning.Limits{Overlap: century + 1}), "Config.Limits.Overlap: want"},
		{"no binding", provisioning.Config{Host: good, Binding: -1}, "Config.Binding: there is no -1"},
		{"no binding", provisioning.Config{Host: good, Binding: provisioning.Bind + 1}, "Config.Binding: there is no 3"},
		{"the last binding", provisioning.Config{Host: good, Binding: provisioning.Bind}, ""},
		{"a negative refill", provisioning.Config{Host: good, Failures: provisioning.FailureLimit{PerMinute: -1}}, "Config.Failures.PerMinute is negative"},
		{"no limit of failures", provisioning.Config{Host: good, Failures: provisioning.FailureLimit{Burst: -1, PerMinute: -1}}, ""},
		{"another scheme", provisioning.Config{Host: good, ServerURLs: []string{"ftp://a.example"}}, `Config.ServerURLs: "ftp://a.example": want`},
		{"no host name", provisioning.Config{Host: good, ServerURLs: []string{"https:///x"}}, "Config.ServerURLs"},
		{"opaque", provisioning.Config{Host: good, ServerURLs: []string{"https:a.example"}}, "Config.ServerURLs"},
		{"a user", provisioning.Config{Host: good, ServerURLs: []string{"https://u:p@a.example"}}, "Config.ServerURLs"},
		{"a query", provisioning.Config{Host: good, ServerURLs: []string{"https://a.example?x"}}, "Config.ServerURLs"},
		{"a fragment", provisioning.Config{Host: good, ServerURLs: []string{"https://a.example#x"}}, "Config.ServerURLs"},
		{"no URL", provisioning.Config{Host: good, ServerURLs: []string{"https://a.example", "http://[::1"}}, "Config.ServerURLs"},
		{"invisible", provisioning.Config{Host: good, ServerURLs: []string{"https://a.example/\u200b"}}, "Config.ServerURLs"},
		{"several", provisioning.Config{Host: good, ServerURLs: []string{"https://a.example/x/", "http://[::1]:80"}}, ""},
	} {
		h, err := provisioning.New(tt.c)
		switch {
		case tt.want == "" && (err != nil || h == nil):
			t.Errorf("%s: got %v", tt.name, err)
		case tt.want != "" && (err == nil || h != nil || !strings.HasPrefix(err.Error(), "provisioning: ") || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: got %v, %v, want %q", tt.name, h, err, tt.want)
		}
	}
}

// Without an Authenticator for administrators there is no admin API, and what
// there is stands where the host mounts it.
func TestRoutes(t *testing.T) {
	w := newWorld(t)
	plain, err := provisioning.New(provisioning.Config{Host: w.host})
	if err != nil {
		t.Fatal(err)
	}
	if without, all := plain.Routes(), w.prov.Routes(); len(without) != 4 || len(all) <= 4 {
		t.Errorf("%d routes without an admin API, %d with it", len(without), len(all))
	}
	mux := http.NewServeMux()
	plain.Register(mux, "")
	srv := httptest.NewServer(mux)
	defer srv.Close()
	key, open := w.makeKey("ci"), w.url
	w.url = srv.URL
	w.provision(key, "sdr-1")
	for _, path := range []string{keysPath, "/api/enrollment/token", "/api/enrollment/tokens", "/api/runners", "/api/agents"} {
		w.want(path, w.call("GET", path, w.admin, ""), 404, "")
	}
	below := http.NewServeMux()
	w.prov.Register(below, "/connect")
	srv2 := httptest.NewServer(below)
	defer srv2.Close()
	w.url = srv2.URL + "/connect"
	token, runner := w.provision(key, "sdr-1")
	w.want("enrol", w.enroll(token, runner, "sdr-1"), 201, "")
	w.want("toggle", w.call("POST", keysPath+"/ci/toggle", w.admin, `{}`), 200, "")
	w.want("rotate", w.call("POST", keysPath+"/ci/rotate", w.admin, ""), 200, "")
	w.want("re-enrol", w.call("POST", "/api/enrollment/re-enroll/sdr-1", w.admin, ""), 201, "")
	w.want("delete", w.call("DELETE", "/api/agents/sdr-1", w.admin, ""), 200, "")
	w.url = open
}

// A Render of the host is told all; where it fails, nothing was done.
func TestRender(t *testing.T) {
	fail := false
	w := newWorld(t, func(s *setup) {
		s.config.Render = func(_ context.Context, p provisioning.Provisioned, r provisioning.ProvisionRequest) (string, error) {
			if fail {
				return "", errors.New("the disk is full of " + p.APIKey[:10])
			}
			return strings.Join([]string{p.Name, p.ID, p.Token, p.APIKey, p.ServerURL, p.Maker, p.ExpiresAt.Format(time.RFC3339), r.Name, r.Devices[0].Model}, "|"), nil
		}
	})
	key := w.makeKey("ci", `"max_uses":1`, `"max_pending":1`)
	const body = `{"runner_name":"sdr-1","runner_id":"id-1","devices":[{"name":1,"model":"m"}]}`
	before := w.dump(kinds...)
	fail = true
	w.want("it fails", w.call("POST", provisionPath, key, body), 500, "Internal error")
	w.unchanged("it fails", before)
	fail = false
	a := w.call("POST", provisionPath, key, body)
	want := strings.Join([]string{"sdr-1", "id-1", a.field("enrollment_token"), a.field("api_key"), base, "provisioning:ci", "2026-03-02T12:00:00Z", "sdr-1", "m"}, "|")
	if a.status != 201 || a.field("config_yaml") != want {
		t.Errorf("got %d %s, want %s", a.status, a.body, want)
	}
}
