package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keywright/keywright/provisioning"
)

// A key is created, provisions a runner, and the runner enrols and says hello.
func TestHello(t *testing.T) {
	srv := httptest.NewUnstartedServer(nil)
	h, admin, err := newHandler("http://" + srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	srv.Config.Handler = h
	srv.Start()
	defer srv.Close()

	made := call(t, srv.URL+provisioning.KeysPath, admin, `{"key_id":"ci"}`, 201)
	runner := call(t, srv.URL+provisioning.ProvisionPath, made["api_key"], `{"runner_name":"runner-1"}`, 201)
	greet(t, srv.URL, runner["api_key"], 401, `{"error":"Invalid API key","code":"invalid_token"}`)
	call(t, srv.URL+provisioning.EnrollPath, "", `{"enrollment_token":"`+runner["enrollment_token"]+`","api_key":"`+runner["api_key"]+`",
		"runner_id":"runner-1","hostname":"h","devices":[]}`, 201)
	greet(t, srv.URL, runner["api_key"], 200, "hello runner-1, provisioned by provisioning:ci")
}

// call posts JSON and returns the texts in the answer.
func call(t *testing.T, url, key, body string, status int) map[string]string {
	t.Helper()
	got, answer := send(t, http.MethodPost, url, key, body)
	var members map[string]any
	if err := json.Unmarshal([]byte(answer), &members); err != nil || got != status {
		t.Fatalf("%s: got %d %s, want %d", url, got, answer, status)
	}
	texts := make(map[string]string)
	for name, v := range members {
		texts[name], _ = v.(string)
	}
	return texts
}

func greet(t *testing.T, base, key string, status int, want string) {
	t.Helper()
	if got, answer := send(t, http.MethodGet, base+"/hello", key, ""); got != status || strings.TrimSpace(answer) != want {
		t.Errorf("got %d %s, want %d %s", got, answer, status, want)
	}
}

func send(t *testing.T, method, url, key, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(answer)
}
