package keystoretest

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"iter"
	"sync"

	"github.com/keywright/keywright/keystore"
)

var breakers = []breaker{
	{"what is not there is an error of no kind", []string{"keys/a handle without", "delete/a deleted key is not found"},
		withLoad(func(k keystore.Key, err error) (keystore.Key, error) {
			if err != nil && !errors.Is(err, keystore.ErrInvalidHandle) {
				return nil, io.EOF
			}
			return k, err
		})},
	{"a new key is of the other kind", []string{"keys/a new key signs"},
		withOptions(func(o keystore.KeyOptions) keystore.KeyOptions {
			o.Algorithm = keystore.ES256 - o.Algorithm
			return o
		})},
	{"the public key is that of another key", []string{"keys/a new key signs"},
		withKeys(func(k keystore.Key) keystore.Key { return mixed{k, other(k)} })},
	{"what is found is another key", []string{"keys/a key that was made", "keys/a second key"},
		withLoad(func(k keystore.Key, err error) (keystore.Key, error) {
			if err != nil {
				return nil, err
			}
			return renamed{other(k), k.Handle()}, nil
		})},
	{"what is found signs with another key", []string{"keys/a key that was made"},
		withLoad(func(k keystore.Key, err error) (keystore.Key, error) {
			if err != nil {
				return nil, err
			}
			return mixed{k, other(k)}, nil
		})},
	{"a handle is a random text", []string{"keys/a handle that nobody chose"},
		withOptions(func(o keystore.KeyOptions) keystore.KeyOptions {
			if o.Handle == "" {
				o.Handle = rand.Text()
			}
			return o
		})},
	{"a new key replaces that of its handle", []string{"keys/a second key", "races/of many", "list/the loop may"}, replaces},
	{"an unknown algorithm is the first one", []string{"keys/KST-11"},
		withOptions(func(o keystore.KeyOptions) keystore.KeyOptions {
			if o.Algorithm != keystore.ES256 {
				o.Algorithm = keystore.Ed25519
			}
			return o
		})},
	{"a key signs the beginning of a text", []string{"keys/a key signs nothing but"},
		withKeys(func(k keystore.Key) keystore.Key { return lenient{k} })},
	{"any handle is looked for", []string{"handles/KST-01 Load"},
		withLoad(func(k keystore.Key, err error) (keystore.Key, error) {
			if errors.Is(err, keystore.ErrInvalidHandle) {
				err = keystore.ErrKeyNotFound
			}
			return k, err
		})},
	{"a hostile handle is made harmless", []string{"handles/KST-01 Generate"},
		withOptions(func(o keystore.KeyOptions) keystore.KeyOptions {
			if keystore.CheckHandle(o.Handle) != nil {
				o.Handle = ""
			}
			return o
		})},
	{"any handle is deleted", []string{"handles/KST-01 Delete", "delete/Delete without", "delete/a deleted key is not found"}, deletes},
	{"handles with dots are refused", []string{"handles/other handles"},
		func(m *keystore.Memory) broken {
			return broken{Memory: m, generate: func(ctx context.Context, o keystore.KeyOptions) (keystore.Key, error) {
				if o.Handle == "a.b" {
					return nil, keystore.ErrInvalidHandle
				}
				return m.Generate(ctx, o)
			}}
		}},
	{"a list begins with what is no key", []string{"list/an empty store"}, withList(func(ctx context.Context, m *keystore.Memory, yield func(string, error) bool) {
		if yield("index", nil) {
			m.List(ctx)(yield)
		}
	})},
	{"a list has each handle twice", []string{"list/List yields"}, withList(func(ctx context.Context, m *keystore.Memory, yield func(string, error) bool) {
		for h, err := range m.List(ctx) {
			for range 2 {
				if !yield(h, err) {
					return
				}
			}
		}
	})},
	{"a list begins with an error", []string{"list/List ends", "list/the loop may"}, withList(func(_ context.Context, _ *keystore.Memory, yield func(string, error) bool) {
		yield("", io.EOF)
	})},
	{"a deleted key stays in the list", []string{"delete/a deleted key is not listed"}, remembers},
	{"the keys that were handed out live on", []string{"delete/a deleted key does not sign", "delete/a new key of an old", "races/a key that is deleted"},
		withKeys(func(k keystore.Key) keystore.Key { return must(keystore.FromSigner(k.Handle(), immortal(k))) })},
	{"Load ignores its context", []string{"context/a cancelled", "context/a deadline"}, func(m *keystore.Memory) broken {
		return broken{Memory: m, load: func(_ context.Context, handle string) (keystore.Key, error) {
			return m.Load(context.Background(), handle)
		}}
	}},
	{"Generate ignores its context", []string{"context/a cancelled"}, func(m *keystore.Memory) broken {
		return broken{Memory: m, generate: func(_ context.Context, o keystore.KeyOptions) (keystore.Key, error) {
			return m.Generate(context.Background(), o)
		}}
	}},
	{"Delete ignores its context", []string{"context/a cancelled"}, func(m *keystore.Memory) broken {
		return broken{Memory: m, remove: func(_ context.Context, handle string) error {
			return m.Delete(context.Background(), handle)
		}}
	}},
	{"a list does not end with its context", []string{"context/a list ends"}, withList(func(_ context.Context, m *keystore.Memory, yield func(string, error) bool) {
		m.List(context.Background())(yield)
	})},
	{"a key is lost now and then", []string{"races/many sign"},
		func(m *keystore.Memory) broken {
			return broken{Memory: m, generate: func(ctx context.Context, o keystore.KeyOptions) (keystore.Key, error) {
				k, err := m.Generate(ctx, o)
				if err == nil && o.Handle == handle+".3.1" {
					err = m.Delete(ctx, o.Handle)
				}
				return k, err
			}}
		}},
}

