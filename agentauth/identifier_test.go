package agentauth_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/store"
)

// identifiers are those of the vectors of aauth-go, and more.
var identifiers = []struct {
	text string
	ok   bool
}{
	{"aauth:assistant-v2@agent.example", true},
	{"aauth:planner.7f3c@vendor.example", true},
	{"aauth:planner.7f3c+search1@vendor.example", true},
	{"aauth:Agent@agent.example", true},
	{"aauth:agent_1@xn--nxasmq6b.example", true},
	{"aauth:" + strings.Repeat("a", 255) + "@agent.example", true},
	{"aauth:kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k@agent.example", true},
	{"aauth:a@localhost", true},
	{"aauth:" + strings.Repeat("a", 256) + "@agent.example", false},
	{"aauth:My Agent@agent.example", false},
	{"aauth:@agent.example", false},
	{"aauth:agent@http://agent.example", false},
	{"aauth:agent@agent.example:8443", false},
	{"aauth:agent@Agent.Example", false},
	{"aauth:agent@agent.example/", false},
	{"aauth:agent@-agent.example", false},
	{"aauth:agent@agent-.example", false},
	{"aauth:agent@agent..example", false},
	{"aauth:agent@agent.example.", false},
	{"aauth:agent@.agent.example", false},
	{"aauth:agént@agent.example", false},
	{"aauth:а@agent.example", false}, // Cyrillic
	{"aauth:agent@agént.example", false},
	{"aauth:assistant@", false},
	{"aauth:assistant", false},
	{"aauth:+worker@agent.example", false},
	{"aauth:assistant+@agent.example", false},
	{"aauth:+@agent.example", false},
	{"assistant@agent.example", false},
	{"AAUTH:a@agent.example", false},
	{" aauth:a@agent.example", false},
	{"aauth:a@agent.example ", false},
	{"aauth:a@agent.example\n", false},
	{"aauth:a\x00@agent.example", false},
	{"aauth:a@b@agent.example", false},
	{"aauth:a%40b@agent.example", false},
	{"aauth:a/b@agent.example", false},
	{"aauth:a@127.0.0.1", false},
	{"aauth:a@[::1]", false},
	{"aauth:a@::1", false},
	{"aauth:a@2130706433", false},
	{"aauth:a@127.1", false},
	{"aauth:a@0x7f.0x1", false},
	{"aauth:a@" + strings.Repeat("a", 63) + ".example", true},
	{"aauth:a@" + strings.Repeat("a", 64) + ".example", false},
	{"aauth:a@" + strings.Repeat("a.", 122) + "example.a", true}, // 253
	{"aauth:a@" + strings.Repeat("a.", 122) + "example.ab", false},
	{"", false},
}

func TestAgentIdentifiers(t *testing.T) {
	for _, tt := range identifiers {
		id, err := agentauth.ParseAgentID(tt.text)
		if (err == nil) != tt.ok {
			t.Errorf("%q: %v, want ok: %v", tt.text, err, tt.ok)
		}
		if err == nil && id.String() != tt.text {
			t.Errorf("%q is written as %q", tt.text, id)
		}
		if err != nil && id != (agentauth.AgentID{}) {
			t.Errorf("%q: %+v beside an error", tt.text, id)
		}
	}
	id, err := agentauth.ParseAgentID("aauth:planner.7f3c+search1@vendor.example")
	if want := (agentauth.AgentID{Local: "planner.7f3c+search1", Domain: "vendor.example"}); err != nil || id != want {
		t.Errorf("got %+v, %v", id, err)
	}
}

func FuzzAgentID(f *testing.F) {
	for _, tt := range identifiers {
		f.Add(tt.text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, err := agentauth.ParseAgentID(text)
		if err != nil {
			return
		}
		again, err := agentauth.ParseAgentID(id.String())
		switch {
		case id.String() != text:
			t.Errorf("%q is written as %q", text, id)
		case err != nil || again != id:
			t.Errorf("%q: %+v, then %+v, %v", text, id, again, err)
		case strings.Count(text, "@") != 1, strings.ToLower(id.Domain) != id.Domain, len(id.Local) > 255:
			t.Errorf("%q was accepted", text)
		}
		if u, err := url.Parse("https://" + id.Domain); err != nil || u.Host != id.Domain || u.Port() != "" {
			t.Errorf("%q is no host: %v", id.Domain, err)
		}
	})
}

// TestServerIdentifiers are what an issuer may be called. A provider takes no other.
func TestServerIdentifiers(t *testing.T) {
	tests := []struct {
		id          string
		ok          bool
		development bool // ok there
	}{
		{"https://agent.example", true, true},
		{"https://xn--nxasmq6b.example", true, true},
		{"https://localhost", true, true},
		{"http://agent.example", false, false},
		{"https://Agent.example", false, false},
		{"https://agent.example:8443", false, false},
		{"https://agent.example:443", false, false},
		{"https://agent.example/path", false, false},
		{"https://agent.example/", false, false},
		{"https://agent.example?x", false, false},
		{"https://agent.example#x", false, false},
		{"https://u@agent.example", false, false},
		{"https://", false, false},
		{"agent.example", false, false},
		{"HTTPS://agent.example", false, false},
		{"https://agent.example.", false, false},
		{"https://10.0.0.1", false, false},
		{"https://127.0.0.1", false, true},
		{"https://127.0.0.1:8443", false, true},
		{"http://127.0.0.1:8080", false, true},
		{"http://localhost:8080", false, true},
		{"http://localhost", false, true},
		{"https://localhost:8443", false, true},
		{"http://[::1]:8080", false, true},
		{"http://LOCALHOST:8080", false, false},
		{"http://[::FFFF:127.0.0.1]:8080", false, false},
		{"http://localhost:8080/", false, false},
		{"http://localhost.example:8080", false, false},
		{"ftp://localhost", false, false},
	}
	for _, tt := range tests {
		for development, ok := range map[bool]bool{false: tt.ok, true: tt.development} {
			_, err := newProvider(t, tt.id, development)
			if (err == nil) != ok {
				t.Errorf("%q, development %v: %v, want ok: %v", tt.id, development, err, ok)
			}
		}
	}
}

// newProvider makes one with the given identifier.
func newProvider(t *testing.T, id string, development bool) (*agentauth.Provider, error) {
	t.Helper()
	u, err := url.Parse("https://ap.example")
	must(t, err)
	host, err := keywright.NewHost(keywright.HostConfig{Store: new(store.Memory), URL: u, Kinds: map[string]string{"admin": "kw_admin"}})
	must(t, err)
	w := newWorld(t, worldConfig{})
	return agentauth.NewProvider(agentauth.ProviderConfig{
		Host: host, Keys: w.keys, Issuer: id, Profile: agentauth.Profile{Network: agentauth.Network{Development: development}},
	})
}
