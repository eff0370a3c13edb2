package sqlstore_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/keywright/keywright/store"
	"github.com/keywright/keywright/store/storetest"
)

func TestStoreOnSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store {
		return newSQLite(t).open(t, now)
	})
}

func TestStoreOnPostgreSQL(t *testing.T) {
	d := newPostgres(t)
	db := d.connect(t)
	n := 0
	storetest.Run(t, func(t *testing.T, now func() time.Time) store.Store {
		// A schema is as empty as a database, and made much faster.
		n++
		schema := fmt.Sprint("case", n)
		if _, err := db.Exec("CREATE SCHEMA " + schema); err != nil {
			t.Fatal(err)
		}
		own := d
		own.dsn += "&search_path=" + schema
		return own.open(t, now)
	})
}
