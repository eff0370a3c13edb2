package main_test

import (
	"testing"
)

// TestConfigurationRefused gives the server members and flags that it cannot
// go by: it says which.
func TestConfigurationRefused(t *testing.T) {
	t.Parallel()
	hash := adminJSON(t, "x")
	tests := []struct {
		name, config string
		flags        []string
		says         string
	}{
		{"an unknown member", `{"provisionning":{}}`, nil, `unknown field "provisionning"`},
		{"an unknown member within", `{"provisioning":{"limit":{}}}`, nil, `unknown field "limit"`},
		{"another binding", `{"provisioning":{"binding":"strict"}}`, nil, "provisioning.binding: want off, warn or bind"},
		{"no duration", `{"provisioning":{"limits":{"lifetime":"1d"}}}`, nil, "provisioning.limits.lifetime"},
		{"a lifetime beyond the longest", `{"provisioning":{"limits":{"lifetime":"48h","max_lifetime":"24h"}}}`, nil, "Limits.Lifetime"},
		{"a negative rate", `{"provisioning":{"limits":{"per_hour":-1}}}`, nil, "Limits.PerHour"},
		{"no URL", `{"provisioning":{"server_urls":["myserver:8443"]}}`, nil, `ServerURLs: "myserver:8443"`},
		{"no name", `{"admin":{}}`, nil, "admin.username is missing"},
		{"a password in the clear", `{"admin":{"username":"admin","password_hash":"yourpassword"}}`, nil, "admin.password_hash: want bcrypt"},
		{"no network", `{"admin":` + hash + `,"trusted_proxies":["localhost"]}`, nil, "localhost"},
		{"a feature without its organizations", `{"FEATURE_PROGRAMMATIC_BOOTSTRAP":true}`, nil, "FEATURE_PROGRAMMATIC_BOOTSTRAP"},
		{"a feature in words", `{"FEATURE_RATE_LIMITS":"yes"}`, nil, "FEATURE_RATE_LIMITS"},
		{"half of TLS", `{}`, []string{"-tls-cert", "x"}, "-tls-cert and -tls-key: want both"},
		{"no certificate", `{}`, []string{"-tls-cert", "x", "-tls-key", "y"}, "-tls-cert, -tls-key: open x"},
		{"tokens in the clear", `{"organizations":{"myorg":{}}}`, []string{"-url", "http://quay.example.com"}, "must be https"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := newInstallation(t)
			in.configure(tt.config)
			in.flags = append(in.flags, tt.flags...)
			in.wantRefusedStart(tt.says)
		})
	}
}
