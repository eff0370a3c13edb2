package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keywright/keywright/store"
)

func rec(id string) store.Record { return store.Record{Kind: "k", ID: id, Version: 1} }

func TestValidate(t *testing.T) {
	in := func(year int) store.Record {
		r := rec("a")
		r.Expires = time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC)
		return r
	}
	with := func(data int) store.Record {
		r := rec("a")
		r.Data = make([]byte, data)
		return r
	}
	unversioned := store.Record{Kind: "k", ID: "b"}
	var never time.Time
	for _, c := range []struct {
		name string
		ops  []store.Op
		bad  int // the index of the op that is refused, or -1
	}{
		{"nothing", nil, -1},
		{"one of each", []store.Op{store.Insert(rec("a")), store.Put(rec("b")), store.Replace(rec("c")), store.Delete(rec("d")), store.Check(rec("e")), store.Take("a", 1, 1, never)}, -1},
		{"an empty op", []store.Op{{}}, 0},
		{"an unknown action", []store.Op{store.Insert(rec("a")), {Action: 7, Record: rec("b")}}, 1},
		{"a negative action", []store.Op{{Action: -1, Record: rec("b")}}, 0},
		{"Replace without a version", []store.Op{store.Replace(unversioned)}, 0},
		{"Delete without a version", []store.Op{store.Delete(unversioned)}, 0},
		{"Check without a version", []store.Op{store.Check(unversioned)}, 0},
		{"Insert and Put without a version", []store.Op{store.Insert(unversioned), store.Put(store.Record{Kind: "k", ID: "c"})}, -1},
		{"no kind", []store.Op{store.Insert(store.Record{ID: "a"})}, 0},
		{"no ID", []store.Op{store.Insert(store.Record{Kind: "k"})}, 0},
		{"the longest kind", []store.Op{store.Insert(store.Record{Kind: strings.Repeat("k", 64), ID: "a"})}, -1},
		{"a longer kind", []store.Op{store.Insert(store.Record{Kind: strings.Repeat("k", 65), ID: "a"})}, 0},
		{"the longest ID", []store.Op{store.Insert(rec(strings.Repeat("i", 1024)))}, -1},
		{"a longer ID", []store.Op{store.Insert(rec(strings.Repeat("i", 1025)))}, 0},
		{"NUL", []store.Op{store.Insert(rec("a\x00"))}, 0},
		{"not UTF-8", []store.Op{store.Insert(rec("a\xc3"))}, 0},
		{"the most data", []store.Op{store.Insert(with(1 << 20))}, -1},
		{"more data", []store.Op{store.Insert(with(1<<20 + 1))}, 0},
		{"1970", []store.Op{store.Insert(in(1970))}, 0},
		{"1971", []store.Op{store.Insert(in(1971))}, -1},
		{"2261", []store.Op{store.Insert(in(2261))}, -1},
		{"2262", []store.Op{store.Insert(in(2262))}, 0},
		{"a counter until 2262", []store.Op{store.Take("n", 1, 1, in(2262).Expires)}, 0},
		{"a counter without a name", []store.Op{store.Take("", 1, 1, never)}, 0},
		{"the largest change", []store.Op{store.Take("n", 1<<32, 1<<62, never), store.Take("m", -1<<32, 0, never)}, -1},
		{"a larger change", []store.Op{store.Take("n", 1<<32+1, 1<<62, never)}, 0},
		{"a larger change down", []store.Op{store.Take("n", -1<<32-1, 1<<62, never)}, 0},
		{"two on one record", []store.Op{store.Insert(rec("a")), store.Insert(rec("b")), store.Check(rec("a"))}, 2},
		{"two on one counter", []store.Op{store.Take("n", 1, 1, never), store.Take("n", 1, 1, never)}, 1},
		{"a record and a counter of one name", []store.Op{store.Insert(rec("n")), store.Take("n", 1, 1, never)}, -1},
		{"two kinds with one ID", []store.Op{store.Insert(rec("n")), store.Insert(store.Record{Kind: "j", ID: "n"})}, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := store.Validate(c.ops...)
			var failed *store.OpError
			switch {
			case c.bad < 0 && err != nil:
				t.Errorf("got %v, want nil", err)
			case c.bad >= 0 && (!errors.Is(err, store.ErrInvalid) || !errors.As(err, &failed)):
				t.Errorf("got %v, want an OpError with ErrInvalid", err)
			case c.bad >= 0:
				want := store.OpError{Index: c.bad, Op: c.ops[c.bad]}
				// Data is a megabyte in one case: not worth a comparison.
				ignored := []cmp.Option{cmpopts.IgnoreFields(store.OpError{}, "Err"), cmpopts.IgnoreFields(store.Record{}, "Data")}
				if diff := cmp.Diff(want, *failed, ignored...); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			}
		})
	}
}

func TestValidateCounts(t *testing.T) {
	ops, keys := make([]store.Op, store.MaxOps+1), make([]store.Key, store.MaxOps+1)
	for i := range ops {
		ops[i] = store.Insert(rec(fmt.Sprint(i)))
		keys[i] = ops[i].Record.Key()
	}
	for _, c := range []struct {
		name string
		err  error
		want error
	}{
		{"256 ops", store.Validate(ops[1:]...), nil},
		{"257 ops", store.Validate(ops...), store.ErrInvalid},
		{"256 keys", store.ValidateKeys(keys[1:]...), nil},
		{"257 keys", store.ValidateKeys(keys...), store.ErrInvalid},
		{"no keys", store.ValidateKeys(), nil},
		{"a bad key", store.ValidateKeys(keys[0], store.Key{Kind: "k"}), store.ErrInvalid},
		{"a query", store.ValidateQuery(store.Query{Kind: "k", Prefix: "p", After: "a", Limit: 1}), nil},
		{"a query of no kind", store.ValidateQuery(store.Query{}), store.ErrInvalid},
		{"a bad prefix", store.ValidateQuery(store.Query{Kind: "k", Prefix: "\xff"}), store.ErrInvalid},
		{"a bad after", store.ValidateQuery(store.Query{Kind: "k", After: "\x00"}), store.ErrInvalid},
		{"a negative limit", store.ValidateQuery(store.Query{Kind: "k", Limit: -1}), store.ErrInvalid},
		{"an Add", store.ValidateAdd("n", -1, time.Time{}), nil},
		{"an Add to nothing", store.ValidateAdd("", 1, time.Time{}), store.ErrInvalid},
		{"an Add of too much", store.ValidateAdd("n", store.MaxDelta+1, time.Time{}), store.ErrInvalid},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, c.err, c.want)
		}
	}
}

func TestOpErrorText(t *testing.T) {
	secret := rec(strings.Repeat("é", 100))
	secret.Data = []byte("secret")
	for _, c := range []struct {
		err  store.OpError
		want string
	}{
		{store.OpError{Op: store.Insert(rec("a\n")), Err: store.ErrExists}, `store: insert k "a\n": already exists`},
		{store.OpError{Op: store.Take("n", 1, 1, time.Time{}), Err: store.ErrLimit}, `store: take counter "n": limit reached`},
		{store.OpError{Op: store.Delete(secret), Err: store.ErrConflict}, `store: delete k "` + strings.Repeat("é", 40) + `...": changed or gone`},
		{store.OpError{Op: store.Op{Action: 9, Record: rec("a")}, Err: store.ErrInvalid}, `store: unknown action k "a": invalid argument to store`},
	} {
		if got := c.err.Error(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}
