package storetest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keywright/keywright/store"
)

var ids = []promise{
	{"IDs are compared byte for byte", func(f *fixture) { f.tellApart(names, recordNamed, dataOf) }},
	{"kinds are compared byte for byte", func(f *fixture) {
		f.tellApart(names, func(f *fixture, name, data string) error {
			return f.store.Commit(f.ctx, store.Insert(store.Record{Kind: name, ID: "x", Data: []byte(data)}))
		}, func(f *fixture, name string) string { return string(f.getAll(store.Key{Kind: name, ID: "x"})[0].Data) })
	}},
	{"counters are compared byte for byte", countersApart},
	{"STO-06 SQL in a name is a name", func(f *fixture) { f.tellApart(injections, recordNamed, dataOf) }},
	{"names reach up to their limit", func(f *fixture) {
		id, kind := strings.Repeat("i", store.MaxID), strings.Repeat("k", store.MaxKind)
		wide := strings.Repeat("\U0010FFFF", store.MaxID/4)
		f.insert(store.Record{Kind: kind, ID: id})
		f.insert(store.Record{Kind: kind, ID: id[1:] + "j"})
		f.insert(store.Record{Kind: kind, ID: wide})
		f.add(id, 1, time.Time{}, 1)
		f.add(id[1:]+"j", 1, time.Time{}, 1)
		if got := f.list(store.Query{Kind: kind, Prefix: id}); len(got) != 1 {
			f.Errorf("List found %d records, want 1", len(got))
		}
		if got := f.list(store.Query{Kind: kind, Prefix: wide, Reverse: true}); len(got) != 1 {
			f.Errorf("List found %d records, want 1", len(got))
		}
	}},
	{"STO-06 a name that cannot be is refused", badNames},
}

// names look alike to one comparison or another.
var names = []string{
	"a", "A", "á", "a\u0301", "ａ", "ß", "ss", "SS", "ẞ", "i", "I", "ı", "İ", "K", "\u212A", "k",
	"a ", " a", "a  ", "a\t", "a\n", "a\r\n", "\u00a0a", "a\u200b", "\ufeffa", "a\u0001", "\u0001",
	"1", "01", "1.0", "1e0", "0x1", "null", "NULL", "true", "%", "%%", "_", "a_c", "abc", "a%", "a%c", "a*", "a?", "[a]",
	`\`, `\\`, `\_`, `a\`, "/", "a/b", "a//b", "a/", ".", "..", "~", "-", "−", "\u007f", "\u0080",
	"\uD7FF", "\uE000", "\uFFFD", "\uFFFE", "\uFFFF", "\U00010000", "\U0010FFFF", "\U0001F511", "\U0001F511\uFE0F", "न", "नि",
}

var injections = []string{
	`'; DROP TABLE keys;--`, `'; DROP TABLE keywright_records;--`, `"; DROP TABLE keywright_counters;--`, `' OR '1'='1`, `' OR 1=1--`,
	`\'; DROP TABLE x;--`, `''`, `'`, `"`, "`", `a' || 'b`, `a'/**/`, `--`, `/*`, `;`, `$1`, `?`, `?1`, `:id`, `@id`, `%s`, `{{.}}`, "x'00'", `E'\x00'`,
	"it's", "its", "it''s", `it"s`, `it\'s`, "*", "a\r\nDEL b", "{a}", `\x00`, `\u0000`, `%00`,
}

func recordNamed(f *fixture, name, data string) error {
	return f.store.Commit(f.ctx, store.Insert(store.Record{Kind: kind, ID: name, Data: []byte(data)}))
}

func dataOf(f *fixture, name string) string { return string(f.get(name).Data) }

// tellApart writes something under each name and then reads it.
func (f *fixture) tellApart(names []string, write func(f *fixture, name, data string) error, read func(f *fixture, name string) string) {
	f.Helper()
	for i, name := range names {
		if err := write(f, name, fmt.Sprint(i)); err != nil {
			f.Errorf("writing %+q: %v", name, err)
		}
	}
	for i, name := range names {
		if got := read(f, name); got != fmt.Sprint(i) {
			f.Errorf("%+q has data %q, want %q", name, got, fmt.Sprint(i))
		}
	}
}

func countersApart(f *fixture) {
	all := append(append([]string(nil), names...), injections...)
	for i, name := range all {
		f.add(name, int64(i+1), time.Time{}, int64(i+1))
	}
	for i, name := range all {
		f.sum(name, int64(i+1))
	}
}

func badNames(f *fixture) {
	for what, bad := range map[string]string{
		"empty": "", "NUL": "a\x00b", "only NUL": "\x00", "not UTF-8": "a\xff", "a surrogate": "\xed\xa0\x80", "cut": "é"[:1],
		"too long": strings.Repeat("x", store.MaxID+1), "1 MiB": strings.Repeat("x", 1<<20), "too long in bytes": strings.Repeat("é", store.MaxID/2+1),
	} {
		r := store.Record{Kind: kind, ID: bad, Version: 1}
		k := store.Record{Kind: bad, ID: "a", Version: 1}
		for _, r := range []store.Record{r, k} {
			for _, op := range []store.Op{store.Insert(r), store.Put(r), store.Replace(r), store.Delete(r), store.Check(r)} {
				f.refused(store.ErrInvalid, 1, store.Put(record("beside", "x")), op)
			}
			_, err := f.store.Get(f.ctx, key("a"), r.Key())
			f.invalid(what+" in Get", err)
		}
		f.refused(store.ErrInvalid, 0, store.Take(bad, 1, 1, time.Time{}))
		_, err := f.store.Add(f.ctx, bad, 1, time.Time{})
		f.invalid(what+" in Add", err)
		f.badQuery(what+" kind", store.Query{Kind: bad})
		if bad != "" {
			f.badQuery(what+" prefix", store.Query{Kind: kind, Prefix: bad})
			f.badQuery(what+" after", store.Query{Kind: kind, After: bad})
		}
	}
	f.refused(store.ErrInvalid, 0, store.Insert(store.Record{Kind: strings.Repeat("k", store.MaxKind+1), ID: "a"}))
	f.badQuery("long kind", store.Query{Kind: strings.Repeat("k", store.MaxKind+1)})
	f.badQuery("negative limit", store.Query{Kind: kind, Limit: -1})
	f.absent("beside")
}

func (f *fixture) invalid(what string, err error) {
	f.Helper()
	if !errors.Is(err, store.ErrInvalid) {
		f.Errorf("%s: got %v, want ErrInvalid", what, err)
	}
}

// badQuery checks that List says so once, and ends.
func (f *fixture) badQuery(what string, q store.Query) {
	f.Helper()
	steps := 0
	for r, err := range f.store.List(f.ctx, q) {
		steps++
		f.invalid(what+" in List", err)
		if r.Key() != (store.Key{}) || r.Exists() {
			f.Errorf("%s: List yielded %s with its error", what, describe(r))
		}
	}
	if steps != 1 {
		f.Errorf("%s: List took %d steps, want 1", what, steps)
	}
}
