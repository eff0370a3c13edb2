package sqlstore_test

import (
	"context"
	"database/sql"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/keywright/keywright/store/sqlstore"
)

const (
	sqliteRecords   = `CREATE TABLE keywright_records (kind TEXT NOT NULL, id TEXT NOT NULL, version INTEGER NOT NULL, expires INTEGER NOT NULL, data BLOB NOT NULL`
	sqliteExpires   = `; CREATE INDEX keywright_records_expires ON keywright_records (expires)`
	dropRecords     = `DROP TABLE keywright_records; `
	setVersion      = `UPDATE keywright_meta SET value = `
	recordsTable    = `ALTER TABLE keywright_records `
	sqliteDialect   = sqlstore.SQLite
	postgresDialect = sqlstore.PostgreSQL
)

// drifts are changes to the tables behind our back, and what Open says.
var drifts = []struct {
	name    string
	dialect sqlstore.Dialect // zero: both
	change  string
	want    string
}{
	{"a table is missing", 0, `DROP TABLE keywright_counters`, "table keywright_counters is missing"},
	{"the version table is missing", 0, `DROP TABLE keywright_meta`, "table keywright_meta is missing"},
	{"an index is missing", 0, `DROP INDEX keywright_records_expires`, "index keywright_records_expires on (expires) is missing"},
	{"a unique index that is not ours", 0, `CREATE UNIQUE INDEX more ON keywright_records (expires)`, "unknown unique index more"},
	{"an extra column", 0, recordsTable + `ADD COLUMN note TEXT`, "table keywright_records: unknown column note"},
	{"a column has another name", 0, recordsTable + `RENAME COLUMN data TO body`, "column data is missing"},
	{"the schema is newer", 0, setVersion + `'2'`, "version 2 is newer than 1"},
	{"the schema is older", 0, setVersion + `'0'`, "version 0 is older than 1"},
	{"the version is no number", 0, setVersion + `'one'`, `version "one" is not a number`},
	{"there is no version", 0, `DELETE FROM keywright_meta`, "table keywright_meta has no schema version"},

	{"no primary key", sqliteDialect, dropRecords + sqliteRecords + `)` + sqliteExpires,
		"keywright_records: the primary key is (), not (kind, id)"},
	{"another primary key", sqliteDialect, dropRecords + sqliteRecords + `, PRIMARY KEY (id, kind))` + sqliteExpires,
		"the primary key is (id, kind), not (kind, id)"},
	{"upper and lower case are the same", sqliteDialect,
		dropRecords + strings.Replace(sqliteRecords, "id TEXT", "id TEXT COLLATE NOCASE", 1) + `, PRIMARY KEY (kind, id))` + sqliteExpires,
		"in a table with a collation"},
	{"upper and lower case are the same in a condition", sqliteDialect,
		dropRecords + strings.Replace(sqliteRecords, "id TEXT", "id TEXT COLLATE NOCASE", 1) + `, PRIMARY KEY (kind, id COLLATE BINARY))` + sqliteExpires,
		"in a table with a collation"},
	{"another type", sqliteDialect, dropRecords + strings.Replace(sqliteRecords, "version INTEGER", "version TEXT", 1) + `, PRIMARY KEY (kind, id))` + sqliteExpires,
		"column version is text, not integer"},

	{"no primary key", postgresDialect, recordsTable + `DROP CONSTRAINT keywright_records_pkey`,
		"keywright_records: the primary key is (), not (kind, id)"},
	{"a unique key too wide", postgresDialect,
		recordsTable + `DROP CONSTRAINT keywright_records_pkey, ADD PRIMARY KEY (kind, id, version)`, "the primary key is (kind, id, version)"},
	{"the collation of the language", postgresDialect, recordsTable + `ALTER COLUMN id TYPE TEXT COLLATE "en-x-icu"`,
		"column id is text COLLATE en-x-icu, not text"},
	{"another type", postgresDialect, recordsTable + `ALTER COLUMN version TYPE NUMERIC`, "column version is numeric, not integer"},
	{"a column may be empty", postgresDialect, recordsTable + `ALTER COLUMN data DROP NOT NULL`, "column data is bytes NULL, not bytes"},
	{"a table lost in a crash", postgresDialect, recordsTable + `SET UNLOGGED`, "in an unlogged table"},
}

