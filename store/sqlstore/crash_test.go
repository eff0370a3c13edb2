package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/store"
)

// A process is killed while it commits: what it was told is done is done, and
// nothing is half done.
func TestKillLeavesAllOrNone(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		rounds := 20
		if long() {
			rounds = 200
		}
		s := d.open(t, nil)
		for i := range rounds {
			p := d.begin(t, "pairs", "", 1)
			p.release(t)
			acknowledged := p.readLine(t)
			killed := time.AfterFunc(rand.N(20*time.Millisecond), func() { p.cmd.Process.Kill() })
			for {
				line, err := p.output.ReadString('\n')
				if err != nil {
					break
				}
				acknowledged = line
			}
			killed.Stop()
			_ = p.cmd.Wait() // killed
			last, err := strconv.Atoi(strings.TrimSpace(acknowledged))
			if err != nil {
				t.Fatal(err)
			}
			checkPairs(t, s, i, last+1)
		}
	})
}

// checkPairs checks what a process left, of whose commits at least so many were
// acknowledged, and deletes it.
func checkPairs(t *testing.T, s store.Store, round, acknowledged int) {
	t.Helper()
	// The server may be working on the last commit still: this waits for it,
	// because it writes the same counter.
	if _, err := s.Add(t.Context(), "pairs", -1, time.Time{}); err != nil {
		t.Fatal(err)
	}
	left, right := all(t, s, store.Query{Kind: "left"}), all(t, s, store.Query{Kind: "right"})
	if len(left) != len(right) || len(left) < acknowledged || len(left) > acknowledged+1 {
		t.Errorf("round %d: %d and %d records after %d commits", round, len(left), len(right), acknowledged)
	}
	sum, err := s.Add(t.Context(), "pairs", 0, time.Time{})
	if err != nil || sum != int64(len(left)-1) {
		t.Errorf("round %d: counted %d, %v, with %d records", round, sum, err, len(left))
	}
	for _, r := range append(left, right...) {
		commit(t, s, store.Delete(r))
	}
	if _, err := s.Add(t.Context(), "pairs", -1<<20, time.Time{}); err != nil {
		t.Fatal(err)
	}
}

func all(t *testing.T, s store.Store, q store.Query) []store.Record {
	t.Helper()
	var records []store.Record
	for r, err := range s.List(context.Background(), q) {
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	return records
}

// The link breaks after COMMIT was sent: the caller gets an error, and the
// whole change is there or nothing of it, once.
func TestSTO09AnswerToCommitIsLost(t *testing.T) {
	d := newPostgres(t)
	s := d.open(t, nil)
	link := newCutter(t, d.host(t))
	through := d
	// Every statement is sent as text, which the cutter looks for.
	through.dsn = strings.Replace(d.dsn, d.host(t), link.address, 1) + "&default_query_exec_mode=exec"
	cut := through.open(t, nil)
	for i := range 20 {
		id := fmt.Sprintf("single-%d", i)
		link.cutAfter(id)
		if err := cut.Commit(t.Context(), store.Insert(store.Record{Kind: "k", ID: id})); err == nil || errors.As(err, new(*store.OpError)) {
			t.Errorf("one op: got %v", err)
		}
		once(t, s, id)

		id = fmt.Sprintf("several-%d", i)
		link.cutAfter("COMMIT\x00") // not READ COMMITTED
		err := cut.Commit(t.Context(), store.Insert(store.Record{Kind: "k", ID: id}),
			store.Insert(store.Record{Kind: "k", ID: id + "/index"}), store.Take(id, 1, 9, time.Time{}))
		if err == nil || errors.As(err, new(*store.OpError)) {
			t.Errorf("several ops: got %v", err)
		}
		counted, err := s.Add(t.Context(), id, 0, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		records, err := s.Get(t.Context(), store.Key{Kind: "k", ID: id}, store.Key{Kind: "k", ID: id + "/index"})
		if err != nil {
			t.Fatal(err)
		}
		if a, b := records[0].Exists(), records[1].Exists(); a != b || counted > 1 {
			t.Errorf("half done: %v, %v, counted %d", a, b, counted)
		}
		once(t, s, id)
	}
}

// once checks that a caller who tries again ends with one record.
func once(t *testing.T, s store.Store, id string) {
	t.Helper()
	err := s.Commit(t.Context(), store.Insert(store.Record{Kind: "k", ID: id}))
	if err != nil && !errors.Is(err, store.ErrExists) {
		t.Error(err)
	}
	if n := len(all(t, s, store.Query{Kind: "k", Prefix: id})); n < 1 || n > 2 {
		t.Errorf("%d records of %s", n, id)
	}
}

// An error is never an absent record.
func TestSTO11ErrorIsNotAbsence(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.connect(t)
		s := d.openOn(t, db, nil)
		commit(t, s, store.Insert(store.Record{Kind: "k", ID: "a"}))
		stored := one(t, s, "k", "a")
		for _, text := range []string{`DROP TABLE keywright_records`, `DROP TABLE keywright_counters`} {
			if _, err := db.Exec(text); err != nil {
				t.Fatal(err)
			}
		}
		for name, call := range calls(s, stored) {
			err := call(context.Background())
			if err == nil || errors.As(err, new(*store.OpError)) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := db.Stats().InUse; n != 0 {
			t.Errorf("%d connections in use", n)
		}
	})
}

func TestSTO11DamagedRecordsAreNotAbsent(t *testing.T) {
	d := newSQLite(t)
	db := d.connect(t)
	s := d.openOn(t, db, nil)
	const n = 2000
	for i := 0; i < n; i += 100 {
		var ops []store.Op
		for j := range 100 {
			ops = append(ops, store.Insert(store.Record{Kind: "k", ID: fmt.Sprintf("%06d", i+j), Data: make([]byte, 300)}))
		}
		commit(t, s, ops...)
	}
	closeDB(t, db)
	zeroPages(t, d, 40, 60)
	damaged := d.open(t, nil)
	failed := 0
	for i := range n {
		records, err := damaged.Get(t.Context(), store.Key{Kind: "k", ID: fmt.Sprintf("%06d", i)})
		switch {
		case err != nil:
			failed++
		case !records[0].Exists():
			t.Fatalf("record %d is absent", i)
		}
	}
	if failed == 0 {
		t.Error("no record was damaged")
	}
}

func closeDB(t *testing.T, db *sql.DB) {
	t.Helper()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.connect(t)
		s := d.openOn(t, db, nil)
		expires := time.Now().Add(time.Hour).Round(0)
		commit(t, s, store.Insert(store.Record{Kind: "k", ID: "a", Data: []byte("data"), Expires: expires}), store.Take("n", 3, 9, time.Time{}))
		before := one(t, s, "k", "a")
		closeDB(t, db)
		s = d.open(t, nil)
		if after := one(t, s, "k", "a"); after.Version != before.Version || !after.Expires.Equal(expires) || string(after.Data) != "data" {
			t.Errorf("got %+v, want %+v", after, before)
		}
		if n, err := s.Add(t.Context(), "n", 0, time.Time{}); n != 3 || err != nil {
			t.Errorf("the counter is %d, %v, want 3", n, err)
		}
	})
}
