package sqlstore_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/keywright/keywright/store"
)

// What the records of a credential come to.
const (
	benchRecords = 1000
	benchData    = 400
)

func benchBoth(b *testing.B, bench func(*testing.B, database)) {
	b.Run("SQLite", func(b *testing.B) { bench(b, newSQLite(b)) })
	b.Run("PostgreSQL", func(b *testing.B) { bench(b, newPostgres(b)) })
}

func benchRecord(i int) store.Record {
	return store.Record{Kind: "key", ID: store.ID(fmt.Sprintf("key-%08d", i)), Data: make([]byte, benchData)}
}

// filled opens a Store with benchRecords records.
func (d database) filled(b *testing.B) store.Store {
	s := d.open(b, nil)
	for i := 0; i < benchRecords; i += 100 {
		var ops []store.Op
		for j := range 100 {
			ops = append(ops, store.Insert(benchRecord(i+j)))
		}
		commit(b, s, ops...)
	}
	return s
}

func BenchmarkGet(b *testing.B) {
	for _, n := range []int{1, 2} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			benchBoth(b, func(b *testing.B, d database) {
				s := d.filled(b)
				keys := make([]store.Key, n)
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					for j := range keys {
						keys[j] = benchRecord((i + j) % benchRecords).Key()
					}
					if _, err := s.Get(context.Background(), keys...); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

// BenchmarkGetRaw is the least that a Get of one can cost through database/sql.
func BenchmarkGetRaw(b *testing.B) {
	benchBoth(b, func(b *testing.B, d database) {
		d.filled(b)
		db := d.connect(b)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			k := benchRecord(i % benchRecords).Key()
			var data []byte
			if err := db.QueryRow(`SELECT data FROM keywright_records WHERE kind = $1 AND id = $2`, k.Kind, k.ID).Scan(&data); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkInsert(b *testing.B) {
	for _, n := range []int{1, 4} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			benchBoth(b, func(b *testing.B, d database) {
				s := d.open(b, nil)
				ops := make([]store.Op, n)
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					for j := range ops {
						ops[j] = store.Insert(benchRecord(i*n + j))
					}
					commit(b, s, ops...)
				}
			})
		})
	}
}

// BenchmarkInsertRaw is the least that an Insert of one can cost.
func BenchmarkInsertRaw(b *testing.B) {
	benchBoth(b, func(b *testing.B, d database) {
		d.open(b, nil)
		db := d.connect(b)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			r := benchRecord(i)
			if _, err := db.Exec(`INSERT INTO keywright_records (kind, id, version, expires, data) VALUES ($1, $2, 1, 0, $3)`, r.Kind, r.ID, r.Data); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	benchBoth(b, func(b *testing.B, d database) {
		s := d.open(b, nil)
		for b.Loop() {
			if _, err := s.Add(context.Background(), "n", 1, time.Time{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkListPage reads the first 50 of a thousand.
func BenchmarkListPage(b *testing.B) {
	benchBoth(b, func(b *testing.B, d database) {
		s := d.filled(b)
		for b.Loop() {
			for _, err := range s.List(context.Background(), store.Query{Kind: "key", Prefix: "key-", Limit: 50}) {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
