package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/keywright/keywright/store"
)

var records = []promise{
	{"an absent record has version 0 and only its key", func(f *fixture) {
		f.insert(record("there", "x"))
		f.absent("not there")
	}},
	{"Get answers in the order asked, absent and repeated keys too", getOrder},
	{"Get takes from 0 to 256 keys", getCount},
	{"kinds are apart", kindsApart},
	{"data comes back verbatim", dataVerbatim},
	{"data of more than 1 MiB is refused", func(f *fixture) {
		for _, write := range []func(store.Record) store.Op{store.Insert, store.Put} {
			f.refused(store.ErrInvalid, 0, write(store.Record{Kind: kind, ID: "large", Data: make([]byte, store.MaxData+1)}))
		}
		f.absent("large")
	}},
	{"data is copied by Commit", dataCopied},
	{"Insert of a live record is refused", func(f *fixture) {
		before := f.insert(record("a", "first"))
		f.refused(store.ErrExists, 0, store.Insert(record("a", "second")))
		f.unchanged(before)
	}},
	{"Put writes where nothing is and over what is", func(f *fixture) {
		f.commit(store.Put(record("a", "first")))
		f.same(f.get("a"), record("a", "first"))
		f.commit(store.Put(record("a", "second")))
		f.same(f.get("a"), record("a", "second"))
	}},
	{"Replace needs the version that stands", replaceVersion},
	{"Delete needs the version that stands", deleteVersion},
	{"Check needs the version that stands and writes nothing", checkVersion},
	{"a version is never used twice", versionsDiffer},
	{"the version given to Insert and Put is ignored", func(f *fixture) {
		r := record("a", "x")
		r.Version = 1 << 40
		for _, write := range []func(store.Record) store.Op{store.Insert, store.Put} {
			f.commit(write(r))
			got := f.get("a")
			f.same(got, r)
			if got.Version == r.Version {
				f.Errorf("the version is %d, as given", got.Version)
			}
		}
	}},
	{"Replace, Delete and Check without a version are refused", func(f *fixture) {
		f.insert(record("a", "x"))
		for _, op := range []store.Op{store.Replace(record("a", "y")), store.Delete(record("a", "")), store.Check(record("b", ""))} {
			f.refused(store.ErrInvalid, 0, op)
		}
		f.same(f.get("a"), record("a", "x"))
	}},
}

// unchanged checks that a record is what it was, version included.
func (f *fixture) unchanged(was store.Record) {
	f.Helper()
	got := f.getAll(was.Key())[0]
	f.same(got, was)
	if got.Version != was.Version {
		f.Fatalf("%q has version %d, want %d", was.ID, got.Version, was.Version)
	}
}

func getOrder(f *fixture) {
	f.commit(store.Insert(record("a", "1")), store.Insert(record("b", "2")), store.Insert(record("c", "3")))
	asked := []string{"c", "no", "a", "b", "a", "neither", "c"}
	want := []string{"3", "", "1", "2", "1", "", "3"}
	var keys []store.Key
	for _, id := range asked {
		keys = append(keys, key(id))
	}
	for i, r := range f.getAll(keys...) {
		if r.ID != asked[i] || r.Kind != kind || string(r.Data) != want[i] || r.Exists() != (want[i] != "") {
			f.Errorf("record %d is %s, want %q with data %q", i, describe(r), asked[i], want[i])
		}
	}
}

func getCount(f *fixture) {
	f.getAll()
	keys := make([]store.Key, store.MaxOps+1)
	for i := range keys {
		keys[i] = key(fmt.Sprint(i))
	}
	last := keys[store.MaxOps-1]
	f.insert(record(last.ID, "x"))
	f.same(f.getAll(keys[:store.MaxOps]...)[store.MaxOps-1], record(last.ID, "x"))
	if _, err := f.store.Get(f.ctx, keys...); !errors.Is(err, store.ErrInvalid) {
		f.Errorf("Get of %d keys returned %v, want ErrInvalid", len(keys), err)
	}
}

func kindsApart(f *fixture) {
	in := func(kind, data string) store.Record { return store.Record{Kind: kind, ID: "id", Data: []byte(data)} }
	// Joined with their ID the last two kinds would be one.
	joined := store.Record{Kind: "b", ID: "b/id", Data: []byte("3")}
	split := store.Record{Kind: "b/b", ID: "id", Data: []byte("4")}
	f.commit(store.Insert(in("a", "1")), store.Insert(in("A", "2")), store.Insert(joined), store.Insert(split))
	for _, want := range []store.Record{in("a", "1"), in("A", "2"), joined, split} {
		f.same(f.getAll(want.Key())[0], want)
	}
	f.commit(store.Delete(f.getAll(in("a", "").Key())[0]))
	f.same(f.getAll(in("A", "").Key())[0], in("A", "2"))
	if got := f.list(store.Query{Kind: "b"}); len(got) != 1 || got[0].ID != joined.ID {
		f.Errorf("List of kind b returned %q, want %q", idsOf(got), joined.ID)
	}
}

