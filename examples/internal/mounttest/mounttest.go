// Package mounttest checks over real connections that clients cannot tell which
// router the endpoints are mounted on: ServeMux, chi or gin.
package mounttest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/bootstrap"
)

// FirstKey obtains the first admin key from h, which shares secret, and fails t
// unless /whoami then tells JSON of its Principal, and 401 without the key.
func FirstKey(t *testing.T, h http.Handler, secret string) {
	t.Helper()
	srv := httptest.NewServer(h)
	defer srv.Close()
	key, err := bootstrap.Client{URL: srv.URL, Secret: secret}.Bootstrap(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if res, _ := send(t, "GET", srv.URL+"/whoami", ""); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("without the key: got %d, want 401", res.StatusCode)
	}
	res, body := send(t, "GET", srv.URL+"/whoami", "Key "+key)
	var got keywright.Principal
	if err := json.Unmarshal([]byte(body), &got); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("got %d %s, want 200 and a Principal: %v", res.StatusCode, body, err)
	}
	got.Credential, got.Claims = "", nil
	want := keywright.Principal{Method: keywright.MethodBootstrap, Subject: bootstrap.DefaultSubject, Scopes: []string{"admin"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Principal (-want +got):\n%s", diff)
	}
}

// client does not follow redirects: they are what is looked for.
var client = &http.Client{
	Timeout:       10 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// send sends one request with an Authorization header ("": none) and returns
// the answer with its body read.
func send(t *testing.T, method, target, authorization string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}