func TestSTO12SchemaDriftIsNamed(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		for _, drift := range drifts {
			if drift.dialect != 0 && drift.dialect != d.dialect {
				continue
			}
			t.Run(drift.name, func(t *testing.T) {
				d := newSQLite(t)
				if drift.dialect == sqlstore.PostgreSQL {
					d = newPostgres(t)
				}
				d.open(t, nil)
				db := d.connect(t)
				if _, err := db.Exec(drift.change); err != nil {
					t.Fatal(err)
				}
				d.refuses(t, db, drift.want)
			})
		}
	})
}

// refuses checks that Open fails with an error that contains want, and that
// it leaves no connection behind.
func (d database) refuses(t *testing.T, db *sql.DB, want string) {
	t.Helper()
	_, err := sqlstore.Open(context.Background(), db, sqlstore.Config{Dialect: d.dialect})
	if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "sqlstore: open: ") {
		t.Errorf("got %v, want %q", err, want)
	}
	if n := db.Stats().InUse; n != 0 {
		t.Errorf("%d connections in use", n)
	}
}

func TestSTO12WrongSettingsAreNamed(t *testing.T) {
	t.Run("SQLite answers before the disk", func(t *testing.T) {
		d := newSQLite(t)
		d.dsn += "?_pragma=synchronous(normal)"
		db := d.connect(t)
		d.refuses(t, db, "synchronous is 1, want 2 (FULL)")
		if _, err := sqlstore.Open(context.Background(), db, sqlstore.Config{Dialect: d.dialect, InsecureRelaxedSync: true}); err != nil {
			t.Error(err)
		}
	})
	t.Run("SQLite in memory", func(t *testing.T) {
		d := database{sqlstore.SQLite, "sqlite", ":memory:"}
		d.refuses(t, d.connect(t), `journal mode is "memory"`)
	})
	t.Run("SQLite in UTF-16", func(t *testing.T) {
		d := newSQLite(t)
		db := d.connect(t)
		if _, err := db.Exec(`PRAGMA encoding = 'UTF-16le'; CREATE TABLE t (x TEXT)`); err != nil {
			t.Fatal(err)
		}
		d.refuses(t, db, "encoding of the database is UTF-16le")
	})
	t.Run("PostgreSQL answers before the disk", func(t *testing.T) {
		d := newPostgres(t)
		d.dsn += "&synchronous_commit=off"
		db := d.connect(t)
		d.refuses(t, db, "synchronous_commit is off")
		if _, err := sqlstore.Open(context.Background(), db, sqlstore.Config{Dialect: d.dialect, InsecureRelaxedSync: true}); err != nil {
			t.Error(err)
		}
	})
	t.Run("PostgreSQL without an encoding", func(t *testing.T) {
		d := newPostgres(t)
		if _, err := d.connect(t).Exec(`CREATE DATABASE bytes TEMPLATE template0 ENCODING 'SQL_ASCII'`); err != nil {
			t.Fatal(err)
		}
		i, j := strings.LastIndexByte(d.dsn, '/'), strings.IndexByte(d.dsn, '?')
		d.dsn = d.dsn[:i+1] + "bytes" + d.dsn[j:]
		d.refuses(t, d.connect(t), "encoding of the database is SQL_ASCII")
	})
}

func TestOpenRefusesAnEmptyConfig(t *testing.T) {
	if _, err := sqlstore.Open(context.Background(), nil, sqlstore.Config{Dialect: sqlstore.SQLite}); err == nil {
		t.Error("no database: want an error")
	}
	if _, err := sqlstore.Open(context.Background(), newSQLite(t).connect(t), sqlstore.Config{}); err == nil {
		t.Error("no dialect: want an error")
	}
}

func TestManyOpenAnEmptyDatabase(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { d.open(t, nil) })
		}
		wg.Wait()
	})
}

func TestSTO12CorruptFileIsNamed(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"not a database":  func([]byte) []byte { return []byte(strings.Repeat("no database ", 1000)) },
		"zeroed schema":   func(b []byte) []byte { clear(b[100:4096]); return b },
		"truncated":       func(b []byte) []byte { return b[:5000] },
		"zeroed metadata": func(b []byte) []byte { clear(b[4096:8192]); return b },
	} {
		t.Run(name, func(t *testing.T) {
			d := newSQLite(t)
			db := d.connect(t)
			d.openOn(t, db, nil)
			db.Close()
			path := strings.TrimPrefix(d.dsn, "file:")
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(content), 0o600); err != nil {
				t.Fatal(err)
			}
			d.refuses(t, d.connect(t), "database")
		})
	}
}
