package keystore_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base32"
	"encoding/base64"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/cryptotest"

	"github.com/keywright/keywright/keystore"
)

func TestKST10_PrintingShowsNoPrivateKey(t *testing.T) {
	secrets, values := printed(t)
	var out bytes.Buffer
	for _, v := range values {
		type holder struct {
			Value  any
			Slice  []any
			Map    map[string]any
			hidden any
		}
		h := holder{v, []any{v}, map[string]any{"k": v}, v}
		for _, v := range []any{v, &v, h, &h, fmt.Errorf("failed: %v", v), reflect.ValueOf(v)} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p", "%T"} {
				fmt.Fprintf(&out, verb+"\n", v)
			}
			for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
				slog.New(h).Info("key", "key", v)
				slog.New(h).With("key", v).WithGroup("g").Info("key", slog.Group("g", "key", v))
			}
			json.NewEncoder(&out).Encode(v)
			xml.NewEncoder(&out).Encode(v)
			gob.NewEncoder(&out).Encode(v)
			walk(&out, reflect.ValueOf(v), 0)
		}
	}
	for _, s := range secrets {
		for name, form := range forms(s) {
			if bytes.Contains(out.Bytes(), form) {
				t.Errorf("printed a private key as %s", name)
			}
		}
	}
	for _, handle := range []string{"in-memory", "in-dir", "by-signer"} {
		if !strings.Contains(out.String(), "keystore.Key("+handle+")") {
			t.Errorf("the handle %q, by which an operator finds the key, is not printed", handle)
		}
	}
}

func TestAKeyIsPrintedAsItsHandle(t *testing.T) {
	k := generate(t, new(keystore.Memory), keystore.ES256, "handle")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(verb, k); got != "keystore.Key(handle)" {
			t.Errorf("%s prints %s", verb, got)
		}
	}
	if text, err := json.Marshal(map[string]any{"k": k}); err != nil || string(text) != `{"k":"keystore.Key(handle)"}` {
		t.Errorf("JSON has %s (%v)", text, err)
	}
	if v := slog.AnyValue(k).Resolve(); v.Kind() != slog.KindString || v.String() != "keystore.Key(handle)" {
		t.Errorf("slog has %v %v", v.Kind(), v)
	}
}

// printed returns keys and stores of all kinds, and the private bytes in them.
func printed(t *testing.T) (secrets [][]byte, values []any) {
	t.Helper()
	// Memory never shows what it made; the same chance makes the same key.
	cryptotest.SetGlobalRandom(t, 1)
	_, first, _ := ed25519.GenerateKey(nil)
	second := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	cryptotest.SetGlobalRandom(t, 1)
	m := new(keystore.Memory)
	inMemory, inMemory2 := generate(t, m, keystore.Ed25519, "in-memory"), generate(t, m, keystore.ES256, "")
	if !first.Public().(ed25519.PublicKey).Equal(inMemory.Public()) || !second.PublicKey.Equal(inMemory2.Public()) {
		t.Fatal("the same chance made other keys")
	}
	cryptotest.SetGlobalRandom(t, 2)

	path := newPath(t)
	config := plaintext.config(path)
	d := open(t, config)
	made, made2 := generate(t, d, keystore.Ed25519, "in-dir"), generate(t, d, keystore.ES256, "")
	loaded := must(d.Load(t.Context(), "in-dir"))
	for _, k := range []keystore.Key{made, made2} {
		var jwk struct{ D string }
		if err := json.Unmarshal(must(os.ReadFile(filepath.Join(path, k.Handle()+".jwk.json"))), &jwk); err != nil {
			t.Fatal(err)
		}
		secrets = append(secrets, must(encoding.DecodeString(jwk.D)))
	}

	signed := edKey(t)
	bySigner := must(keystore.FromSigner("by-signer", signed))
	signed2 := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	bySigner2 := must(keystore.FromSigner("", signed2))
	secrets = append(secrets, first.Seed(), must(second.Bytes()), signed.Seed(), must(signed2.Bytes()))
	values = []any{
		m, inMemory, inMemory2, config, d, made, made2, loaded, bySigner, bySigner2,
		[]keystore.Key{inMemory, made}, keystore.KeyOptions{Handle: "in-memory"}, keystore.Ed25519,
	}
	for _, m := range encrypted {
		more, encrypted := printedEncrypted(t, m, d)
		secrets, values = append(secrets, more...), append(values, encrypted...)
	}
	return secrets, values
}

