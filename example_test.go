package keywright_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/bootstrap"
	"github.com/keywright/keywright/store"
)

// A server that starts without users, and a client that obtains its first key.
func Example() {
	host, err := keywright.NewHost(keywright.HostConfig{
		Store: &store.Memory{}, // or sqlstore.Open(...)
		Kinds: map[string]string{"admin": "kw_admin"},
	})
	if err != nil {
		panic(err)
	}
	secret := bootstrap.NewSecret() // or bootstrap.SecretFromEnv()
	boot, err := bootstrap.New(bootstrap.Config{
		Host:   host,
		Secret: secret,
		Key:    bootstrap.AdminKey{Scopes: []string{"admin"}},
	})
	if err != nil {
		panic(err)
	}

	mux := http.NewServeMux()
	boot.Register(mux, "")
	admin := keywright.Require(host.Keys.Of("admin"))
	mux.Handle("GET /whoami", admin(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, _ := keywright.FromContext(r.Context())
		fmt.Fprint(w, caller.Subject, " ", caller.Scopes)
	})))
	server := httptest.NewServer(keywright.NoRedirect(mux))
	defer server.Close()

	client := bootstrap.Client{URL: server.URL, Secret: secret}
	key, err := client.Bootstrap(context.Background())
	if err != nil {
		panic(err)
	}
	fmt.Println(get(server.URL+"/whoami", key))
	_, err = client.Bootstrap(context.Background())
	fmt.Println(err)
	// Output:
	// 200 __bootstrap_admin__ [admin]
	// bootstrap: the server has its first admin key already
}

func get(url, key string) string {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(res.StatusCode, " ", string(body))
}
