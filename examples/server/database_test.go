package main_test

import (
	"context"
	"database/sql"
	"slices"
	"testing"

	_ "modernc.org/sqlite" // driver "sqlite"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/bootstrap"
	"github.com/keywright/keywright/store"
	"github.com/keywright/keywright/store/sqlstore"
)

// openSQLite opens the file without the example's own code.
func (in *installation) openSQLite() *sql.DB {
	in.t.Helper()
	db, err := sql.Open("sqlite", "file:"+in.db+"?_pragma=busy_timeout(10000)&_pragma=synchronous(FULL)")
	if err != nil {
		in.t.Fatal(err)
	}
	return db
}

// open is a second handle on the database, as another replica has one.
func (in *installation) open() (host keywright.Host, closeDB func()) {
	in.t.Helper()
	db := in.openSQLite()
	st, err := sqlstore.Open(in.t.Context(), db, sqlstore.Config{Dialect: sqlstore.SQLite})
	if err != nil {
		db.Close()
		in.t.Fatal(err)
	}
	host, err = keywright.NewHost(keywright.HostConfig{Store: st, Kinds: map[string]string{"admin": "kw_admin"}})
	if err != nil {
		db.Close()
		in.t.Fatal(err)
	}
	return host, func() { db.Close() }
}

// keyID is the public id of a key.
func (in *installation) keyID(key string) string {
	in.t.Helper()
	host, err := keywright.NewHost(keywright.HostConfig{Store: &store.Memory{}, Kinds: map[string]string{"admin": "kw_admin"}})
	if err != nil {
		in.t.Fatal(err)
	}
	id, ok := host.Keys.ID(key)
	if !ok {
		in.t.Fatal("not a key of this host")
	}
	return id
}

// A state is what the store holds of a bootstrap.
type state struct {
	Claimed bool
	ClaimOf string   // the id of the key that the claim names
	Parents []string // generations whose keys live
	Keys    []string
	Markers int      // tokens that were used
	Events  []string // names, newest first
}

// look reads the store as it is now.
func (in *installation) look() state {
	in.t.Helper()
	host, closeDB := in.open()
	defer closeDB()
	ctx := in.t.Context()
	status, err := bootstrap.ReadStatus(ctx, host)
	if err != nil {
		in.t.Fatal(err)
	}
	s := state{
		Claimed: status.Claimed, ClaimOf: status.Key,
		Parents: ids(ctx, in.t, host.Store, bootstrap.KindGeneration),
		Keys:    ids(ctx, in.t, host.Store, keywright.KindKey),
		Markers: len(ids(ctx, in.t, host.Store, bootstrap.KindToken)),
	}
	for e, err := range host.Events(ctx, "") {
		if err != nil {
			in.t.Fatal(err)
		}
		s.Events = append(s.Events, e.Name)
	}
	return s
}

func ids(ctx context.Context, t *testing.T, st store.Store, kind string) []string {
	t.Helper()
	var all []string
	for r, err := range st.List(ctx, store.Query{Kind: kind}) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r.ID)
	}
	return all
}

// untouched is the state in which nothing has happened.
func (s state) untouched() bool {
	return !s.Claimed && s.ClaimOf == "" && len(s.Parents)+len(s.Keys)+s.Markers+len(s.Events) == 0
}

// claimedOnce is the state after one bootstrap: everything that belongs to it,
// and nothing twice. Only deliveries of the same key may have come behind.
func (s state) claimedOnce() bool {
	events := slices.DeleteFunc(slices.Clone(s.Events), func(name string) bool {
		return name == "bootstrap.redelivered" || name == "bootstrap.redelivery_ended"
	})
	return s.Claimed && slices.Equal(s.Keys, []string{s.ClaimOf}) && slices.Equal(s.Parents, []string{"1"}) &&
		s.Markers == 1 && slices.Equal(events, []string{"bootstrap.claimed"})
}
