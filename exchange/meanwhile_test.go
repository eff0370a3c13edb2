package exchange_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/exchange"
	"github.com/keywright/keywright/exchange/exchangetest"
	"github.com/keywright/keywright/store"
)

// A between lets something happen just before one of the store's reads.
type between struct {
	store.Store
	left atomic.Int64 // reads until then
	do   func()
}

func (b *between) Get(ctx context.Context, keys ...store.Key) ([]store.Record, error) {
	if b.left.Add(-1) == 0 {
		b.do()
	}
	return b.Store.Get(ctx, keys...)
}

// Two requests end one key, in every order that there is: both have succeeded.
func TestRevokedMeanwhile(t *testing.T) {
	for at := int64(1); at <= 4; at++ {
		c := new(clock)
		issuer := exchangetest.NewIssuer(t)
		issuer.Now, issuer.Audience = c.Now, audience
		db := &between{Store: &store.Memory{Now: c.Now}}
		w := worldOn(t, db, c, issuer, "", []exchange.Publisher{github()})
		key := w.wantKey(issuer.GitHub(nil))
		if err := w.host.Keys.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		id, _ := w.host.Keys.ID(key)
		done := false
		db.do = func() { done = w.host.Keys.Delete(t.Context(), operator, id) == nil }
		db.left.Store(at)
		if a := w.revoke(key); a.status != 200 {
			t.Errorf("before read %d: got %d %s", at, a.status, a.body)
		}
		db.left.Store(0)
		if w.works(key) || at == 1 && !done {
			t.Errorf("before read %d: deleted %v, works %v", at, done, w.works(key))
		}
	}
}

// Two jobs that are the first of their publisher both get a key, though each
// wants to write the records that its key hangs on.
func TestFirstKeysMeanwhile(t *testing.T) {
	for _, static := range []bool{true, false} {
		c := new(clock)
		issuer := exchangetest.NewIssuer(t)
		issuer.Now, issuer.Audience = c.Now, audience
		db := &store.Memory{Now: c.Now}
		var publishers []exchange.Publisher
		if static {
			publishers = append(publishers, github(bySubject))
		}
		var other *world
		var asked atomic.Int64
		w := worldOn(t, db, c, issuer, "", publishers, func(cfg *exchange.Config) {
			cfg.Account = func(context.Context, keywright.Principal) (bool, error) {
				if asked.Add(1) == 1 {
					other.wantKey(issuer.GitHub(nil))
				}
				return true, nil
			}
		})
		other = worldOn(t, db, c, issuer, "", publishers, func(cfg *exchange.Config) {
			cfg.Account = func(context.Context, keywright.Principal) (bool, error) { return true, nil }
		})
		if !static {
			if _, err := w.Create(t.Context(), operator, w.own(github(bySubject))); err != nil {
				t.Fatal(err)
			}
		}
		other.wantRefused("reads the publishers", issuer.GitHub(changes{"repository_id": "1"}), "")
		w.wantKey(issuer.GitHub(nil))
		if static && asked.Load() != 2 {
			t.Errorf("the trade was tried %d times, want 2: somebody else was first", asked.Load())
		}
		w.wantKey(issuer.GitHub(nil))
		other.wantKey(issuer.GitHub(nil))
	}
}

// Config.Network: keys come over https from a private network, whose authority
// is the operator's own, and not otherwise.
func TestNetwork(t *testing.T) {
	issuer := exchangetest.NewIssuer(t)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(issuer.JWKS()) }))
	defer server.Close()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})) {
		t.Fatal("no certificate")
	}
	private := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for _, tt := range []struct {
		name    string
		network exchange.Network
		ok      bool
	}{
		{"both", exchange.Network{AllowNetworks: private, RootCAs: pool}, true},
		{"another authority", exchange.Network{AllowNetworks: private}, false},
		{"another network", exchange.Network{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, RootCAs: pool}, false},
		{"none", exchange.Network{}, false},
	} {
		w := newWorld(t, nil)
		p := github()
		p.Issuer = "https://ci.example"
		cfg := exchange.Config{
			Host: w.host, Audience: audience, Network: tt.network, Publishers: []exchange.Publisher{p},
			Issuers: []exchange.Issuer{{URL: p.Issuer, JWKSURL: server.URL}}, Failures: exchange.FailureLimit{Burst: -1},
		}
		var err error
		if w.Handler, err = exchange.New(cfg); err != nil {
			if tt.ok {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		issuer.Now, issuer.Audience = w.clock.Now, audience
		a := w.serve("192.0.2.1", exchange.TokenPath, form(issuer.GitHub(changes{"iss": p.Issuer})).Encode())
		if (a.status == 200) != tt.ok || !tt.ok && a.status != 503 {
			t.Errorf("%s: got %d %s; heard %+v", tt.name, a.status, a.body, w.last())
		}
	}
	for _, bad := range []netip.Prefix{{}, netip.MustParsePrefix("0.0.0.0/0")} {
		w := newWorld(t, nil)
		if _, err := exchange.New(exchange.Config{Host: w.host, Network: exchange.Network{AllowNetworks: []netip.Prefix{bad}}}); err == nil {
			t.Errorf("%v: want an error", bad)
		}
	}
}
