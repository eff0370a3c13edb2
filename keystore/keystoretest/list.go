package keystoretest

import (
	"fmt"
	"slices"

	"github.com/keywright/keywright/keystore"
)

var list = []promise{
	{"an empty store has no handles", func(f *fixture) {
		f.lists()
	}},
	{"List yields each handle once", func(f *fixture) {
		f.lists(f.several()...)
	}},
	{"List ends with the loop", func(f *fixture) {
		made := f.several()
		for h, err := range f.lister().List(f.ctx) {
			if err != nil || !slices.Contains(made, h) {
				f.Errorf("List yielded %q, %v", h, err)
			}
			break
		}
		f.lists(made...)
	}},
	{"the loop may use the store", func(f *fixture) {
		f.several()
		for h, err := range f.lister().List(f.ctx) {
			if err != nil {
				f.Fatalf("List: %v", err)
			}
			f.signs(f.load(h))
			if _, err := f.tryGenerate(h); err == nil {
				f.Errorf("Generate made a second key %q", h)
			}
			if d, ok := f.store.(keystore.Deleter); ok {
				if err := d.Delete(f.ctx, h); err != nil {
					f.Errorf("Delete: %v", err)
				}
			}
		}
	}},
}

// several makes some keys and returns their handles.
func (f *fixture) several() []string {
	f.Helper()
	made := []string{f.generate("").Handle()}
	for i := range 4 {
		made = append(made, f.generate(fmt.Sprintf("%s.%d", handle, i)).Handle())
	}
	return made
}

// lists checks which handles there are.
func (f *fixture) lists(want ...string) {
	f.Helper()
	var got []string
	for h, err := range f.lister().List(f.ctx) {
		if err != nil {
			f.Fatalf("List: %v", err)
		}
		got = append(got, h)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		f.Errorf("List yielded %q, want %q", got, want)
	}
}
