package jose_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/internal/jose"
)

func TestParseJWKS(t *testing.T) {
	okp, ec, rsa := goodJWKs(t)
	set := fmt.Sprintf(`{"other":1,"keys":[%s,%s,%s,5,{},%s,%s,%s,%s]}`,
		`{"kty":"AKP","alg":"ML-DSA-44","pub":"AAAA"}`,
		rsa.with(jwk{"kid": "a"}).json(),
		`{"kty":"oct","kid":"o","alg":"HS256","k":"`+b64(secret)+`"}`,
		ec.with(jwk{"kid": "a"}).json(),
		okp.with(jwk{"kid": "e", "use": "enc"}).json(),
		ec.with(jwk{"kid": "private", "d": "AAAA"}).json(),
		okp.with(jwk{"kid": "last"}).json())
	got := must[jose.Set](t)(jose.ParseJWKS([]byte(set)))
	var kids, rejected []string
	for _, k := range got.Keys {
		kids = append(kids, k.Algorithm()+" "+k.KeyID())
	}
	for _, err := range got.Rejected {
		rejected = append(rejected, err.Error()[:len("key 0")])
	}
	if diff := cmp.Diff([]string{"RS256 a", "ES256 a", "EdDSA last"}, kids); diff != "" {
		t.Errorf("K20 keys (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"key 0", "key 2", "key 3", "key 4", "key 6", "key 7"}, rejected); diff != "" {
		t.Errorf("rejected (-want +got):\n%s", diff)
	}
	// EXC-40: two keys of one kid are told apart by the algorithm.
	token := build(`{"alg":"ES256","kid":"a"}`, goodClaims, func(in []byte) []byte { return es256(t, in) })
	if _, err := read(token, got.Keys...); err != nil {
		t.Error(err)
	}
	// J03, EXC-03: the published symmetric key verifies nothing.
	if _, err := read(build(`{"alg":"HS256","kid":"o"}`, goodClaims, hs256), got.Keys...); !errors.Is(err, jose.ErrNoKey) {
		t.Errorf("J03: got %v, want ErrNoKey", err)
	}
}

func TestParseJWKSRefuses(t *testing.T) {
	okp, _, _ := goodJWKs(t)
	key := string(okp.json())
	many := func(n int) string { return `{"keys":[` + strings.Repeat(key+",", n-1) + key + `]}` }
	for name, text := range map[string]string{
		"EXC-37 null":           `null`,
		"EXC-37 HTML":           `<html></html>`,
		"EXC-37 no keys":        `{"keys":[]}`,
		"EXC-37 deep nesting":   strings.Repeat("[", 10_000),
		"EXC-37 too long":       `{"keys":[` + key + `],"pad":"` + strings.Repeat("a", jose.MaxSet) + `"}`,
		"EXC-37 101 keys":       many(101),
		"no member keys":        `{"Keys":[` + key + `]}`,
		"keys an object":        `{"keys":{"a":` + key + `}}`,
		"keys null":             `{"keys":null}`,
		"keys twice":            `{"keys":[],"keys":[` + key + `]}`,
		"one key":               key,
		"a list":                `[` + key + `]`,
		"only keys of no use":   `{"keys":[{"kty":"AKP"},{"kty":"oct","k":"AA"}]}`,
		"trailing data":         many(1) + "x",
		"a truncated text":      many(2)[:100],
		"not UTF-8":             "{\"a\":\"\xff\",\"keys\":[" + key + "]}",
		"only a list in a list": `{"keys":[[` + key + `]]}`,
	} {
		if _, err := jose.ParseJWKS([]byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if set, err := jose.ParseJWKS([]byte(many(100))); err != nil || len(set.Keys) != 100 {
		t.Errorf("100 keys: %d, %v", len(set.Keys), err)
	}
}
