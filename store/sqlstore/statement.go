package sqlstore

import (
	"strconv"
	"strings"
)

// statements is all the SQL that a Store sends, in one dialect. Values are
// always parameters; what is put together at run time is placeholders.
//
// Parameters are numbered, which lets $1 be used twice. A time is compared
// with a parameter too. "Expired" is expires <> 0 AND expires <= now.
type statements struct {
	mark string // before the number of a parameter: "$" or "?"

	begin      string
	schemaLock string // empty where begin locks enough
	schema     []string

	getOne, put                     string
	check, replace, delete          string
	add, take, counter              string
	sweepRecords, sweepCounters     string
	columns, indexes, schemaVersion string
}

var (
	postgresStatements = newStatements("$", postgresSchema, []string{
		"{max}", "GREATEST", "{min}", "LEAST",
		// A plain SELECT would let another transaction replace or delete the
		// record before this one commits, and so would FOR KEY SHARE. FOR
		// SHARE would not, but whoever waits to write the record is overtaken
		// by every further sharer: with 16 of them the revocation of a key in
		// use took 0.9 s, with this lock 0.04 s.
		"{lock}", " FOR NO KEY UPDATE",
		// Two sweepers, or a sweeper and a Commit, must not wait for each
		// other in different orders.
		"{skip}", " FOR UPDATE SKIP LOCKED",
	})
	sqliteStatements = newStatements("?", sqliteSchema, []string{
		"{max}", "MAX", "{min}", "MIN", "{lock}", "", "{skip}", "",
	})
)

func newStatements(mark string, own schemaText, words []string) statements {
	in := strings.NewReplacer(append(words, "$", mark)...).Replace
	return statements{
		mark:          mark,
		begin:         own.begin,
		schemaLock:    own.lock,
		schema:        own.create,
		columns:       own.columns,
		indexes:       own.indexes,
		schemaVersion: `SELECT value FROM keywright_meta WHERE name = 'schema'`,
		getOne:        in(selectText + `kind = $2 AND id = $3 AND (expires = 0 OR expires > $1)`),
		put:           in(insertText + `($1,$2,$3,$4,$5)` + upsertText),
		check:         in(checkText),
		replace:       in(replaceText),
		delete:        in(deleteText),
		add:           in(addText + returningText),
		take:          in(addText + takeText),
		counter:       in(counterText),
		sweepRecords:  in(sweepRecordsText),
		sweepCounters: in(sweepCountersText),
	}
}

const (
	selectText = `SELECT kind, id, version, expires, data FROM keywright_records WHERE `
	insertText = `INSERT INTO keywright_records (kind, id, version, expires, data) VALUES `
	upsertText = ` ON CONFLICT (kind, id) DO UPDATE
SET version = excluded.version, expires = excluded.expires, data = excluded.data`
	overExpiredText = `
WHERE keywright_records.expires <> 0 AND keywright_records.expires <= `

	checkText = `SELECT version FROM keywright_records
WHERE kind = $1 AND id = $2 AND version = $3 AND (expires = 0 OR expires > $4){lock}`
	replaceText = `UPDATE keywright_records SET version = $5, expires = $6, data = $7
WHERE kind = $1 AND id = $2 AND version = $3 AND (expires = 0 OR expires > $4)`
	deleteText = `DELETE FROM keywright_records
WHERE kind = $1 AND id = $2 AND version = $3 AND (expires = 0 OR expires > $4)`

	// The sum stops at 2^62 rather than overflow.
	sumText = `CASE WHEN c.expires <> 0 AND c.expires <= $5 THEN excluded.value
	ELSE {min}({max}(c.value + $4, 0), 4611686018427387904) END`
	addText = `INSERT INTO keywright_counters AS c (name, value, expires) VALUES ($1, $2, $3)
ON CONFLICT (name) DO UPDATE SET value = ` + sumText + `,
	expires = CASE WHEN c.expires <> 0 AND c.expires <= $5 THEN excluded.expires ELSE c.expires END`
	returningText = ` RETURNING value`
	takeText      = `
WHERE ` + sumText + ` <= $6`
	counterText = `SELECT value FROM keywright_counters
WHERE name = $1 AND (expires = 0 OR expires > $2)`

	sweepRecordsText = `WITH doomed AS (SELECT kind, id FROM keywright_records
	WHERE expires <> 0 AND expires < $1 ORDER BY expires LIMIT $2{skip})
DELETE FROM keywright_records
WHERE (kind, id) IN (SELECT kind, id FROM doomed)`
	sweepCountersText = `WITH doomed AS (SELECT name FROM keywright_counters
	WHERE expires <> 0 AND expires < $1 ORDER BY expires LIMIT $2{skip})
DELETE FROM keywright_counters
WHERE name IN (SELECT name FROM doomed)`
)

// insert writes n records, over expired ones only: $1 is now, and each record
// takes the next five parameters.
func (t *statements) insert(n int) string {
	var b strings.Builder
	b.WriteString(insertText)
	t.rows(&b, n, 5, 2)
	b.WriteString(upsertText)
	b.WriteString(overExpiredText)
	t.parameter(&b, 1)
	return b.String()
}

// get reads the live ones of n records: $1 is now, and each key takes the next
// two parameters.
func (t *statements) get(n int) string {
	if n == 1 {
		return t.getOne
	}
	var b strings.Builder
	b.WriteString(selectText)
	b.WriteString("(kind, id) IN (VALUES ")
	t.rows(&b, n, 2, 2)
	b.WriteString(") AND (expires = 0 OR expires > ")
	t.parameter(&b, 1)
	b.WriteByte(')')
	return b.String()
}

// list reads the live records of kind $2 with from $4 <= id, at most $3, and
// id < $5 where bounded; $1 is now.
func (t *statements) list(bounded, reverse bool) string {
	text := selectText + `kind = $2 AND id >= $4`
	if bounded {
		text += ` AND id < $5`
	}
	text += ` AND (expires = 0 OR expires > $1) ORDER BY id`
	if reverse {
		text += ` DESC`
	}
	return strings.ReplaceAll(text+` LIMIT $3`, "$", t.mark)
}

// rows writes n rows of parameters, the first of which has the given number.
func (t *statements) rows(b *strings.Builder, n, columns, first int) {
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('(')
		for j := range columns {
			if j > 0 {
				b.WriteByte(',')
			}
			t.parameter(b, first+i*columns+j)
		}
		b.WriteByte(')')
	}
}

func (t *statements) parameter(b *strings.Builder, number int) {
	b.WriteString(t.mark)
	b.WriteString(strconv.Itoa(number))
}