func dataVerbatim(f *fixture) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	large := bytes.Repeat([]byte("\x00\xff'\"\\"), store.MaxData/5+1)[:store.MaxData]
	for i, data := range [][]byte{
		nil, {}, {0}, every, large,
		[]byte("{\"b\": 1, \"a\":  1.0 }\r\n"), []byte(" NULL "), []byte("\\x00"), []byte("\xef\xbb\xbf\xff\xfe"),
	} {
		r := record(fmt.Sprint(i), string(data))
		r.Data = data
		f.insert(r)
		r.Data = append(bytes.Clone(data[:len(data)/2]), 'x')
		f.commit(store.Put(r))
		got := f.get(r.ID)
		f.same(got, r)
		got.Data = data
		f.commit(store.Replace(got))
		f.same(f.get(r.ID), got)
	}
}

func dataCopied(f *fixture) {
	for _, write := range []func(store.Record) store.Op{store.Insert, store.Put, store.Replace} {
		data := []byte("as committed")
		f.commit(write(store.Record{Kind: kind, ID: "a", Version: f.get("a").Version, Data: data}))
		copy(data, "changed later")
		f.same(f.get("a"), record("a", "as committed"))
	}
}

func replaceVersion(f *fixture) {
	first := f.insert(record("a", "first"))
	next := first
	next.Data, next.Expires = []byte("second"), f.clock.in(time.Hour)
	f.commit(store.Replace(next))
	second := f.get("a")
	f.same(second, next)

	f.refused(store.ErrConflict, 0, store.Replace(first))
	other := second
	other.Version++
	f.refused(store.ErrConflict, 0, store.Replace(other))
	other.ID = "b"
	f.refused(store.ErrConflict, 0, store.Replace(other))
	f.unchanged(second)
	f.absent("b")
}

func deleteVersion(f *fixture) {
	first := f.insert(record("a", "first"))
	f.commit(store.Put(record("a", "second")))
	second := f.get("a")
	f.refused(store.ErrConflict, 0, store.Delete(first))
	other := second
	other.ID = "b"
	f.refused(store.ErrConflict, 0, store.Delete(other))
	f.unchanged(second)

	f.commit(store.Delete(store.Record{Kind: kind, ID: "a", Version: second.Version}))
	f.absent("a")
	f.refused(store.ErrConflict, 0, store.Delete(second))
	f.refused(store.ErrConflict, 0, store.Replace(second))
	f.insert(record("a", "third"))
}

func checkVersion(f *fixture) {
	first := f.insert(record("a", "first"))
	f.commit(store.Check(store.Record{Kind: kind, ID: "a", Version: first.Version, Data: []byte("ignored")}))
	f.unchanged(first)
	f.commit(store.Put(record("a", "second")))
	f.refused(store.ErrConflict, 0, store.Check(first))
	second := f.get("a")
	other := second
	other.ID = "b"
	f.refused(store.ErrConflict, 0, store.Check(other))
	f.commit(store.Delete(second))
	f.refused(store.ErrConflict, 0, store.Check(second))
	f.absent("a")
}

func versionsDiffer(f *fixture) {
	seen := make(map[int64]string)
	note := func(how string) store.Record {
		f.Helper()
		r := f.get("a")
		if r.Version == 0 {
			f.Fatalf("no version after %s", how)
		}
		if before, used := seen[r.Version]; used {
			f.Fatalf("version %d after %s was used after %s", r.Version, how, before)
		}
		seen[r.Version] = how
		return r
	}
	for i := range 5 {
		f.commit(store.Insert(record("a", "x")))
		r := note(fmt.Sprint("Insert ", i))
		f.commit(store.Replace(r))
		note(fmt.Sprint("Replace ", i))
		f.commit(store.Put(r))
		r = note(fmt.Sprint("Put ", i))
		if i%2 == 0 {
			f.commit(store.Delete(r))
			continue
		}
		r.Expires = f.clock.in(time.Second)
		f.commit(store.Replace(r))
		note(fmt.Sprint("Replace with an expiry ", i))
		f.clock.set(r.Expires)
		f.absent("a")
	}
}
