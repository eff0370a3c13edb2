// Package keywright hands out the machine credentials of a Go server: the
// first admin key of a fresh installation, and every key after it.
//
// These ways lead to a credential, each a package of its own that serves
// net/http handlers:
//
//   - package bootstrap: a signed token turns an empty server into one with
//     exactly one admin key
//   - package exchange: a CI job's OIDC identity token becomes a key that
//     lives for minutes
//   - package provisioning: provisioning keys enrol runners
//   - package provisioning/apptoken: applications get scoped, expiring tokens,
//     the first of them from a super user's password or service account
//   - package agentauth: agents enrol with a key pair, get tokens that vouch
//     for it, and sign their requests; their keys live in a package keystore
//
// All of them keep their records in a [store.Store] and end in one
// [Principal], which a protected handler reads with [FromContext], whichever
// way the caller came in. To protect a route, wrap it in [Require]:
//
//	host, err := keywright.NewHost(keywright.HostConfig{
//		Store: &store.Memory{},
//		Kinds: map[string]string{"admin": "kw_admin"},
//	})
//	...
//	boot, err := bootstrap.New(bootstrap.Config{
//		Host:   host,
//		Secret: os.Getenv("CONNECT_BOOTSTRAP_SECRETKEY"),
//		Key:    bootstrap.AdminKey{Kind: "admin", Scopes: []string{"admin"}},
//	})
//	...
//	mux := http.NewServeMux()
//	boot.Register(mux, "")
//	admin := keywright.Require(host.Keys.Of("admin"))
//	mux.Handle("GET /whoami", admin(http.HandlerFunc(whoami)))
//	http.ListenAndServe(addr, keywright.NoRedirect(mux))
//
// Everything here is safe for concurrent use unless its comment says otherwise.
package keywright
