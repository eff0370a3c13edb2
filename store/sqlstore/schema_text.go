package sqlstore

// schemaVersion is the version of the tables below. A change of any of them
// is a new version, with a way from the one before.
const schemaVersion = "1"

// schemaText is how a dialect makes and describes tables.
type schemaText struct {
	begin  string   // begins a transaction that may write
	lock   string   // keeps other processes from making tables until its end
	create []string // everything, in an empty database

	// columns asks for (table, column, type), the type in the words of wanted
	// and with whatever else is not as it should be behind it.
	columns string

	// indexes asks for (table, index, whether it is the primary key, column,
	// whether that is compared byte for byte), ordered by the position of the
	// column in the index. A column of a unique index has " UNIQUE" behind it,
	// unless that is the primary key.
	indexes string
}

// Every name and ID is compared byte for byte: SQLite does so by itself in a
// UTF-8 database, PostgreSQL by COLLATE "C". Times are nanoseconds since 1970,
// zero for never.
var sqliteSchema = schemaText{
	// A transaction that reads first and asks for the write lock later can
	// only fail when another one wrote in between.
	begin: `BEGIN IMMEDIATE`,
	create: []string{
		`CREATE TABLE keywright_meta (
	name  TEXT NOT NULL PRIMARY KEY,
	value TEXT NOT NULL
) STRICT, WITHOUT ROWID`,
		`CREATE TABLE keywright_records (
	kind    TEXT NOT NULL,
	id      TEXT NOT NULL,
	version INTEGER NOT NULL,
	expires INTEGER NOT NULL,
	data    BLOB NOT NULL,
	PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID`,
		`CREATE TABLE keywright_counters (
	name    TEXT NOT NULL PRIMARY KEY,
	value   INTEGER NOT NULL,
	expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID`,
		`CREATE INDEX keywright_records_expires ON keywright_records (expires) WHERE expires <> 0`,
		`CREATE INDEX keywright_counters_expires ON keywright_counters (expires) WHERE expires <> 0`,
		`INSERT INTO keywright_meta (name, value) VALUES ('schema', '` + schemaVersion + `')`,
	},
	columns: `SELECT t.name, c.name, CASE c.type WHEN 'INTEGER' THEN 'integer' WHEN 'TEXT' THEN 'text'
	WHEN 'BLOB' THEN 'bytes' ELSE c.type END || CASE c."notnull" WHEN 0 THEN ' NULL' ELSE '' END
	|| CASE WHEN upper(t.sql) LIKE '%COLLATE%' THEN ' in a table with a collation' ELSE '' END
FROM sqlite_master t JOIN pragma_table_xinfo(t.name) c
WHERE t.type = 'table' AND t.name IN ('keywright_meta', 'keywright_records', 'keywright_counters')`,
	indexes: `SELECT t.name, i.name, i.origin = 'pk',
	x.name || CASE WHEN i."unique" AND i.origin <> 'pk' THEN ' UNIQUE' ELSE '' END, x.coll = 'BINARY'
FROM sqlite_master t JOIN pragma_index_list(t.name) i JOIN pragma_index_xinfo(i.name) x
WHERE t.type = 'table' AND t.name IN ('keywright_meta', 'keywright_records', 'keywright_counters')
	AND x.key = 1
ORDER BY t.name, i.name, x.seqno`,
}

var postgresSchema = schemaText{
	// Every statement of a Commit carries its own condition, so the weakest
	// level is enough, whatever the host's default is.
	begin: `BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE`,
	// CREATE TABLE IF NOT EXISTS fails when two do it at once. The number is
	// the name, in ASCII.
	lock: `SELECT pg_advisory_xact_lock(x'6b65797772696768'::bigint)`,
	create: []string{
		`CREATE TABLE keywright_meta (
	name  TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	value TEXT COLLATE "C" NOT NULL
)`,
		`CREATE TABLE keywright_records (
	kind    TEXT COLLATE "C" NOT NULL,
	id      TEXT COLLATE "C" NOT NULL,
	version BIGINT NOT NULL,
	expires BIGINT NOT NULL,
	data    BYTEA NOT NULL,
	PRIMARY KEY (kind, id)
)`,
		`CREATE TABLE keywright_counters (
	name    TEXT COLLATE "C" NOT NULL PRIMARY KEY,
	value   BIGINT NOT NULL,
	expires BIGINT NOT NULL
)`,
		`CREATE INDEX keywright_records_expires ON keywright_records (expires) WHERE expires <> 0`,
		`CREATE INDEX keywright_counters_expires ON keywright_counters (expires) WHERE expires <> 0`,
		`INSERT INTO keywright_meta (name, value) VALUES ('schema', '` + schemaVersion + `')`,
	},
	// An unlogged table is empty after a crash, so its columns say so too.
	columns: `SELECT t.relname::text, a.attname::text,
	CASE format_type(a.atttypid, a.atttypmod) WHEN 'bigint' THEN 'integer' WHEN 'bytea' THEN 'bytes'
		ELSE format_type(a.atttypid, a.atttypmod) END
	|| CASE WHEN l.collname <> 'C' THEN ' COLLATE ' || l.collname ELSE '' END
	|| CASE WHEN a.attnotnull THEN '' ELSE ' NULL' END
	|| CASE WHEN t.relpersistence = 'p' THEN '' ELSE ' in an unlogged table' END
FROM pg_class t
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_collation l ON l.oid = a.attcollation
WHERE t.oid IN (to_regclass('keywright_meta'), to_regclass('keywright_records'), to_regclass('keywright_counters'))`,
	indexes: `SELECT t.relname::text, n.relname::text, i.indisprimary,
	a.attname::text || CASE WHEN i.indisunique AND NOT i.indisprimary THEN ' UNIQUE' ELSE '' END, true
FROM pg_index i
JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_class n ON n.oid = i.indexrelid
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, position)
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.attnum
WHERE i.indisvalid
	AND t.oid IN (to_regclass('keywright_meta'), to_regclass('keywright_records'), to_regclass('keywright_counters'))
ORDER BY 1, 2, k.position`,
}
