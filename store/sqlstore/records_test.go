package sqlstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/store"
)

func TestSTO03NothingIsForgottenBeforeItExpires(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		expires := time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)
		now := expires.Add(-time.Hour)
		s := d.open(t, func() time.Time { return now })
		marker := store.Insert(store.Record{Kind: "jti", ID: "x", Expires: expires})
		commit(t, s, marker, store.Take("n", 1, 1, expires))
		now = expires.Add(-time.Nanosecond)
		s = d.open(t, func() time.Time { return now }) // a restart
		if n, err := s.Sweep(t.Context(), now.Add(time.Hour), 100); n != 0 || err != nil {
			t.Errorf("swept %d, %v", n, err)
		}
		if err := s.Commit(t.Context(), marker); !errors.Is(err, store.ErrExists) {
			t.Errorf("1 ns before: %v", err)
		}
		if err := s.Commit(t.Context(), store.Take("n", 1, 1, expires)); !errors.Is(err, store.ErrLimit) {
			t.Errorf("1 ns before: %v", err)
		}
		now = expires
		if one(t, s, "jti", "x").Exists() {
			t.Error("it exists when it expires")
		}
		commit(t, s, marker, store.Take("n", 1, 1, expires))
	})
}

func TestSTO06HostileStringsAreStoredOrRefused(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.open(t, nil)
		for _, hostile := range []string{
			`'; DROP TABLE keywright_records;--`, `"`, `$1`, `?1`, `%`, `_`, `\`, "\x01", "a\nb", "é", "e\u0301",
			"\U0010FFFF", "\uFFFF", " a", "a ", "A", "a", "0", "00", "0.0", "1e1", strings.Repeat("'", store.MaxKind),
		} {
			r := store.Record{Kind: hostile, ID: hostile, Data: []byte(hostile)}
			commit(t, s, store.Insert(r), store.Take(hostile, 1, 1, time.Time{}))
			got := one(t, s, hostile, hostile)
			if got.ID != hostile || string(got.Data) != hostile {
				t.Errorf("stored %q, got %q", hostile, got.ID)
			}
			if list := all(t, s, store.Query{Kind: hostile, Prefix: hostile}); len(list) != 1 {
				t.Errorf("%q: %d records", hostile, len(list))
			}
		}
		for _, refused := range []string{"", "a\x00b", "\xff", strings.Repeat("a", 1<<20)} {
			errs := []error{s.Commit(t.Context(), store.Insert(store.Record{Kind: "k", ID: refused}))}
			_, err := s.Get(t.Context(), store.Key{Kind: refused, ID: "a"})
			errs = append(errs, err)
			_, err = s.Add(t.Context(), refused, 1, time.Time{})
			errs = append(errs, err)
			for _, err := range s.List(t.Context(), store.Query{Kind: "k", After: refused + "\x00"}) {
				errs = append(errs, err)
			}
			for _, err := range errs {
				if !errors.Is(err, store.ErrInvalid) {
					t.Errorf("%.5q: %v", refused, err)
				}
			}
		}
	})
}

// The order is that of the bytes, also where the database sorts as people do.
func TestOrderIsThatOfTheBytes(t *testing.T) {
	test := func(t *testing.T, d database) {
		s := d.open(t, nil)
		ids := []string{"a", "B", "b", "A", "é", "z", "Z", "_", "~", "a/b", "a b", "ab", "\U0001F511", "\uFFFD", "a\x01", "a\u007f", "a\U0010FFFF", "a\uD7FF", "a\uE000"}
		for _, id := range ids {
			commit(t, s, store.Insert(store.Record{Kind: "k", ID: id}))
		}
		for _, q := range []store.Query{{}, {Prefix: "a"}, {Prefix: "a", After: "a/b"}, {After: "Z"}, {Prefix: "a\U0010FFFF"}, {Prefix: "a\uD7FF"}, {After: "zz", Prefix: "a"}, {After: "A", Prefix: "a"}} {
			for _, reverse := range []bool{false, true} {
				q.Kind, q.Reverse = "k", reverse
				var want []string
				for _, id := range ids {
					if strings.HasPrefix(id, q.Prefix) && (q.After == "" || !reverse && id > q.After || reverse && id < q.After) {
						want = append(want, id)
					}
				}
				slices.Sort(want)
				if reverse {
					slices.Reverse(want)
				}
				var got []string
				for _, r := range all(t, s, q) {
					got = append(got, r.ID)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%+v (-want +got):\n%s", q, diff)
				}
			}
		}
	}
	onBoth(t, test)
	t.Run("PostgreSQL in English", func(t *testing.T) {
		d := newPostgres(t)
		if _, err := d.connect(t).Exec(`CREATE DATABASE english TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en-US'`); err != nil {
			t.Skip(err) // before version 15, or built without ICU
		}
		i, j := strings.LastIndexByte(d.dsn, '/'), strings.IndexByte(d.dsn, '?')
		d.dsn = d.dsn[:i+1] + "english" + d.dsn[j:]
		test(t, d)
	})
}