// withLoad breaks what Load returns.
func withLoad(change func(keystore.Key, error) (keystore.Key, error)) func(*keystore.Memory) broken {
	return func(m *keystore.Memory) broken {
		return broken{Memory: m, load: func(ctx context.Context, handle string) (keystore.Key, error) {
			k, err := m.Load(ctx, handle)
			return change(k, err)
		}}
	}
}

// withOptions breaks Generate by changing what is asked of it.
func withOptions(change func(keystore.KeyOptions) keystore.KeyOptions) func(*keystore.Memory) broken {
	return func(m *keystore.Memory) broken {
		return broken{Memory: m, generate: func(ctx context.Context, o keystore.KeyOptions) (keystore.Key, error) {
			return m.Generate(ctx, change(o))
		}}
	}
}

// withKeys breaks the keys that are made.
func withKeys(change func(keystore.Key) keystore.Key) func(*keystore.Memory) broken {
	return func(m *keystore.Memory) broken {
		return broken{Memory: m, generate: func(ctx context.Context, o keystore.KeyOptions) (keystore.Key, error) {
			k, err := m.Generate(ctx, o)
			if err != nil {
				return nil, err
			}
			return change(k), nil
		}}
	}
}

// withList breaks List.
func withList(list func(ctx context.Context, m *keystore.Memory, yield func(string, error) bool)) func(*keystore.Memory) broken {
	return func(m *keystore.Memory) broken {
		return broken{Memory: m, list: func(ctx context.Context) iter.Seq2[string, error] {
			return func(yield func(string, error) bool) { list(ctx, m, yield) }
		}}
	}
}

// replaces deletes what is in the way of a new key.
func replaces(m *keystore.Memory) broken {
	return broken{Memory: m, generate: func(ctx context.Context, o keystore.KeyOptions) (keystore.Key, error) {
		if keystore.CheckHandle(o.Handle) == nil {
			m.Delete(ctx, o.Handle)
		}
		return m.Generate(ctx, o)
	}}
}

// deletes says of everything that it is deleted.
func deletes(m *keystore.Memory) broken {
	return broken{Memory: m, remove: func(ctx context.Context, handle string) error {
		err := m.Delete(ctx, handle)
		if errors.Is(err, keystore.ErrInvalidHandle) || errors.Is(err, keystore.ErrKeyNotFound) {
			return nil
		}
		return err
	}}
}

// remembers lists the handles of deleted keys too.
func remembers(m *keystore.Memory) broken {
	var mu sync.Mutex
	var gone []string
	b := withList(func(ctx context.Context, m *keystore.Memory, yield func(string, error) bool) {
		mu.Lock()
		defer mu.Unlock()
		for _, h := range gone {
			if !yield(h, nil) {
				return
			}
		}
		m.List(ctx)(yield)
	})(m)
	b.remove = func(ctx context.Context, handle string) error {
		mu.Lock()
		defer mu.Unlock()
		gone = append(gone, handle)
		return m.Delete(ctx, handle)
	}
	return b
}
