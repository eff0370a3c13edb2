package jose_test

import (
	"errors"
	"testing"

	"github.com/keywright/keywright/internal/jose"
)

func TestKeySelection(t *testing.T) {
	other := must[jose.Key](t)(jose.HS256([]byte("another secret of at least 32 bytes")))
	key := hsKey(t)
	rsaKey := publicKey(t, rsaSigner(t))
	with := func(kid string) string { return build(`{"alg":"HS256","kid":"`+kid+`"}`, goodClaims, hs256) }
	without := build(`{"alg":"HS256"}`, goodClaims, hs256)
	many := func(n int) []jose.Key { return append(repeat(other, n-1), key) }

	tests := []struct {
		name  string
		token string
		keys  []jose.Key
		want  error
	}{
		{"the key", without, []jose.Key{key}, nil},
		{"no key", without, nil, jose.ErrNoKey},
		{"the zero key", without, []jose.Key{{}}, jose.ErrNoKey},
		{"a key of another algorithm", without, []jose.Key{rsaKey}, jose.ErrNoKey},
		{"another key", without, []jose.Key{other}, jose.ErrSignature},
		{"the second key", without, []jose.Key{other, key}, nil},
		{"J04 kid fits", with("a"), []jose.Key{key.WithKeyID("a")}, nil},
		{"J04 kid of another key", with("a"), []jose.Key{key.WithKeyID("b")}, jose.ErrNoKey},
		{"J04 kid in another case", with("a"), []jose.Key{key.WithKeyID("A")}, jose.ErrNoKey},
		{"J04 kid only in the token", with("a"), []jose.Key{key}, nil},
		{"J04 kid only on the key", without, []jose.Key{key.WithKeyID("a")}, nil},
		{"J04 an empty kid in the token", with(""), []jose.Key{key.WithKeyID("a")}, nil},
		{"J04 two keys of one kid, the second fits", with("a"), []jose.Key{other.WithKeyID("a"), key.WithKeyID("a")}, nil},
		{"J04 the kid of a key of another algorithm", with("a"), []jose.Key{rsaKey.WithKeyID("a"), key.WithKeyID("b")}, jose.ErrNoKey},
		{"J04 kid of the wrong key", with("a"), []jose.Key{other.WithKeyID("a"), key.WithKeyID("b")}, jose.ErrSignature},
		{"as many keys as may be tried", without, many(8), nil},
		{"a key more", without, many(9), jose.ErrNoKey},
		{"many keys of other algorithms", without, append(repeat(rsaKey, 100), key), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := read(tt.token, tt.keys...); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestZeroTokenVerifiesNothing(t *testing.T) {
	if _, err := new(jose.Token).Verify(jose.Key{}, hsKey(t)); !errors.Is(err, jose.ErrNoKey) {
		t.Errorf("got %v, want ErrNoKey", err)
	}
}

func repeat(k jose.Key, n int) []jose.Key {
	list := make([]jose.Key, n)
	for i := range list {
		list[i] = k
	}
	return list
}
