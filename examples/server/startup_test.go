package main_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/bootstrap"
)

// refusalLimit is how long a start that must fail may take.
const refusalLimit = 5 * time.Second

// wantRefusedStart starts the server and wants it to end with one error that
// has all of the texts.
func (in *installation) wantRefusedStart(texts ...string) {
	in.t.Helper()
	begin := time.Now()
	p := in.launch()
	code := p.wait(startLimit)
	if took := time.Since(begin); took > refusalLimit && !raceEnabled() {
		in.t.Errorf("it took %v to refuse, want at most %v", took, refusalLimit)
	}
	if code != 1 {
		in.t.Errorf("exit code %d, want 1", code)
	}
	log := p.stderr.String()
	lines := strings.Split(strings.TrimSpace(log), "\n")
	last := lines[len(lines)-1]
	if strings.Count(log, " ERROR ") != 1 || !strings.Contains(last, " ERROR ") || p.stdout.String() != "" {
		in.t.Errorf("want one error, as the last line, on standard error; got:\n%s%s", log, p.stdout)
	}
	for _, text := range texts {
		if !strings.Contains(strings.ReplaceAll(last, `\"`, `"`), text) {
			in.t.Errorf("the message does not say %q:\n%s", text, log)
		}
	}
}

// TestDatabaseRefused gives the server files that are no database of its own.
func TestDatabaseRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		spoil func(*installation)
		says  string
	}{
		{"a text file", func(in *installation) { in.write(bytes.Repeat([]byte("Dear diary,\n"), 1000)) }, "file is not a database"},
		{"a short text file", func(in *installation) { in.write([]byte("hello\n")) }, "file is not a database"},
		{"zero bytes", func(in *installation) { in.write(make([]byte, 8192)) }, "file is not a database"},
		{"a page of the schema overwritten", func(in *installation) { in.overwrite(100, 3000) }, "malformed"},
		{"cut off", func(in *installation) { in.truncate(5000) }, "malformed"},
		{"a directory", func(in *installation) { in.remove(); in.check(os.Mkdir(in.db, 0o700)) }, "directory"},
		{"a newer schema", func(in *installation) { in.exec("UPDATE keywright_meta SET value = '2' WHERE name = 'schema'") }, "schema: version 2 is newer than 1"},
		{"no schema version", func(in *installation) { in.exec("DELETE FROM keywright_meta") }, "keywright_meta has no schema version"},
		{"a schema version in words", func(in *installation) { in.exec("UPDATE keywright_meta SET value = 'one'") }, `version "one" is not a number`},
		{"no table of records", func(in *installation) { in.exec("DROP TABLE keywright_records") }, "table keywright_records is missing"},
		{"no table of counters", func(in *installation) { in.exec("DROP TABLE keywright_counters") }, "table keywright_counters is missing"},
		{"another column", func(in *installation) { in.exec("ALTER TABLE keywright_records RENAME COLUMN data TO stuff") }, "column data is missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := newInstallation(t)
			p := in.start()
			p.claim()
			p.stop(startLimit)
			tt.spoil(in)
			before := in.fingerprint()
			in.wantRefusedStart(in.db, tt.says)
			if got := in.fingerprint(); got != before {
				t.Error("the refused file was changed")
			}
		})
	}
}

func TestClaimUnreadable(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	p := in.start()
	p.claim()
	p.stop(startLimit)
	in.exec("UPDATE keywright_records SET data = x'00' WHERE kind = 'bootstrap'")
	in.wantRefusedStart("bootstrap: record of the claim")
}

func TestDatabaseOutOfReach(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	in.db = filepath.Join(in.dir, "no", "such", "directory", "keywright.db")
	in.wantRefusedStart(in.db, "no such file or directory")

	in = newInstallation(t)
	in.flags = []string{"-db", "postgres://nobody:hunter2hunter2hunter2@127.0.0.1:1/none?connect_timeout=2"}
	in.hide("hunter2hunter2hunter2")
	in.wantRefusedStart("database PostgreSQL", "127.0.0.1:1")
}

func (in *installation) check(err error) {
	in.t.Helper()
	if err != nil {
		in.t.Fatal(err)
	}
}

