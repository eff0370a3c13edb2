package mounttest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning"
	"github.com/keywright/keywright/provisioning/apptoken"
	"github.com/keywright/keywright/store"
)

// A mounted server has provisioning and application tokens, and an admin key.
type mounted struct {
	t           *testing.T
	base, admin string
}

// forEachProvisioning runs check for every router and prefix.
func forEachProvisioning(t *testing.T, check func(m mounted)) {
	for _, r := range routers {
		for _, prefix := range []string{"", "/connect"} {
			t.Run(r.name+prefix, func(t *testing.T) {
				srv := httptest.NewUnstartedServer(nil)
				m := mounted{t: t, base: "http://" + srv.Listener.Addr().String() + prefix}
				srv.Config.Handler = keywright.NoRedirect(r.new(prefix, m.newApp()))
				srv.Start()
				defer srv.Close()
				check(m)
			})
		}
	}
}

func (m *mounted) newApp() *app {
	m.t.Helper()
	external, err := url.Parse(m.base)
	m.check(err)
	host, err := keywright.NewHost(keywright.HostConfig{Store: &store.Memory{}, URL: external, Kinds: map[string]string{
		"admin": "kw_admin", "app": "quay_oat", "provisioning": "ck_prov", "runner": "ck_runner", "enrollment": "ck_enroll",
	}})
	m.check(err)
	key, err := host.Keys.Issue(m.t.Context(), keywright.Principal{}, keywright.KeySpec{
		Kind: "admin", Method: keywright.MethodHost, Subject: "root", Scopes: []string{"admin"},
	})
	m.check(err)
	m.admin = key.Text
	prov, err := provisioning.New(provisioning.Config{Host: host, Admin: host.Keys.Of("admin")})
	m.check(err)
	tokens, err := apptoken.New(apptoken.Config{Host: host, Callers: host.Keys.Of("admin"), Directory: apptoken.Static{
		Organizations: map[string]apptoken.Organization{"myorg": {Applications: map[string]string{"app123": "An application"}}},
	}})
	m.check(err)
	return &app{routes: append(prov.Routes(), tokens.Routes()...), keys: host.Keys.Of("runner", "app")}
}

func (m *mounted) check(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// call sends JSON and returns the texts in the answer.
func (m *mounted) call(method, path, key, body string, status int) map[string]string {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), method, m.base+path, strings.NewReader(body))
	m.check(err)
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	res, err := client.Do(req)
	m.check(err)
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	m.check(err)
	if res.StatusCode != status || res.Header.Get("Location") != "" {
		m.t.Fatalf("%s %s: got %d %s, want %d", method, path, res.StatusCode, answer, status)
	}
	var members map[string]any
	json.Unmarshal(answer, &members) // a 204 has none
	texts := make(map[string]string)
	for name, v := range members {
		texts[name], _ = v.(string)
	}
	return texts
}

func TestProvisioningOnEveryRouter(t *testing.T) {
	forEachProvisioning(t, func(m mounted) {
		key := m.call("POST", provisioning.KeysPath, m.admin, `{"key_id":"ci"}`, 201)["api_key"]
		r := m.call("POST", provisioning.ProvisionPath, key, `{"runner_name":"sdr.1"}`, 201)
		if !strings.Contains(r["config_yaml"], `server_url: "`+m.base+`"`) {
			t.Errorf("the runner is sent elsewhere than to %s:\n%s", m.base, r["config_yaml"])
		}
		m.call("GET", "/whoami", r["api_key"], "", 401)
		enroll := `{"enrollment_token":"` + r["enrollment_token"] + `","api_key":"` + r["api_key"] + `","runner_id":"sdr.1","hostname":"h","devices":[]}`
		m.call("POST", provisioning.EnrollPath, "", enroll, 201)
		if who := m.call("GET", "/whoami", r["api_key"], "", 200); who["subject"] != "sdr.1" {
			t.Errorf("whoami: got %v", who)
		}
		for _, stem := range []string{provisioning.RunnersPath, provisioning.AgentsPath} {
			if one := m.call("GET", stem+"/sdr.1", m.admin, "", 200); one["name"] != "sdr.1" {
				t.Errorf("%s: got %v", stem, one)
			}
			m.call("GET", stem+"/other", m.admin, "", 404)
			m.call("POST", stem+"/sdr.1/disable", m.admin, "", 200)
			m.call("GET", "/whoami", r["api_key"], "", 401)
			m.call("POST", stem+"/sdr.1/enable", m.admin, "", 200)
			m.call("PATCH", stem+"/sdr.1/enable", m.admin, "", 405)
		}
		m.call("GET", provisioning.KeysPath+"/ci/runners", m.admin, "", 200)
		m.call("POST", provisioning.KeysPath+"/ci/toggle", m.admin, `{"enabled":false}`, 200)
		m.call("POST", provisioning.ProvisionPath, key, `{"runner_name":"sdr.2"}`, 401)
		m.call("DELETE", provisioning.KeysPath+"/ci", m.admin, "", 200)
		m.call("DELETE", provisioning.KeysPath+"/ci", m.admin, "", 404)
		m.call("GET", provisioning.KeysPath, "", "", 401)
	})
}

func TestApplicationTokensOnEveryRouter(t *testing.T) {
	forEachProvisioning(t, func(m mounted) {
		for _, spelling := range []string{"application", "applications"} {
			path := "/api/v1/organization/myorg/" + spelling + "/app123/tokens"
			made := m.call("POST", path, m.admin, `{"name":"ci","expiration":"1h","scopes":["repo:read"]}`, 200)
			if who := m.call("GET", "/whoami", made["token_secret"], "", 200); who["subject"] != "myorg/app123" {
				t.Errorf("whoami: got %v", who)
			}
			m.call("GET", path, m.admin, "", 200)
			m.call("GET", path+"?next_page=x", m.admin, "", 400)
			m.call("GET", path, made["token"], "", 403)
			m.call("GET", path, "", "", 401)
			m.call("DELETE", path+"/"+made["uuid"], m.admin, "", 204)
			m.call("DELETE", path+"/"+made["uuid"], m.admin, "", 404)
			m.call("PUT", path, m.admin, "", 405)
			m.call("GET", "/whoami", made["token_secret"], "", 401)
			m.call("GET", strings.Replace(path, "app123", "app124", 1), m.admin, "", 404)
		}
	})
}
