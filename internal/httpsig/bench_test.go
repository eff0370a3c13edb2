package httpsig_test

import (
	"crypto/ed25519"
	"net/http"
	"testing"

	"github.com/yaronf/httpsign"

	"github.com/keywright/keywright/internal/httpsig"
	"github.com/keywright/keywright/internal/jose"
)

func vectorKey(t testing.TB, v vector) jose.Key {
	t.Helper()
	return must[jose.Key](t)(jose.PublicKey(readVectors(t).signer(v).Public()))
}

// readGET is all of verifying a GET but the signature.
func readGET(r *http.Request) (*httpsig.Message, []byte, error) {
	m, err := httpsig.Parse(r.Header)
	if err != nil {
		return nil, nil, err
	}
	if err := m.CheckComponents(baseFour...); err != nil {
		return nil, nil, err
	}
	if _, err := m.Times(); err != nil {
		return nil, nil, err
	}
	base, err := m.Base(r, httpsig.Authority(r.Host, true))
	return m, base, err
}

func verifyGET(r *http.Request, key jose.Key) error {
	m, base, err := readGET(r)
	if err != nil {
		return err
	}
	return m.Verify(key, base)
}

// BenchmarkVerifyGET has, in one run, this package with and without the
// signature, the bare signature, and the library of the oracle.
func BenchmarkVerifyGET(b *testing.B) {
	v := readVectors(b).Vectors[0]
	m := v.message(b)
	r, key, public := m.request(), vectorKey(b, v), durable.Public().(ed25519.PublicKey)
	b.Run("httpsig", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			must[struct{}](b)(struct{}{}, verifyGET(r, key))
		}
	})
	b.Run("httpsig without the signature", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := readGET(r); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("raw Ed25519", func(b *testing.B) {
		base, signature := []byte(v.SignatureBase), ed25519.Sign(durable, []byte(v.SignatureBase))
		b.ReportAllocs()
		for b.Loop() {
			if !ed25519.Verify(public, base, signature) {
				b.Fatal("not verified")
			}
		}
	})
	b.Run("oracle", func(b *testing.B) {
		verifier, r := oracle(b), arrive(b, must[*http.Request](b)(http.NewRequest(v.Method, v.URL, nil)))
		r.Header = m.header
		b.ReportAllocs()
		for b.Loop() {
			must[struct{}](b)(struct{}{}, httpsign.VerifyRequest("sig", verifier, r))
		}
	})
}

// BenchmarkVerifyJWT has a key of the size of a token, and a body.
func BenchmarkVerifyJWT(b *testing.B) {
	for _, v := range readVectors(b).Vectors {
		if v.Name != "jwt-get" && v.Name != "jkt-jwt-refresh" {
			continue
		}
		r, key := v.message(b).request(), vectorKey(b, v)
		b.Run(v.Name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				must[struct{}](b)(struct{}{}, verifyGET(r, key))
			}
		})
	}
}

func BenchmarkSign(b *testing.B) {
	v := readVectors(b).Vectors[0]
	r := v.message(b).request()
	signing := httpsig.Signing{Authority: r.Host, Components: baseFour, Created: created}
	key := must[httpsig.SigningKey](b)(httpsig.NewSigningKey(durable.Public(), "", durableMember))
	b.ReportAllocs()
	for b.Loop() {
		must[struct{}](b)(struct{}{}, key.Sign(r, signing, durable))
	}
}

func BenchmarkUnsigned(b *testing.B) {
	h := http.Header{"Authorization": {"Bearer x"}, "Accept": {"*/*"}, "User-Agent": {"a"}}
	b.ReportAllocs()
	for b.Loop() {
		if httpsig.Signed(h) {
			b.Fatal("signed")
		}
	}
}
