package interop_test

import (
	"bufio"
	"bytes"
	"crypto"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/store"
)

// development admits servers on this machine, by http and with ports.
var development = agentauth.Network{Development: true}

// A site is a server of this process.
type site struct {
	url   string // http://127.0.0.1 and a port
	mux   *http.ServeMux
	host  keywright.Host
	store *keystore.Memory
	keys  *agentauth.SigningKeys // in store
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{mux: http.NewServeMux(), store: new(keystore.Memory)}
	server := httptest.NewServer(s.mux)
	t.Cleanup(server.Close)
	s.url = server.URL
	u, err := url.Parse(s.url)
	must(t, err)
	s.host, err = keywright.NewHost(keywright.HostConfig{Store: new(store.Memory), URL: u})
	must(t, err)
	s.keys, err = agentauth.NewSigningKeys(s.host, s.store, "")
	must(t, err)
	must(t, s.keys.Sync(t.Context()))
	return s
}

// newProvider makes an agent provider that admits everybody, and returns its
// identifier.
func newProvider(t *testing.T) string {
	t.Helper()
	s := newSite(t)
	p, err := agentauth.NewProvider(agentauth.ProviderConfig{
		Host: s.host, Keys: s.keys, Admission: agentauth.AdmitAnybody, Profile: agentauth.Profile{Network: development},
	})
	must(t, err)
	p.Register(s.mux, "")
	return s.url
}

// newResource makes a resource that trusts a provider and a person server, and
// returns its identifier. Its routes say who has come.
func newResource(t *testing.T, provider, personServer string, compat agentauth.Compat) string {
	t.Helper()
	s := newSite(t)
	v, err := agentauth.NewVerifier(agentauth.VerifierConfig{
		Host: s.host, Profile: agentauth.Profile{Network: development, Compat: compat},
		Trust: func(issuer string, role agentauth.Role) bool {
			return issuer == provider && role == agentauth.RoleAgentProvider || issuer == personServer && role == agentauth.RolePersonServer
		},
	})
	must(t, err)
	r, err := agentauth.NewResource(agentauth.ResourceConfig{
		Host: s.host, Verifier: v, Keys: s.keys, Scopes: map[string]string{"data.read": "Read your data", "data.write": "Change your data"},
	})
	must(t, err)
	r.Register(s.mux, "")
	s.mux.Handle("/agent", r.RequireAgent(agentauth.Policy{})(principal))
	s.mux.Handle("/person", r.RequirePerson(agentauth.Policy{})(principal))
	s.mux.Handle("/write", r.RequireAuth(agentauth.Policy{}, "data.write")(principal))
	s.mux.Handle("/data", r.RequireAuth(agentauth.Policy{CoverBody: true}, "data.read")(principal))
	return s.url
}

// principal answers with who has come, and repeats the body.
var principal = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	p, _ := keywright.FromContext(r.Context())
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	json.NewEncoder(w).Encode(map[string]any{"sub": p.Subject, "iss": p.Issuer, "scopes": p.Scopes, "body": string(body)})
})

// startNode runs a Node program that serves until the test ends, and returns its
// URL.
func startNode(t *testing.T, dir, program string) string {
	t.Helper()
	cmd := exec.Command("node", program)
	cmd.Dir = dir
	cmd.SysProcAttr = dieWithParent()
	var log bytes.Buffer
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill() // it may have ended
		cmd.Wait()         // its outcome is that of Kill
		if t.Failed() {
			t.Logf("the log of %s:\n%s", program, log.String())
		}
	})
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(out).ReadString('\n') // "": it has ended
		line <- text
	}()
	select {
	case text := <-line:
		var started struct{ URL string }
		if err := json.Unmarshal([]byte(text), &started); err != nil || started.URL == "" {
			t.Fatalf("%s printed %q, want its URL", program, text)
		}
		return started.URL
	case <-time.After(startLimit):
		t.Fatalf("%s does not listen after %v", program, startLimit)
	}
	return ""
}

// configure has mockin forget everything, and do other than it usually does: grant
// all at once.
func configure(t *testing.T, mockin, config string) {
	t.Helper()
	for _, call := range []struct{ method, path, body string }{{"DELETE", "/mock", "{}"}, {"PUT", "/mock/aauth", config}} {
		r, err := http.NewRequest(call.method, mockin+call.path, strings.NewReader(call.body))
		must(t, err)
		r.Header.Set("Content-Type", "application/json")
		if got := send(t, r); got.status != http.StatusOK {
			t.Fatalf("%s %s of mockin: %d %s", call.method, call.path, got.status, got.body)
		}
	}
}

// A reply is a response that was read.
type reply struct {
	status int
	header http.Header
	body   string
}

// member returns a string of a body that is an object; "": it has none.
func (r reply) member(name string) string {
	var members map[string]any
	if json.Unmarshal([]byte(r.body), &members) != nil {
		return ""
	}
	text, _ := members[name].(string)
	return text
}

// An agentByHand sends what a client would, and has each answer looked at.
type agentByHand struct {
	t   *testing.T
	key crypto.Signer
}

// send sends a request that is signed with a token; "": with the key alone. body
// is JSON; nil: there is none.
func (a agentByHand) send(method, url, token string, body any) reply {
	a.t.Helper()
	var text io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		must(a.t, err)
		text = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(a.t.Context(), method, url, text)
	must(a.t, err)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	must(a.t, agentauth.SignRequest(r, a.key, agentauth.SignOptions{Token: token}))
	return send(a.t, r)
}

func send(t *testing.T, r *http.Request) reply {
	t.Helper()
	resp, err := http.DefaultClient.Do(r)
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	return reply{resp.StatusCode, resp.Header, string(body)}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