// remove takes the database away, with what SQLite keeps beside it.
func (in *installation) remove() {
	in.t.Helper()
	in.check(os.Remove(in.db))
}

func (in *installation) write(b []byte) {
	in.t.Helper()
	in.check(os.WriteFile(in.db, b, 0o600))
}

func (in *installation) truncate(size int64) {
	in.t.Helper()
	in.check(os.Truncate(in.db, size))
}

func (in *installation) overwrite(from, to int) {
	in.t.Helper()
	b, err := os.ReadFile(in.db)
	in.check(err)
	for i := from; i < to; i++ {
		b[i] = 0x5a
	}
	in.write(b)
}

func (in *installation) exec(statement string) {
	in.t.Helper()
	db := in.openSQLite()
	defer db.Close()
	_, err := db.ExecContext(context.Background(), statement)
	in.check(err)
}

// fingerprint tells whether the database is byte for byte what it was.
func (in *installation) fingerprint() string {
	in.t.Helper()
	if entries, err := os.ReadDir(in.db); err == nil {
		return fmt.Sprint("directory ", entries)
	}
	b, err := os.ReadFile(in.db)
	in.check(err)
	sum := sha256.Sum256(b)
	return string(sum[:])
}

// TestSettingsRefused has an operator's mistakes; the message names what to change.
func TestSettingsRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		config string
		env    string
		flags  []string
		says   []string
	}{
		{"unknown member", `{"bootstrap":{"redelivry":"1m"}}`, "", nil, []string{"config.json", "redelivry"}},
		{"bad duration", `{"bootstrap":{"redelivery":"soon"}}`, "", nil, []string{"config.json", "redelivery", "soon"}},
		{"duration without a unit", `{"bootstrap":{"key_ttl":"60"}}`, "", nil, []string{"config.json", "key_ttl", "60"}},
		{"duration as a number", `{"bootstrap":{"max_lifetime":60}}`, "", nil, []string{"config.json", "max_lifetime"}},
		{"negative redelivery", `{"bootstrap":{"redelivery":"-1m"}}`, "", nil, []string{"Redelivery", "negative"}},
		{"negative lifetime", `{"bootstrap":{"max_lifetime":"-1m"}}`, "", nil, []string{"MaxLifetime", "negative"}},
		{"no JSON", `{"bootstrap":`, "", nil, []string{"config.json"}},
		{"something behind", `{} {"bootstrap":{"disabled":true}}`, "", nil, []string{"config.json"}},
		{"missing key file", `{"bootstrap":{"public_key_files":["absent.pem"]}}`, "", nil, []string{"public_key_files", "absent.pem"}},
		{"missing config", "", "", []string{"-config", "absent.json"}, []string{"-config", "absent.json"}},
		{"short secret", "", "c2hvcnQ=", nil, []string{bootstrap.SecretVariable, "5 bytes", "32"}},
		{"URL-safe secret", "", strings.Repeat("-_", 32), nil, []string{bootstrap.SecretVariable, "URL-safe"}},
		{"secret without padding", "", strings.Repeat("A", 43), nil, []string{bootstrap.SecretVariable, "base64"}},
		{"url without a host", "", "", []string{"-url", "example.com"}, []string{"-url", "example.com"}},
		{"url with a query", "", "", []string{"-url", "http://example.com/?x"}, []string{"URL"}},
		{"address", "", "", []string{"-addr", "127.0.0.1:http:x"}, []string{"127.0.0.1:http:x"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			in := newInstallation(t)
			if tt.config != "" {
				in.configure(tt.config)
			}
			if tt.env != "" {
				in.noEnv, in.env = true, []string{bootstrap.SecretVariable + "=" + tt.env}
				in.hide(tt.env)
			}
			in.flags = append(in.flags, tt.flags...)
			in.wantRefusedStart(tt.says...)
		})
	}
}

func TestUnknownFlag(t *testing.T) {
	t.Parallel()
	in := newInstallation(t)
	p := in.launch("-adr", "x")
	if code := p.wait(refusalLimit); code != 2 || !strings.Contains(p.stderr.String(), "-adr") {
		t.Errorf("exit code %d, want 2 and a message that names -adr:\n%s", code, p.stderr)
	}
}