// More than two pages, by a body that uses the only connection.
func TestListHoldsNoConnection(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.connect(t)
		db.SetMaxOpenConns(1)
		s := d.openOn(t, db, nil)
		const n = 250
		var ops []store.Op
		for i := range n {
			ops = append(ops, store.Insert(store.Record{Kind: "k", ID: fmt.Sprintf("%03d", i)}))
		}
		commit(t, s, ops...)
		for _, q := range []store.Query{{}, {Reverse: true}, {Limit: 205}, {Limit: 100}, {Limit: 1}} {
			q.Kind = "k"
			want := n
			if q.Limit > 0 {
				want = q.Limit
			}
			got := 0
			for r, err := range s.List(context.Background(), q) {
				if err != nil {
					t.Fatal(err)
				}
				commit(t, s, store.Replace(r))
				got++
			}
			if got != want {
				t.Errorf("%+v: %d records, want %d", q, got, want)
			}
		}
	})
}

func TestSweepDeletesInBatches(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
		s := d.open(t, func() time.Time { return now })
		for i := range 6 {
			ops := []store.Op{store.Take(fmt.Sprint(i), 1, 1, now.Add(time.Minute))}
			for j := range 200 {
				ops = append(ops, store.Insert(store.Record{Kind: "k", ID: fmt.Sprint(i, "/", j), Expires: now.Add(time.Duration(1+j%2) * time.Hour)}))
			}
			commit(t, s, ops...)
		}
		commit(t, s, store.Insert(store.Record{Kind: "k", ID: "for ever"}), store.Take("for ever", 1, 1, time.Time{}))
		sweep := func(before time.Time, max, want int) {
			t.Helper()
			if n, err := s.Sweep(t.Context(), before, max); n != want || err != nil {
				t.Errorf("swept %d, %v, want %d", n, err, want)
			}
		}
		sweep(now.Add(100*time.Hour), 9999, 0) // nothing has expired yet
		now = now.Add(90 * time.Minute)
		sweep(now, 5, 5)
		sweep(now, 9999, 595+6)
		sweep(now, 9999, 0)
		now = now.Add(24 * time.Hour)
		sweep(now.Add(-23*time.Hour-30*time.Minute), 9999, 0) // exactly when they expired
		sweep(now.Add(-time.Hour), 9999, 600)
		if n := len(all(t, s, store.Query{Kind: "k"})); n != 1 {
			t.Errorf("%d records left, want 1", n)
		}
	})
}

func TestFailedOpIsNamedAndNothingIsDone(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		s := d.open(t, nil)
		commit(t, s, store.Insert(store.Record{Kind: "k", ID: "m"}), store.Take("n", 5, 5, time.Time{}))
		stale := store.Record{Kind: "k", ID: "m", Version: 1}
		insert := func(id string) store.Op { return store.Insert(store.Record{Kind: "k", ID: id}) }
		for _, test := range []struct {
			ops   []store.Op
			index int
			want  error
		}{
			{[]store.Op{insert("z"), insert("a"), insert("m")}, 2, store.ErrExists},
			{[]store.Op{insert("m"), insert("z"), insert("a")}, 0, store.ErrExists},
			{[]store.Op{insert("m")}, 0, store.ErrExists},
			{[]store.Op{insert("z"), store.Replace(stale)}, 1, store.ErrConflict},
			{[]store.Op{insert("z"), store.Delete(stale)}, 1, store.ErrConflict},
			{[]store.Op{store.Check(stale), insert("a")}, 0, store.ErrConflict},
			{[]store.Op{store.Take("n", 1, 5, time.Time{}), insert("a")}, 0, store.ErrLimit},
			{[]store.Op{insert("a"), store.Take("new", 6, 5, time.Time{})}, 1, store.ErrLimit},
		} {
			err := s.Commit(t.Context(), test.ops...)
			var op *store.OpError
			if !errors.As(err, &op) || op.Index != test.index || !errors.Is(err, test.want) {
				t.Errorf("got %v, want op %d: %v", err, test.index, test.want)
			}
		}
		if n := len(all(t, s, store.Query{Kind: "k"})); n != 1 {
			t.Errorf("%d records, want 1", n)
		}
	})
}

// A sum stops where an int64 would overflow.
func TestCounterDoesNotOverflow(t *testing.T) {
	onBoth(t, func(t *testing.T, d database) {
		db := d.connect(t)
		s := d.openOn(t, db, nil)
		if _, err := db.Exec(`INSERT INTO keywright_counters (name, value, expires) VALUES ('n', 4611686018427387903, 0)`); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if n, err := s.Add(t.Context(), "n", store.MaxDelta, time.Time{}); n != 1<<62 || err != nil {
				t.Errorf("got %d, %v", n, err)
			}
		}
	})
}
