package keystoretest

import (
	"strings"

	"github.com/keywright/keywright/keystore"
)

// hostile are handles that lead out of a directory, name a device or hide.
var hostile = []string{
	"../../etc/passwd", "/abs", "a/../../b", "a/b", "a/", `..\x`, `a\b`, "C:x", "x:stream", "\x00", "a\x00", "a\x00.jwk.json",
	".", "..", "...", ".a", "a.", ".new-a", strings.Repeat("a", keystore.MaxHandle+1), strings.Repeat("a", 300),
	"con", "CON", "Nul", "aux.txt", "prn.a.b", "com1", "COM9.x", "lpt0", "conout$",
	"a b", " a", "a\n", "a\t", "~", "~root", "-*", "a?", "a%2fb", "é", "ａ", "a\u202eb", "\xff", "a\u2215b",
}

// odd are handles all the same.
var odd = []string{
	"a", "Z", "0", "-", "_", "--help", "a.b", "a..b", "a.jwk.json", "console", "con-1", "acon", "com", "com10", "lpt", "x.con",
	strings.Repeat("a", keystore.MaxHandle),
}

var handles = []promise{
	{"KST-01 Load of a hostile handle is ErrInvalidHandle", func(f *fixture) {
		for _, h := range append([]string{""}, hostile...) {
			k, err := f.store.Load(f.ctx, h)
			f.invalid("Load", h, k, err)
		}
	}},
	{"KST-01 Generate of a hostile handle is ErrInvalidHandle", func(f *fixture) {
		for _, h := range hostile {
			k, err := f.tryGenerate(h)
			f.invalid("Generate", h, k, err)
		}
	}},
	{"KST-01 Delete of a hostile handle is ErrInvalidHandle", func(f *fixture) {
		for _, h := range append([]string{""}, hostile...) {
			f.invalid("Delete", h, nil, f.deleter().Delete(f.ctx, h))
		}
	}},
	{"other handles are taken as they are", func(f *fixture) {
		for _, h := range odd {
			f.absent(h)
			made := f.generate(h)
			f.same(f.load(h), made)
		}
	}},
}

func (f *fixture) invalid(what, handle string, k keystore.Key, err error) {
	f.Helper()
	f.is(what+" of a hostile handle", err, keystore.ErrInvalidHandle)
	if k != nil {
		f.Errorf("%s(%.40q) returned a key", what, handle)
	}
	if err != nil && len(handle) > 2*keystore.MaxHandle && strings.Contains(err.Error(), handle) {
		f.Errorf("%s repeats a handle of %d characters", what, len(handle))
	}
}
