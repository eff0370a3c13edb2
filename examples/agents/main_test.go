package main

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/store"
)

// An agent enrols and says hello with its token.
func TestHello(t *testing.T) {
	srv := httptest.NewUnstartedServer(nil)
	base := "http://" + srv.Listener.Addr().String()
	h, err := newHandler(base, &store.Memory{}, agentauth.ProviderLimits{})
	if err != nil {
		t.Fatal(err)
	}
	srv.Config.Handler = h
	srv.Start()
	defer srv.Close()

	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	status, body := send(t, http.MethodPost, base+"/enrol", `{"agent_id":"aauth:me@127.0.0.1"}`, key, agentauth.SignOptions{})
	var enrolled struct {
		Token string `json:"agent_token"`
	}
	if err := json.Unmarshal(body, &enrolled); err != nil || status != 200 {
		t.Fatalf("enrol: %d %s", status, body)
	}
	status, body = send(t, http.MethodGet, base+"/hello", "", key, agentauth.SignOptions{Token: enrolled.Token})
	if got := strings.TrimSpace(string(body)); status != 200 || got != "hello aauth:me@127.0.0.1" {
		t.Errorf("got %d %s", status, got)
	}
	_, stranger, _ := ed25519.GenerateKey(rand.Reader)
	if status, _ := send(t, http.MethodGet, base+"/hello", "", stranger, agentauth.SignOptions{Token: enrolled.Token}); status != 401 {
		t.Errorf("another key with the token: %d", status)
	}
}

func send(t *testing.T, method, url, body string, key crypto.Signer, o agentauth.SignOptions) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if err := agentauth.SignRequest(req, key, o); err != nil {
		t.Fatal(err)
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
	return res.StatusCode, answer
}
