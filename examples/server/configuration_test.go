package main_test

import "testing"

// TestConfigurationRefused gives the server members and flags that it cannot
// go by: it says which.
func TestConfigurationRefused(t *testing.T) {
	t.Parallel()
	hash := adminJSON(t, "x")
	zero := func(more string) string {
		return `{"FEATURE_PROGRAMMATIC_BOOTSTRAP":true,"organizations":{"myorg":{}},` + more + `}`
	}
	agents := func(member string) string { return `{"agents":{` + member + `}}` }
	agentFlags := []string{"-url", agentURL}
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
		{"a super user without password", zero(`"SUPER_USERS":["root"]`), nil, `SUPER_USERS: no hash for "root" among users`},
		{"a password of a super user in the clear", zero(`"SUPER_USERS":["root"],"users":{"root":"password"}`), nil, "SUPER_USERS: apptoken: accounts"},
		{"nobody to let in", zero(`"SUPER_USERS":[]`), nil, "neither Passwords nor ServiceAccounts"},
		{"two places for users", zero(`"users":{"root":"x"},"LDAP_URI":"ldaps://ldap.example.com"`), nil, "users: not beside LDAP_URI"},
		{"LDAP without a base", zero(`"LDAP_URI":"ldaps://ldap.example.com","LDAP_SUPERUSER_FILTER":"(uid=x)"`), nil, "BaseDN"},
		{"LDAP with half a filter", zero(`"LDAP_URI":"ldaps://ldap.example.com","LDAP_BASE_DN":"dc=example","LDAP_SUPERUSER_FILTER":"(uid=x"`), nil, "SuperUserFilter"},
		{"another scheme for LDAP", zero(`"LDAP_URI":"https://ldap.example.com","LDAP_BASE_DN":"dc=example","LDAP_SUPERUSER_FILTER":"(uid=x)"`), nil, "ldap"},
		{"no file for LDAP", zero(`"LDAP_URI":"ldaps://ldap.example.com","LDAP_ADMIN_PASSWD_FILE":"/nowhere"`), nil, "LDAP_ADMIN_PASSWD_FILE"},
		{"a number for a base", zero(`"LDAP_BASE_DN":1`), nil, "LDAP_BASE_DN"},
		{"a service account of http", zero(`"oidc":{"service_accounts":[{"issuer":"http://idp.example.com","subject":"s","name":"n"}]}`), nil, "ServiceAccounts[0]"},
		{"an unknown member of agents", `{"agents":{"admissions":"open"}}`, nil, `unknown field "admissions"`},
		{"agents of http", `{"agents":{}}`, nil, `agents.issuer: "http://127.0.0.1:`},
		{"agents of a port", `{"agents":{}}`, []string{"-url", "https://agents.example:8443"}, `agents.issuer: "https://agents.example:8443": want https://host without a port`},
		{"agents of a path", agents(`"issuer":"https://agents.example/ap"`), []string{"-url", agentURL}, "agents.issuer"},
		{"agents of an address", `{"agents":{}}`, []string{"-url", "https://192.0.2.1"}, "ProviderConfig.Issuer"},
		{"agents of http elsewhere", agents(`"development":true,"issuer":"http://agents.example"`), agentFlags, "ProviderConfig.Issuer"},
		{"an unknown admission", agents(`"admission":"everybody"`), agentFlags, "agents.admission: want open, secrets, keys, approval, or a list"},
		{"an admission in a number", agents(`"admission":1`), agentFlags, "agents.admission: want open"},
		{"an unknown admission in a list", agents(`"admission":["keys",""]`), agentFlags, "agents.admission: want open"},
		{"an admission that is never asked", agents(`"admission":["open","keys"]`), agentFlags, "agents.admission: nobody is left to ask behind open"},
		{"an admission twice", agents(`"admission":["keys","keys"]`), agentFlags, "agents.admission: keys is there twice"},
		{"no duration of agent tokens", agents(`"token_life":"1d"`), agentFlags, "agents.token_life"},
		{"agent tokens that end at once", agents(`"token_life":"5m"`), agentFlags, "TokenLife"},
		{"trust in http", agents(`"trust":["http://ps.example"]`), agentFlags, `agents.trust: "http://ps.example"`},
		{"trust in a path", agents(`"trust":["https://ps.example/"]`), agentFlags, `agents.trust: "https://ps.example/": want https://host`},
		{"no network of agents", agents(`"allow_networks":["10.0.0.0"]`), agentFlags, "10.0.0.0"},
		{"an unknown compat flag", agents(`"compat":{"allow_unsigned":true}`), agentFlags, `unknown field "allow_unsigned"`},
		{"no duration of a skew", agents(`"compat":{"exp_skew":"1"}`), agentFlags, "agents.compat.exp_skew"},
		{"too much of a skew", agents(`"compat":{"exp_skew":"2m"}`), agentFlags, "ExpSkew: want 0 to 1 minute"},
		{"signing keys in a file", agents(`"keys":"config.json"`), agentFlags, "agents.keys: "},
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
