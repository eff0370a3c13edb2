package keywright_test

import (
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

func TestNewHostChecksItsConfig(t *testing.T) {
	parse := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	long := strings.Repeat("p", 32)
	tests := []struct {
		name  string
		edit  func(*keywright.HostConfig)
		names string // what the error must name; empty: it is accepted
	}{
		{"the least", func(c *keywright.HostConfig) { *c = keywright.HostConfig{Store: c.Store} }, ""},
		{"everything", func(c *keywright.HostConfig) { c.URL = parse("https://h.example:8443/connect") }, ""},
		{"plain http", func(c *keywright.HostConfig) { c.URL = parse("http://127.0.0.1:8080") }, ""},
		{"no store", func(c *keywright.HostConfig) { c.Store = nil }, "HostConfig.Store"},
		{"URL without a scheme", func(c *keywright.HostConfig) { c.URL = parse("//h.example") }, "HostConfig.URL"},
		{"URL without a host", func(c *keywright.HostConfig) { c.URL = parse("https:///x") }, "HostConfig.URL"},
		{"opaque URL", func(c *keywright.HostConfig) { c.URL = parse("https:h.example") }, "HostConfig.URL"},
		{"URL of another scheme", func(c *keywright.HostConfig) { c.URL = parse("ftp://h.example") }, "HostConfig.URL"},
		{"URL with a password", func(c *keywright.HostConfig) { c.URL = parse("https://a:b@h.example") }, "HostConfig.URL"},
		{"URL with a query", func(c *keywright.HostConfig) { c.URL = parse("https://h.example/?a=b") }, "HostConfig.URL"},
		{"URL with a fragment", func(c *keywright.HostConfig) { c.URL = parse("https://h.example/#a") }, "HostConfig.URL"},
		{"negative retention", func(c *keywright.HostConfig) { c.AuditRetention = -1 }, "HostConfig.AuditRetention"},
		{"retention of a century", func(c *keywright.HostConfig) { c.AuditRetention = 100 * 365 * 24 * time.Hour }, ""},
		{"retention of more", func(c *keywright.HostConfig) { c.AuditRetention = 100*365*24*time.Hour + 1 }, "HostConfig.AuditRetention"},
		{"kind without a name", func(c *keywright.HostConfig) { c.Kinds = map[string]string{"": "a"} }, "HostConfig.Kinds"},
		{"kind without a prefix", func(c *keywright.HostConfig) { c.Kinds = map[string]string{"a": ""} }, "HostConfig.Kinds"},
		{"prefix with a dash", func(c *keywright.HostConfig) { c.Kinds = map[string]string{"a": "a-b"} }, "HostConfig.Kinds"},
		{"one prefix for two kinds", func(c *keywright.HostConfig) { c.Kinds = map[string]string{"a": "x", "b": "x"} }, "HostConfig.Kinds"},
		{"short pepper", func(c *keywright.HostConfig) { c.Hash.Peppers = map[string][]byte{"a": []byte(long[:31])} }, "HostConfig.Hash"},
		{"unknown pepper", func(c *keywright.HostConfig) { c.Hash.Pepper = "a" }, "HostConfig.Hash"},
		{"cost beyond bcrypt", func(c *keywright.HostConfig) { c.Hash.BcryptCost = 99 }, "HostConfig.Hash"},
	}
	for _, tt := range tests {
		c := keywright.HostConfig{
			Store: &store.Memory{}, Kinds: map[string]string{"admin": "kw_admin"}, AuditRetention: time.Hour,
			Hash: keywright.KeyHash{Peppers: map[string][]byte{"a": []byte(long)}, Pepper: "a"},
		}
		if strings.Contains(tt.name, "pepper") || strings.Contains(tt.name, "bcrypt") {
			c.Hash = keywright.KeyHash{}
		}
		tt.edit(&c)
		h, err := keywright.NewHost(c)
		switch {
		case tt.names == "" && (err != nil || h.Keys == nil):
			t.Errorf("%s: refused: %v", tt.name, err)
		case tt.names != "" && (err == nil || !strings.Contains(err.Error(), tt.names)):
			t.Errorf("%s: got %v, want an error that names %s", tt.name, err, tt.names)
		case err != nil && h.Keys != nil:
			t.Errorf("%s: a usable Host came with the error", tt.name)
		}
	}
}

func TestNewHostKeepsItsOwnKinds(t *testing.T) {
	mine := map[string]string{"admin": "kw_admin", "prov": "ck_prov"}
	h, err := keywright.NewHost(keywright.HostConfig{Store: &store.Memory{}, Kinds: mine})
	if err != nil {
		t.Fatal(err)
	}
	delete(mine, "admin")
	mine["other"] = "x"
	if diff := cmp.Diff([]string{"admin", "prov"}, h.Keys.Kinds()); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
	if !h.Keys.Has("admin") || h.Keys.Has("other") || h.Keys.Has("") {
		t.Error("Has does not agree with Kinds")
	}
}

func TestHooksDefaults(t *testing.T) {
	h := keywright.Hooks{}.WithDefaults()
	before := time.Now()
	if now := h.Now(); now.Before(before) || now.After(time.Now()) {
		t.Errorf("Now is %v", now)
	}
	if h.Logger != slog.Default() {
		t.Error("the logger is not the default one")
	}
	h.Audit(t.Context(), keywright.Event{}) // does nothing, and does not panic

	logger := slog.New(slog.DiscardHandler)
	own := keywright.Hooks{Now: func() time.Time { return epoch }, Logger: logger}.WithDefaults()
	if !own.Now().Equal(epoch) || own.Logger != logger {
		t.Error("what is set was replaced")
	}
}