// printedEncrypted returns the copy of a key that is printed too, what encrypts
// it, and what that is made of.
func printedEncrypted(t *testing.T, m mode, from *keystore.Dir) (secrets [][]byte, values []any) {
	t.Helper()
	path := newPath(t)
	config := m.config(path)
	d := open(t, config)
	imported := must(d.Import(t.Context(), from, "in-dir"))
	loaded := must(d.Load(t.Context(), "in-dir"))
	_, sealing := masterKeys(t, must(os.ReadFile(filepath.Join(path, "in-dir.jwk.json"))))
	return [][]byte{[]byte(passphrase), rawKey, sealing}, []any{config, d, imported, loaded}
}

// walk prints what reflection comes to, in unexported fields too.
func walk(out *bytes.Buffer, v reflect.Value, depth int) {
	if depth > 12 {
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			walk(out, v.Elem(), depth+1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			walk(out, v.Field(i), depth+1)
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			walk(out, it.Key(), depth+1)
			walk(out, it.Value(), depth+1)
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			for i := range v.Len() {
				out.WriteByte(byte(v.Index(i).Uint()))
			}
			return
		}
		for i := range v.Len() {
			walk(out, v.Index(i), depth+1)
		}
	case reflect.String:
		out.WriteString(v.String())
	}
	out.WriteByte('\n')
}

// forms returns the spellings of private bytes.
func forms(secret []byte) map[string][]byte {
	found := map[string][]byte{
		"raw":      secret,
		"half":     secret[:16],
		"hex":      fmt.Appendf(nil, "%x", secret),
		"HEX":      fmt.Appendf(nil, "%X", secret),
		"# hex":    bytes.Trim(fmt.Appendf(nil, "%#v", secret), "[]byte{}"),
		"decimal":  bytes.Trim(fmt.Appendf(nil, "%d", secret), "[]"),
		"commas":   bytes.ReplaceAll(bytes.Trim(fmt.Appendf(nil, "%d", secret), "[]"), []byte(" "), []byte(",")),
		"a number": []byte(new(big.Int).SetBytes(secret).String()),
		"base32":   []byte(strings.TrimRight(base32.StdEncoding.EncodeToString(secret), "=")[:48]),
	}
	for i := range 3 { // whichever way base64 is aligned
		for name, e := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			text := e.EncodeToString(secret[i:])
			found[fmt.Sprintf("%s from byte %d", name, i)] = []byte(text[:len(text)-4])
		}
	}
	return found
}

func TestKST10_ErrorsShowNoPrivateKey(t *testing.T) {
	path := newPath(t)
	d := newDir(t, path)
	generate(t, d, keystore.Ed25519, "handle")
	name := filepath.Join(path, "handle.jwk.json")
	good := must(os.ReadFile(name))
	var jwk struct{ D string }
	if err := json.Unmarshal(good, &jwk); err != nil {
		t.Fatal(err)
	}
	body := good[:bytes.Index(good, []byte(`,"integrity"`))]
	for _, text := range [][]byte{
		good[:len(good)-10],
		[]byte(jwk.D),
		sealed(string(body) + "!"),
		sealed(strings.Replace(string(body), `"crv":"Ed25519"`, `"crv":"`+jwk.D+`"`, 1)),
		sealed(strings.Replace(string(body), `"kid":"handle"`, `"kid":"`+jwk.D+`"`, 1)),
		sealed(strings.Replace(string(body), `"d":`, `"d":7,"e":`, 1)),
		sealed(strings.Replace(string(body), `"d":"`, `"d":"A`, 1)),
		sealed(strings.Replace(string(body), `"version":1`, `"version":"`+jwk.D+`"`, 1)),
	} {
		overwrite(t, name, text)
		_, err := d.Load(t.Context(), "handle")
		if !errors.Is(err, keystore.ErrKeyCorrupt) && !errors.Is(err, keystore.ErrUnsupportedKey) {
			t.Errorf("Load of %d bytes: %v", len(text), err)
			continue
		}
		for e := err; e != nil; e = errors.Unwrap(e) {
			for form, f := range forms(must(encoding.DecodeString(jwk.D))) {
				if strings.Contains(fmt.Sprintf("%v %+v %#v", e, e, e), string(f)) {
					t.Errorf("the private key stands in an error as %s", form)
				}
			}
		}
	}
}

// overwrite writes a file as a key's file is.
func overwrite(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
