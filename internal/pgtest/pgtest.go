// Package pgtest gives a test a PostgreSQL database that is its own.
//
// The server is a process on the loopback interface with its data in a
// temporary directory. A test binary has one, started when first asked for and
// gone with the binary, however that ends; there is nothing to stop.
//
// Its programs are looked for in /usr/lib/postgresql/*/bin, where Debian keeps
// them, and in PATH. Where there are none a test is skipped, or fails when
// KEYWRIGHT_REQUIRE_POSTGRES is 1.
package pgtest

import (
	"crypto/rand"
	"os"
	"strings"
	"sync"
	"testing"
)

// Start returns the URL of a new, empty UTF-8 database, for the superuser
// "postgres" and without TLS. What is acknowledged is on the disk, as by default
// in PostgreSQL. A setting such as "fsync=off" makes the server another one:
// tests with the same settings share one.
func Start(tb testing.TB, settings ...string) (url string) {
	tb.Helper()
	s, err := shared(settings)
	if err != nil {
		if os.Getenv("KEYWRIGHT_REQUIRE_POSTGRES") == "1" {
			tb.Fatalf("PostgreSQL is required: %v", err)
		}
		tb.Skipf("no PostgreSQL: %v", err)
	}
	name := "keywright_" + strings.ToLower(rand.Text())
	if _, err := s.query("postgres", "CREATE DATABASE "+name+" TEMPLATE template0 ENCODING 'UTF8'"); err != nil {
		tb.Fatalf("PostgreSQL: %v", err)
	}
	return s.url(name)
}

var servers struct {
	sync.Mutex
	started map[string]func() (*server, error) // by settings
}

// shared returns the server with the given settings. Its error is remembered,
// so that a hundred tests do not wait for the same failure.
func shared(settings []string) (*server, error) {
	servers.Lock()
	key := strings.Join(settings, "\n")
	start, ok := servers.started[key]
	if !ok {
		start = sync.OnceValues(func() (*server, error) { return newServer(settings) })
		if servers.started == nil {
			servers.started = make(map[string]func() (*server, error))
		}
		servers.started[key] = start
	}
	servers.Unlock()
	return start()
}
