package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/store"
)

// startProvider runs one that admits anybody.
func startProvider(t *testing.T) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	base := &url.URL{Scheme: "http", Host: srv.Listener.Addr().String()}
	host, err := keywright.NewHost(keywright.HostConfig{Store: new(store.Memory), URL: base, Kinds: map[string]string{"admin": "kw_admin"}})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := agentauth.NewSigningKeys(host, new(keystore.Memory), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := keys.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	provider, err := agentauth.NewProvider(agentauth.ProviderConfig{
		Host: host, Keys: keys, Admission: agentauth.AdmitAnybody,
		Profile: agentauth.Profile{Network: agentauth.Network{Development: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	provider.Register(mux, "")
	srv.Config.Handler = mux
	srv.Start()
	t.Cleanup(srv.Close)
	return base.String()
}

// An agent whose key is in the service enrols, and again, as the same one.
func TestAnAgentEnrols(t *testing.T) {
	provider := startProvider(t)
	service := httptest.NewServer(&Fake{FailEvery: 5})
	t.Cleanup(service.Close)
	for range 2 {
		if err := run(t.Context(), provider, service.URL, "agent"); err != nil {
			t.Fatal(err)
		}
	}
	s, err := NewStore(Config{URL: service.URL})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for range 2 {
		agent, err := agentauth.Enroll(t.Context(), agentauth.EnrollConfig{
			Provider: provider, Development: true, Keys: s, Options: agentauth.EnrollOptions{Key: keystore.KeyOptions{Handle: "agent", Algorithm: keystore.ES256}},
		})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, agent.AgentID)
		if agent.AgentToken == "" || agent.LocalKeyHandle != "agent" {
			t.Errorf("enrolled as %+v", agent)
		}
	}
	if ids[0] == "" || ids[0] != ids[1] {
		t.Errorf("enrolled as %q", ids)
	}
	var handles []string
	for h, err := range s.List(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		handles = append(handles, h)
	}
	if len(handles) != 1 || handles[0] != "agent" {
		t.Errorf("the service has the keys %q", handles)
	}
}

// What main starts when no service is named.
func TestTheFakeService(t *testing.T) {
	if err := run(t.Context(), startProvider(t), "", "agent"); err != nil {
		t.Fatal(err)
	}
}
