package main_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
	_ "modernc.org/sqlite"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning"
	"github.com/keywright/keywright/store/sqlstore"
)

const benchKeys = 10_000

// BenchmarkTenThousandKeys authenticates by the first and the last of 10,000
// provisioning keys in a database, by keys that are wrong in three ways, and by
// the only key of another database. The target is a ratio of 1.1 between the
// last and the first, and less for a wrong key than for a right one.
func BenchmarkTenThousandKeys(b *testing.B) {
	host, keys := database(b, benchKeys)
	alone, only := database(b, 1)
	auth := host.Keys.Of(provisioning.KeyKind)
	last := keys[benchKeys-1]
	for _, bench := range []struct {
		name, key string
		auth      keywright.Authenticator
		good      bool
	}{
		{"only", only[0], alone.Keys.Of(provisioning.KeyKind), true},
		{"first", keys[0], auth, true},
		{"last", last, auth, true},
		{"unknown", only[0], auth, false},
		{"mistyped", last[:len(last)-1] + other(last), auth, false},
	} {
		r := httptest.NewRequest(http.MethodPost, provisioning.ProvisionPath, nil)
		r.Header.Set("Authorization", "Bearer "+bench.key)
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bench.auth.Authenticate(r); (err == nil) != bench.good {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkScanRaw is what the seed does for a wrong key: bcrypt over every
// key. Here are ten, at the least cost there is.
func BenchmarkScanRaw(b *testing.B) {
	var hashes [][]byte
	for i := range 10 {
		hash, err := bcrypt.GenerateFromPassword(fmt.Appendf(nil, "key %d", i), bcrypt.MinCost)
		if err != nil {
			b.Fatal(err)
		}
		hashes = append(hashes, hash)
	}
	for b.Loop() {
		for _, hash := range hashes {
			if bcrypt.CompareHashAndPassword(hash, []byte("another")) == nil {
				b.Fatal("accepted")
			}
		}
	}
}

// other returns another last character than that of key.
func other(key string) string {
	if strings.HasSuffix(key, "x") {
		return "y"
	}
	return "x"
}

// database makes n provisioning keys on SQLite.
func database(b *testing.B, n int) (keywright.Host, []string) {
	b.Helper()
	path := filepath.Join(b.TempDir(), "bench.db")
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=synchronous(OFF)&_pragma=busy_timeout(5000)")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	st, err := sqlstore.Open(b.Context(), db, sqlstore.Config{Dialect: sqlstore.SQLite, InsecureRelaxedSync: true})
	if err != nil {
		b.Fatal(err)
	}
	host, err := keywright.NewHost(keywright.HostConfig{
		Store: st, URL: &url.URL{Scheme: "https", Host: "server.example"},
		Kinds: map[string]string{"provisioning": "ck_prov", "runner": "ck_runner", "enrollment": "ck_enroll"},
	})
	if err != nil {
		b.Fatal(err)
	}
	prov, err := provisioning.New(provisioning.Config{Host: host})
	if err != nil {
		b.Fatal(err)
	}
	keys := make([]string, n)
	for i := range keys {
		k, err := prov.CreateKey(b.Context(), keywright.Principal{Subject: "root"}, provisioning.KeySettings{ID: fmt.Sprintf("key-%05d", i)})
		if err != nil {
			b.Fatal(err)
		}
		keys[i] = k.APIKey
	}
	return host, keys
}
