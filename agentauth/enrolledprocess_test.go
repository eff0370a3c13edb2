package agentauth_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/store"
)

// A refreshingChild is this test binary as another process, which refreshes until it
// is enough.
type refreshingChild struct {
	Name, Server, Dir, Handle string
	TwoKeys                   bool
	Refreshes                 int64
}

const (
	refreshingChildEnv = "AGENTAUTH_TEST_REFRESHING"
	childField         = "X-Test-Process"
)

func refreshedDir(path string) (*keystore.Dir, error) {
	return keystore.NewDir(keystore.DirConfig{Path: path, Key: func(context.Context) ([]byte, error) {
		return []byte("0123456789abcdef0123456789abcdef"), nil
	}})
}

// TestRefreshingChild is what a child does.
func TestRefreshingChild(t *testing.T) {
	text := os.Getenv(refreshingChildEnv)
	if text == "" {
		t.Skip("only as a process of another test")
	}
	var c refreshingChild
	must(t, json.Unmarshal([]byte(text), &c))
	dir, err := refreshedDir(c.Dir)
	must(t, err)
	key, err := dir.Load(t.Context(), c.Handle)
	must(t, err)
	anew := func() *agentauth.Enrolled { // has no token, so that nobody waits until one has ended
		agent, err := agentauth.NewEnrolled(agentauth.EnrolledConfig{
			Key: key, Provider: c.Server, TwoKeys: c.TwoKeys, Development: true, HTTP: &http.Client{Transport: named(c.Name)},
		})
		must(t, err)
		return agent
	}
	var shared atomic.Pointer[agentauth.Enrolled]
	shared.Store(anew())
	seen, count := sync.Map{}, atomic.Int64{}
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			for n := 0; count.Load() < c.Refreshes; n++ {
				agent := shared.Load()
				got, err := agent.Credential(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				if _, known := seen.LoadOrStore(got.As.Token, true); !known {
					count.Add(1)
					shared.CompareAndSwap(agent, anew())
				}
				if again, err := dir.Load(t.Context(), c.Handle); err != nil || again.Handle() != key.Handle() {
					t.Errorf("the key is lost: %v", err)
				}
				if i == 0 && n%5 == 0 { // others come and go meanwhile
					other, err := dir.Generate(t.Context(), keystore.KeyOptions{})
					if err == nil {
						err = dir.Delete(t.Context(), other.Handle())
					}
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
}

// named tells the server which process a request is of.
type named string

func (n named) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set(childField, string(n))
	return http.DefaultTransport.RoundTrip(r)
}

// TestTwoProcessesRefreshWithOneDir has two processes with 50 goroutines each refresh
// a thousand times with the key of one directory.
func TestTwoProcessesRefreshWithOneDir(t *testing.T) {
	refreshes := int64(500)
	if testing.Short() {
		refreshes = 50
	}
	origin, under, most, calls := newRefreshServer(t)
	path := filepath.Join(t.TempDir(), "keys")
	dir, err := refreshedDir(path)
	must(t, err)
	e, err := agentauth.Enroll(t.Context(), agentauth.EnrollConfig{Provider: origin, Keys: dir, Development: true})
	must(t, err)
	var all sync.WaitGroup
	for _, name := range []string{"a", "b"} {
		text, err := json.Marshal(refreshingChild{name, origin, path, e.LocalKeyHandle, true, refreshes})
		must(t, err)
		self, err := os.Executable()
		must(t, err)
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestRefreshingChild$")
		cmd.Env = append(os.Environ(), refreshingChildEnv+"="+string(text))
		all.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("process %s: %v\n%s", name, err, out)
			}
		})
	}
	all.Wait()
	for _, name := range []string{"a", "b"} {
		if n := calls[name].Load(); n < refreshes || most[name].Load() != 1 || under[name].Load() != 0 {
			t.Errorf("process %s: %d refreshes, %d at once, want at least %d, one by one", name, n, most[name].Load(), refreshes)
		}
	}
	files, err := os.ReadDir(path)
	must(t, err)
	if len(files) != 1 || files[0].Name() != e.LocalKeyHandle+".jwk.json" {
		t.Errorf("in the directory are %v, want the one key", files)
	}
	key, err := dir.Load(t.Context(), e.LocalKeyHandle)
	must(t, err)
	if pub, ok := key.Public().(ed25519.PublicKey); !ok || !pub.Equal(e.Key.Public()) {
		t.Error("the key is another one")
	}
}

// newRefreshServer is a provider on this machine that counts who refreshes: how many
// calls of each process there are, there have been at once, and in all.
func newRefreshServer(t *testing.T) (origin string, under, most, calls map[string]*atomic.Int64) {
	under, most, calls = map[string]*atomic.Int64{}, map[string]*atomic.Int64{}, map[string]*atomic.Int64{}
	for _, name := range []string{"a", "b"} {
		under[name], most[name], calls[name] = new(atomic.Int64), new(atomic.Int64), new(atomic.Int64)
	}
	mux := http.NewServeMux()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if name := r.Header.Get(childField); name != "" && strings.HasSuffix(r.URL.Path, "/refresh") {
			calls[name].Add(1)
			if n := under[name].Add(1); n > most[name].Load() {
				most[name].Store(n)
			}
			defer under[name].Add(-1)
		}
		mux.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	host := realHost(t, server.URL)
	keys, err := agentauth.NewSigningKeys(host, new(keystore.Memory), "")
	must(t, err)
	must(t, keys.Sync(t.Context()))
	provider, err := agentauth.NewProvider(agentauth.ProviderConfig{
		Host: host, Keys: keys, Admission: agentauth.AdmitAnybody, Limits: agentauth.ProviderLimits{KeyPerMinute: -1, PerMinute: -1},
		Profile: agentauth.Profile{Network: agentauth.Network{Development: true}},
	})
	must(t, err)
	provider.Register(mux, "")
	return server.URL, under, most, calls
}

// realHost is a server whose clock is that of this machine.
func realHost(t *testing.T, origin string) keywright.Host {
	t.Helper()
	u, err := url.Parse(origin)
	must(t, err)
	host, err := keywright.NewHost(keywright.HostConfig{Store: new(store.Memory), URL: u})
	must(t, err)
	return host
}
