package keystore_test

import (
	"testing"

	"github.com/keywright/keywright/keystore"
)

// BenchmarkLoad measures at the cost that new keys really have. The first Load
// of a Dir derives, every later one only decrypts.
func BenchmarkLoad(b *testing.B) {
	for _, m := range modes {
		path := newPath(b)
		d := must(keystore.NewDir(m.config(path)))
		if _, err := d.Generate(b.Context(), keystore.KeyOptions{Handle: "handle"}); err != nil {
			b.Fatal(err)
		}
		b.Run(string(m)+"/first", func(b *testing.B) {
			for b.Loop() {
				first := must(keystore.NewDir(m.config(path)))
				if _, err := first.Load(b.Context(), "handle"); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(string(m)+"/later", func(b *testing.B) {
			for b.Loop() {
				if _, err := d.Load(b.Context(), "handle"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
