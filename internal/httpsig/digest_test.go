package httpsig_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/httpsig"
)

const (
	hello       = `{"hello": "world"}`
	helloDigest = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"
	hello512    = "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:"
)

func TestDigest(t *testing.T) {
	for body, want := range map[string]string{
		hello: helloDigest,
		"{}":  "sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:",
		"":    "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:",
	} {
		if got := httpsig.Digest([]byte(body)); got != want {
			t.Errorf("of %q: %s", body, got)
		}
	}
}

func TestCheckDigest(t *testing.T) {
	const wrong = ":AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:"
	for _, c := range []struct {
		name  string
		lines []string
		want  error
	}{
		{"sha-256", []string{helloDigest}, nil},
		{"sha-512", []string{hello512}, nil},
		{"both", []string{helloDigest + ", " + hello512}, nil},
		{"both in two lines", []string{helloDigest, hello512}, nil},
		{"one nobody knows beside", []string{"future=?1, " + helloDigest}, nil},
		{"with a parameter", []string{helloDigest + ";a"}, nil},
		{"of another body", []string{"sha-256=" + wrong}, httpsig.ErrDigest},
		{"right by sha-256 and wrong by sha-512", []string{helloDigest + ", sha-512=:AAAA:"}, httpsig.ErrDigest},
		{"wrong by sha-256 and right by sha-512", []string{"sha-256=" + wrong + ", " + hello512}, httpsig.ErrDigest},
		{"cut short", []string{"sha-256=:X48E9qOokqqrvdts8nOJRA==:"}, httpsig.ErrDigest},
		{"empty", []string{"sha-256=::"}, httpsig.ErrDigest},
		{"spare bits set", []string{strings.Replace(helloDigest, "BPE=", "BPF=", 1)}, httpsig.ErrDigest},
		{"a string", []string{`sha-256="X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE="`}, httpsig.ErrDigest},
		{"a list", []string{"sha-256=(" + wrong + ")"}, httpsig.ErrDigest},
		{"true", []string{"sha-256"}, httpsig.ErrDigest},
		{"only one nobody knows", []string{"md5=:+qNiFUVGhKqOkMWbwMUDVA==:"}, httpsig.ErrMalformed},
		{"none", nil, httpsig.ErrMalformed},
		{"an empty line", []string{""}, httpsig.ErrMalformed},
		{"twice, the last right", []string{"sha-256=" + wrong + ", " + helloDigest}, httpsig.ErrMalformed},
		{"the syntax of RFC 3230", []string{"SHA-256=X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE="}, httpsig.ErrMalformed},
		{"long", []string{helloDigest + ", a=\"" + strings.Repeat("a", 1000) + `"`}, httpsig.ErrMalformed},
	} {
		err := httpsig.CheckDigest(http.Header{"Content-Digest": c.lines}, []byte(hello))
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}

func TestRFC9530(t *testing.T) {
	var v struct {
		Positive []struct {
			ID      string
			Content string            `json:"content_utf8"`
			Digests map[string]string `json:"content_digest"`
		}
		Negative []struct {
			ID, Header string
			Content    string `json:"content_utf8"`
		}
	}
	readShared(t, "rfc9530/vectors.json", &v)
	if len(v.Positive) != 4 || len(v.Negative) != 9 {
		t.Errorf("%d digests and %d that are none", len(v.Positive), len(v.Negative))
	}
	for _, c := range v.Positive {
		for algorithm, digest := range c.Digests {
			field := algorithm + "=:" + digest + ":"
			if err := httpsig.CheckDigest(http.Header{"Content-Digest": {field}}, []byte(c.Content)); err != nil {
				t.Errorf("%s: %s: %v", c.ID, algorithm, err)
			}
			if algorithm == "sha-256" && httpsig.Digest([]byte(c.Content)) != field {
				t.Errorf("%s: made %s", c.ID, httpsig.Digest([]byte(c.Content)))
			}
		}
	}
	for _, c := range v.Negative {
		if err := httpsig.CheckDigest(http.Header{"Content-Digest": {c.Header}}, []byte(c.Content)); err == nil {
			t.Errorf("%s: accepted", c.ID)
		}
	}
}
