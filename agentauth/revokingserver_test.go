package agentauth_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/store"
)

// A revokingServer has a revocation endpoint that verifies who asks.
type revokingServer struct {
	*site
	mu       sync.Mutex
	revoked  map[string]int64                    // guarded by mu; exp by jti
	calls    []*http.Request                     // guarded by mu; accepted ones
	answer   func(jti string) int                // guarded by mu; its status; nil: 200
	metadata func(m map[string]any)              // guarded by mu; changes them; nil: nothing
	serve    func(http.ResponseWriter) (ok bool) // guarded by mu; in place of the endpoint; nil: nothing
}

// newRevokingServer makes one that trusts a provider alone.
func newRevokingServer(t *testing.T, provider *site) *revokingServer {
	t.Helper()
	p := &revokingServer{site: newSite(t, provider.clock), revoked: make(map[string]int64)}
	v, err := agentauth.NewVerifier(agentauth.VerifierConfig{Host: p.host, Profile: agentauth.Profile{Network: provider.network()}, Trust: func(issuer string, role agentauth.Role) bool {
		return issuer == provider.url && role == agentauth.RoleAgentProvider
	}})
	must(t, err)
	p.mux.HandleFunc("/.well-known/aauth-person.json", func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		m := map[string]any{"issuer": p.url, "jwks_uri": p.url + "/jwks.json", "revocation_endpoint": p.url + "/revoke"}
		if p.metadata != nil {
			p.metadata(m)
		}
		json.NewEncoder(w).Encode(m)
	})
	policy := agentauth.Policy{Schemes: []agentauth.Scheme{agentauth.SchemeJWKSURI}, CoverBody: true, Replay: agentauth.ReplayAll}
	p.mux.Handle("/revoke", v.Require(policy)(http.HandlerFunc(p.revoke)))
	return p
}

func (p *revokingServer) revoke(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.serve != nil && !p.serve(w) {
		return
	}
	body, _ := io.ReadAll(r.Body)
	var req map[string]any
	if err := json.Unmarshal(body, &req); err != nil || len(req) != 2 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	jti := req["jti"].(string)
	status := http.StatusOK
	if p.answer != nil {
		status = p.answer(jti)
	}
	if status < 300 {
		p.revoked[jti] = int64(req["exp"].(float64))
		p.calls = append(p.calls, r)
	}
	w.WriteHeader(status)
}

// newRevocation makes a provider and a person server that reach each other.
func newRevocation(t *testing.T) (*world, *site, *revokingServer) {
	t.Helper()
	w, s := newRemoteWorld(t, nil)
	ps := newRevokingServer(t, s)
	return w, s, ps
}

// live lists the ids and ends of the recorded tokens.
func (w *world) live() map[string]int64 {
	w.t.Helper()
	all := make(map[string]int64)
	for r, err := range w.store.List(w.t.Context(), store.Query{Kind: agentauth.KindAgentToken}) {
		must(w.t, err)
		var data map[string]string
		must(w.t, json.Unmarshal(r.Data, &data))
		all[data["jti"]] = r.Expires.Unix()
	}
	return all
}

// at makes a request to a world that is a site.
func (w *world) at(s *site, method, path, body string) *http.Request {
	r := httptest.NewRequest(method, s.url+path, bytes.NewReader([]byte(body)))
	if body == "" {
		r = httptest.NewRequest(method, s.url+path, nil)
	}
	r.RequestURI = r.URL.RequestURI()
	r.Header.Set("Content-Type", "application/json")
	return r
}

func wantCode(t *testing.T, err error, code keywright.Code, text string) {
	t.Helper()
	e, ok := errors.AsType[*keywright.Error](err)
	if !ok || e.Code != code || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want %s with %q", err, code, text)
	}
}
