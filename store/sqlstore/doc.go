// Package sqlstore is a [store.Store] in SQLite or PostgreSQL, for servers
// that must not forget and for several that share one memory.
//
// It works with any database/sql driver, imports none, and needs no migration
// step: [Open] makes three tables, keywright_meta, keywright_records and
// keywright_counters, and refuses to start when they are not as they should be.
//
// # SQLite
//
// Use a file on a local disk. Open switches it to write-ahead logging, which
// stays with the file; the rest is a matter of each connection, hence of the
// connection string. With modernc.org/sqlite (driver "sqlite"):
//
//	file:keywright.db?_pragma=synchronous(full)
//
// and with github.com/mattn/go-sqlite3 (driver "sqlite3"), which otherwise
// takes NORMAL:
//
//	file:keywright.db?_synchronous=FULL&_busy_timeout=0
//
// With synchronous FULL a Commit that returned nil survives a power failure;
// below that only the crash of the process, and Open asks for
// [Config].InsecureRelaxedSync. A busy timeout is not needed: the Store waits
// for the lock itself, because SQLite's wait may outlast the context. A host
// that has one for its own statements loses a few microseconds per Commit, as
// the Store puts it aside in a write; a read, and a new connection, may wait for
// it beyond their context where somebody holds the file in EXCLUSIVE mode.
//
// SQLite admits one writer at a time. Within a process writers queue, and
// between processes they poll every 4 ms or more often.
//
// Open reads the header and the tables' definitions, so it notices a file that
// is no database or was cut off, and a page that cannot be read is an error of
// the call that meets it, never an absent record. It does not run PRAGMA
// quick_check, which reads everything: Open takes 1 ms, and quick_check 0.24 s
// for 150 MB in memory, and many times that from a cold disk. SQLite keeps no
// checksums, and neither finds a changed bit in a record. Run quick_check on
// the backups.
//
// # PostgreSQL
//
// The database must be in UTF8. Its locale does not matter. The tables are
// made in the first schema of search_path. Set a limit with
// [database/sql.DB.SetMaxOpenConns]: database/sql has none, a server 100 for all
// its clients by default. Read the connection string's options of your driver
// if a pooler in transaction mode is in between; the Store itself keeps nothing
// in a connection from one call to the next.
//
// Commits that write or Check one record take turns, until the disk has the
// one before: some 1,200 a second where a write takes 0.8 ms. So is a revocation,
// whose turn comes however many use what it revokes.
//
// # What holds in both
//
// Each op of a Commit is one statement with its condition in it, and ops are
// applied in the order of their keys, so that Commits wait for each other but
// never in a circle. One that the database refused because it was busy, or
// rolled back in favour of another, is tried again for up to ten seconds
// within its context, at intervals of up to 4 ms; a transaction that could not
// even begin because the connection was dead, three times on another one.
// Nothing is tried again once COMMIT, or a statement that commits by itself,
// was sent and its answer lost: the error is the caller's to resolve, who can
// read what became of it.
//
// Give every call a context with a deadline: it ends the wait for a lock, for a
// connection and for a server that does not answer.
//
// Versions are random numbers of 63 bits. There is no sequence for all writers
// to lock, and a database restored from a backup does not give one out again.
// Restoring one undoes every later revocation and forgets every later replay
// marker, though: nobody but the operator can know that it happened.
//
// Call [Store.Sweep] now and then, every few minutes for a busy server; what
// has expired is absent without it, but still takes room.
package sqlstore
