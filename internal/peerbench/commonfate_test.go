package peerbench

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/common-fate/httpsig/alg_ed25519"
	"github.com/common-fate/httpsig/sigparams"
	"github.com/common-fate/httpsig/verifier"
)

// commonFateSigning is the nearest to the usual signature that
// github.com/common-fate/httpsig can verify. It has no @path, so @target-uri
// stands in for it, and it finds a signature by its tag, which there must be.
func commonFateSigning() signing {
	return signing{components: []string{"@method", "@authority", "@target-uri", "signature-key"}, tag: "aauth"}
}

// forgetful is a memory of nonces that has seen none: there is none in these
// requests, and a benchmark shows one request again and again. None of the
// others looks for repeated ones either.
type forgetful struct{}

func (forgetful) Seen(context.Context, string) (bool, error) { return false, nil }

// openCommonFate is what the middleware of github.com/common-fate/httpsig does
// with a request. It also makes one without the fields that are not covered.
func openCommonFate(tb testing.TB, r *http.Request) func() error {
	required := map[string]bool{}
	for _, name := range commonFateSigning().components {
		required[name] = true
	}
	v := verifier.Verifier{
		NonceStorage: forgetful{},
		KeyDirectory: alg_ed25519.SingleKeyDirectory{Key: public(tb)},
		Tag:          commonFateSigning().tag,
		Scheme:       "https",
		Authority:    authority,
		Validation: sigparams.ValidateOpts{
			ForbidClientSideAlg: true, BeforeDuration: window, AfterDuration: window, RequiredCoveredComponents: required,
		},
	}
	return func() error {
		_, _, err := v.Parse(nil, r, time.Now())
		return err
	}
}
