package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A table is what this package needs to know of one.
type table struct {
	columns    map[string]string // name to type
	primaryKey []string
	indexes    map[string]string // name of each that is no primary key, to its columns
}

// wantedTables lists the tables in the order in which they are checked.
var wantedTables = []string{"keywright_meta", "keywright_records", "keywright_counters"}

var wanted = map[string]table{
	"keywright_meta": {
		columns:    map[string]string{"name": "text", "value": "text"},
		primaryKey: []string{"name"},
	},
	"keywright_records": {
		columns: map[string]string{
			"kind": "text", "id": "text", "version": "integer", "expires": "integer", "data": "bytes",
		},
		primaryKey: []string{"kind", "id"},
		indexes:    map[string]string{"keywright_records_expires": "expires"},
	},
	"keywright_counters": {
		columns:    map[string]string{"name": "text", "value": "integer", "expires": "integer"},
		primaryKey: []string{"name"},
		indexes:    map[string]string{"keywright_counters_expires": "expires"},
	},
}

// ensureSchema creates the tables where there are none of them, and checks
// them otherwise. It runs in a transaction that keeps other processes from
// doing the same.
func (s *Store) ensureSchema(ctx context.Context, q querier) error {
	if s.sql.schemaLock != "" {
		if _, err := q.ExecContext(ctx, s.sql.schemaLock); err != nil {
			return fmt.Errorf("lock the schema: %w", err)
		}
	}
	found, err := s.describe(ctx, q)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return s.checkSchema(ctx, q, found)
	}
	for _, text := range s.sql.schema {
		if _, err := q.ExecContext(ctx, text); err != nil {
			return fmt.Errorf("create the tables: %w", err)
		}
	}
	return nil
}

// checkSchema returns an error that names the first difference between the
// tables found and the ones wanted. The primary keys are what makes "exactly
// one" true, so nothing is repaired here: how they went missing matters.
func (s *Store) checkSchema(ctx context.Context, q querier, found map[string]*table) error {
	// The version goes first: a newer schema is different for a good reason.
	if meta := found["keywright_meta"]; meta != nil && meta.columns["name"] != "" && meta.columns["value"] != "" {
		if err := s.checkVersion(ctx, q); err != nil {
			return err
		}
	}
	for _, name := range wantedTables {
		have, ok := found[name]
		if !ok {
			return fmt.Errorf("schema: table %s is missing", name)
		}
		if err := have.check(wanted[name]); err != nil {
			return fmt.Errorf("schema: table %s: %w", name, err)
		}
	}
	return nil
}

func (s *Store) checkVersion(ctx context.Context, q querier) error {
	var have string
	switch err := q.QueryRowContext(ctx, s.sql.schemaVersion).Scan(&have); {
	case errors.Is(err, sql.ErrNoRows):
		return errors.New("schema: table keywright_meta has no schema version")
	case err != nil:
		return fmt.Errorf("schema version: %w", err)
	case have == schemaVersion:
		return nil
	}
	n, err := strconv.Atoi(have)
	known, _ := strconv.Atoi(schemaVersion)
	switch {
	case err != nil:
		return fmt.Errorf("schema: version %q is not a number", have)
	case n > known:
		return fmt.Errorf("schema: version %d is newer than %s, the newest that this program knows", n, schemaVersion)
	}
	return fmt.Errorf("schema: version %d is older than %s, the oldest that this program knows", n, schemaVersion)
}

func (have *table) check(want table) error {
	for _, name := range sortedKeys(want.columns) {
		switch have.columns[name] {
		case want.columns[name]:
		case "":
			return fmt.Errorf("column %s is missing", name)
		default:
			return fmt.Errorf("column %s is %s, not %s", name, have.columns[name], want.columns[name])
		}
	}
	for _, name := range sortedKeys(have.columns) {
		if want.columns[name] == "" {
			return fmt.Errorf("unknown column %s", name)
		}
	}
	if !slices.Equal(have.primaryKey, want.primaryKey) {
		return fmt.Errorf("the primary key is (%s), not (%s)",
			strings.Join(have.primaryKey, ", "), strings.Join(want.primaryKey, ", "))
	}
	for _, name := range sortedKeys(want.indexes) {
		if have.indexes[name] != want.indexes[name] {
			return fmt.Errorf("index %s on (%s) is missing", name, want.indexes[name])
		}
	}
	for _, name := range sortedKeys(have.indexes) {
		if strings.Contains(have.indexes[name], " UNIQUE") {
			return fmt.Errorf("unknown unique index %s on (%s)", name, have.indexes[name])
		}
	}
	return nil
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// describe returns those of the wanted tables that exist.
func (s *Store) describe(ctx context.Context, q querier) (map[string]*table, error) {
	found := make(map[string]*table)
	var name, column, kind string
	err := each(ctx, q, s.sql.columns, func() error {
		t := found[name]
		if t == nil {
			t = &table{columns: make(map[string]string), indexes: make(map[string]string)}
			found[name] = t
		}
		t.columns[column] = kind
		return nil
	}, &name, &column, &kind)
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	var index string
	var primary, bytewise bool
	err = each(ctx, q, s.sql.indexes, func() error {
		t := found[name]
		if t == nil {
			return fmt.Errorf("index %s belongs to no table", index)
		}
		if !bytewise {
			column += " not compared byte for byte"
		}
		switch {
		case primary:
			t.primaryKey = append(t.primaryKey, column)
		case t.indexes[index] == "":
			t.indexes[index] = column
		default:
			t.indexes[index] += ", " + column
		}
		return nil
	}, &name, &index, &primary, &column, &bytewise)
	if err != nil {
		return nil, fmt.Errorf("read the indexes: %w", err)
	}
	return found, nil
}

// each calls row for every row of a query, scanned into dest.
func each(ctx context.Context, q querier, query string, row func() error, dest ...any) error {
	rows, err := q.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		if err := row(); err != nil {
			return err
		}
	}
	return rows.Err()
}
