package httpsig_test

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/httpsig"
	"github.com/keywright/keywright/internal/jose"
)

// baseFour are what the profile wants covered of every request.
var baseFour = []string{"@method", "@authority", "@path", "signature-key"}

var created = time.Unix(1730217600, 0)

// durable is the key of RFC 8037, appendix A.1.
var durable = ed25519.NewKeyFromSeed(decode64("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"))

const durableMember = `hwk;alg="Ed25519";kty="OKP";crv="Ed25519";x="11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"`

func decode64(text string) []byte {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return b
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// A message is a request as a server sees it, in parts that a test can change.
type message struct {
	method, host, target string
	header               http.Header
	body                 string
}

func (m message) request() *http.Request {
	return &http.Request{Method: m.method, Host: m.host, RequestURI: m.target, Header: m.header, Body: io.NopCloser(strings.NewReader(m.body))}
}

// clone returns a message with a header of its own.
func (m message) clone() message {
	m.header = m.header.Clone()
	return m
}

// verify does what a server does with a request from https. It takes the key
// from Signature-Key if key is the zero Key.
func (m message) verify(key jose.Key, required ...string) error {
	signed, err := httpsig.Parse(m.header)
	if err != nil {
		return err
	}
	if err := signed.CheckComponents(required...); err != nil {
		return err
	}
	if _, err := signed.Times(); err != nil {
		return err
	}
	if key.Algorithm() == "" {
		if key, err = inlineKey(signed); err != nil {
			return err
		}
	}
	base, err := signed.Base(m.request(), httpsig.Authority(m.host, true))
	if err != nil {
		return err
	}
	if err := signed.Verify(key, base); err != nil {
		return err
	}
	if signed.Covers("content-digest") {
		return httpsig.CheckDigest(m.header, []byte(m.body))
	}
	return nil
}

func inlineKey(m *httpsig.Message) (jose.Key, error) {
	if m.Scheme != "hwk" {
		return jose.Key{}, errors.New("no key inside")
	}
	var k jose.PublicJWK
	k.Type, _ = m.Param("kty")
	k.Curve, _ = m.Param("crv")
	k.X, _ = m.Param("x")
	k.Y, _ = m.Param("y")
	return k.Read()
}

// get is a signed GET by the durable key.
func get(t testing.TB, target string, components ...string) message {
	t.Helper()
	m := message{method: "GET", host: "resource.example", target: target, header: http.Header{}}
	signing := toSign{Authority: m.host, Key: durableMember, Components: append(baseFour[:4:4], components...), Created: created}
	if err := sign(m.request(), signing, durable); err != nil {
		t.Fatal(err)
	}
	return m
}

// signAs makes m one that covers what input says, whether or not it may. base
// is all that is signed but the last line.
func (m message) signAs(input, base string) message {
	m = m.clone()
	signature := ed25519.Sign(durable, []byte(base+`"@signature-params": `+input))
	m.header.Set("Signature-Key", "sig="+durableMember)
	m.header.Set("Signature-Input", "sig="+input)
	m.header.Set("Signature", "sig=:"+base64.StdEncoding.EncodeToString(signature)+":")
	return m
}

// arrive sends r through the form that it has on the wire.
func arrive(t testing.TB, r *http.Request) *http.Request {
	t.Helper()
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		t.Fatal(err)
	}
	return must[*http.Request](t)(http.ReadRequest(bufio.NewReader(&wire)))
}

// readShared reads a file of test vectors, of which some are not in the project.
func readShared(t testing.TB, name string, to any) {
	t.Helper()
	data, err := os.ReadFile("../../../shared/vectors/" + name)
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("the vectors %s are not here", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, to); err != nil {
		t.Fatal(err)
	}
}
