package peerbench

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/remitly-oss/httpsig-go"
)

// remitlyKey is the key of requests that name none, as those of agents do not.
type remitlyKey struct{ httpsig.KeySpec }

func (k remitlyKey) Fetch(context.Context, http.Header, httpsig.MetadataProvider) (httpsig.KeySpecer, error) {
	return k.KeySpec, nil
}

func (remitlyKey) FetchByKeyID(context.Context, http.Header, string) (httpsig.KeySpecer, error) {
	return nil, errors.New("unknown key")
}

// openRemitly is github.com/remitly-oss/httpsig-go: a Verifier with its default
// profile, but for the label, the components, the window and that no keyid is
// sent.
func openRemitly(tb testing.TB, r *http.Request) func() error {
	profile := httpsig.DefaultVerifyProfile
	profile.SignatureLabel = "sig"
	profile.AllowedAlgorithms = []httpsig.Algorithm{httpsig.Algo_ED25519}
	profile.RequiredFields = httpsig.Fields(usual().components...)
	profile.RequiredMetadata = []httpsig.Metadata{httpsig.MetaCreated}
	profile.CreatedValidDuration = window
	v, err := httpsig.NewVerifier(remitlyKey{httpsig.KeySpec{Algo: httpsig.Algo_ED25519, PubKey: public(tb)}}, profile)
	if err != nil {
		tb.Fatal(err)
	}
	return func() error {
		result, err := v.Verify(r)
		if err == nil && !result.Verified {
			return errors.New("not verified")
		}
		return err
	}
}
