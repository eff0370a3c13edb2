package main

import (
	"crypto/ed25519"
	"database/sql"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/store"
	"github.com/keywright/keywright/store/sqlstore"
)

// BenchmarkRefresh refreshes the token of one of 10 and of one of 100,000 agents,
// in memory and in SQLite, taking turns, so that a busy machine slows down both.
// "x-10" is the ratio; the target is 1.1. SQLite is told to sync less, since the
// disk would hide what is to be seen.
func BenchmarkRefresh(b *testing.B) {
	for _, kind := range []struct {
		name string
		open func(b *testing.B) store.Store
	}{
		{"memory", func(*testing.B) store.Store { return &store.Memory{} }},
		{"sqlite", openSQLite},
	} {
		few, many := populated(b, kind.open(b), 10), populated(b, kind.open(b), 100_000)
		b.Run(kind.name, func(b *testing.B) {
			var ofFew, ofMany time.Duration
			for b.Loop() {
				ofFew += few.refresh(b)
				ofMany += many.refresh(b)
			}
			b.ReportMetric(float64(ofFew.Microseconds())/float64(b.N), "µs/10")
			b.ReportMetric(float64(ofMany.Microseconds())/float64(b.N), "µs/100000")
			b.ReportMetric(float64(ofMany)/float64(ofFew), "x-10")
		})
	}
}

// A population is a server with agents, and the key of one.
type population struct {
	handler http.Handler
	key     ed25519.PrivateKey
	n       int // requests so far, each of which must be another
}

// refresh returns how long the server has taken.
func (p *population) refresh(b *testing.B) time.Duration {
	b.Helper()
	p.n++
	r := request("/refresh", "{}")
	// Distinct requests within one second need distinct signatures.
	o := agentauth.SignOptions{Created: time.Now(), Expires: time.Unix(1<<33+int64(p.n), 0)}
	if err := agentauth.SignRequest(r, p.key, o); err != nil {
		b.Fatal(err)
	}
	w := httptest.NewRecorder()
	began := time.Now()
	p.handler.ServeHTTP(w, r)
	took := time.Since(began)
	if w.Code != http.StatusOK {
		b.Fatal(w.Code, w.Body)
	}
	return took
}

const base = "http://127.0.0.1:8080"

func request(path, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, base+path, strings.NewReader(body))
	r.RequestURI = path
	r.Header.Set("Content-Type", "application/json")
	return r
}

// populated enrols one agent and writes the records of the others, which are like
// its own.
func populated(b *testing.B, st store.Store, agents int) *population {
	b.Helper()
	h, err := newHandler(base, st, agentauth.ProviderLimits{PerMinute: -1, AllPerMinute: -1, KeyPerMinute: -1})
	if err != nil {
		b.Fatal(err)
	}
	p := &population{handler: h, key: ed25519.NewKeyFromSeed([]byte("the agent whose token is renewed"))}
	r := request("/enrol", `{"agent_id":"aauth:agent-50000@127.0.0.1"}`)
	if err := agentauth.SignRequest(r, p.key, agentauth.SignOptions{}); err != nil {
		b.Fatal(err)
	}
	w := httptest.NewRecorder()
	if h.ServeHTTP(w, r); w.Code != http.StatusOK {
		b.Fatal(w.Code, w.Body)
	}
	var like, owner store.Record
	for r, err := range st.List(b.Context(), store.Query{Kind: "agent"}) {
		if err != nil {
			b.Fatal(err)
		}
		like = r
	}
	for r, err := range st.List(b.Context(), store.Query{Kind: agentauth.KindAgentID}) {
		if err != nil {
			b.Fatal(err)
		}
		owner = r
	}
	const batch = 20
	for i := 0; i < agents-1; i += batch {
		var ops []store.Op
		for j := i; j < min(i+batch, agents-1); j++ {
			id := fmt.Sprintf("%043d", j)
			ops = append(ops, store.Insert(store.Record{Kind: like.Kind, ID: id, Data: like.Data}),
				store.Insert(store.Record{Kind: owner.Kind, ID: store.ID(fmt.Sprintf("aauth:agent-%d-%s@127.0.0.1", j, id[:8])), Data: owner.Data}))
		}
		if err := st.Commit(b.Context(), ops...); err != nil {
			b.Fatal(err)
		}
	}
	return p
}

func openSQLite(b *testing.B) store.Store {
	b.Helper()
	dsn := url.URL{Scheme: "file", Opaque: (&url.URL{Path: filepath.Join(b.TempDir(), "agents.db")}).EscapedPath(), RawQuery: "_pragma=busy_timeout(5000)&_pragma=synchronous(NORMAL)"}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	st, err := sqlstore.Open(b.Context(), db, sqlstore.Config{Dialect: sqlstore.SQLite, InsecureRelaxedSync: true})
	if err != nil {
		b.Fatal(err)
	}
	return st
}
