package peerbench

import (
	"net/http"
	"testing"
)

// A peer is one way to verify a request.
type peer struct {
	name string

	// open does what a server does once, when it starts. What it returns
	// verifies r, as often as it is called.
	open func(tb testing.TB, r *http.Request) (verify func() error)

	signs signing // what its requests look like

	// signatureOnly: the time and the choice of components are not its business.
	signatureOnly bool
}

func peers() []peer {
	return []peer{
		{name: "raw", open: openRaw, signs: usual(), signatureOnly: true},
		{name: "httpsign", open: openHTTPSign, signs: usual()},
		{name: "remitly", open: openRemitly, signs: usual()},
		{name: "commonfate", open: openCommonFate, signs: commonFateSigning()},
		{name: "keywright", open: openKeywright, signs: usual()},
	}
}

// BenchmarkVerify is one signed GET by Ed25519. Of all but keywright the key is
// given, keywright finds it in the request.
func BenchmarkVerify(b *testing.B) {
	for _, p := range peers() {
		b.Run(p.name, func(b *testing.B) {
			verify := p.open(b, p.signs.request(b))
			b.ReportAllocs()
			for b.Loop() {
				if err := verify(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A figure of somebody who does not verify would mean nothing.
func TestPeersVerify(t *testing.T) {
	for _, p := range peers() {
		t.Run(p.name, func(t *testing.T) {
			verify := p.open(t, p.signs.request(t))
			for range 3 { // as the benchmark does
				if err := verify(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestPeersRefuseWhatWasTamperedWith(t *testing.T) {
	for _, p := range peers() {
		t.Run(p.name, func(t *testing.T) {
			for _, tt := range tamperings {
				t.Run(tt.name, func(t *testing.T) {
					r := p.signs.request(t)
					tt.tamper(t, r)
					if p.open(t, r)() == nil {
						t.Error("accepted")
					}
				})
			}
		})
	}
}

func TestPeersRefuseWhatIsSignedOtherwise(t *testing.T) {
	for _, p := range peers() {
		if p.signatureOnly {
			continue
		}
		t.Run(p.name, func(t *testing.T) {
			for _, tt := range otherwise(p.signs) {
				t.Run(tt.name, func(t *testing.T) {
					if p.open(t, tt.signs.request(t))() == nil {
						t.Error("accepted")
					}
				})
			}
		})
	}
}
