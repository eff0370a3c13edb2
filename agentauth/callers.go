package agentauth

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/httpsig"
	"github.com/keywright/keywright/internal/limit"
	"github.com/keywright/keywright/store"
)

// callers counts who calls the provider, each request once: see [ProviderLimits].
type callers struct {
	refused   *limit.Failures // by address
	newcomers *limit.Rate     // by address, and all together
	known     *limit.Rate     // by thumbprint
}

func newCallers(now func() time.Time, l ProviderLimits) (callers, error) {
	var c callers
	perMinute := orDefault(l.PerMinute, 60)
	var err error
	if c.refused, err = limit.Configured(now, perMinute, max(perMinute, 0), 0, 0); err != nil {
		return c, err
	}
	if c.newcomers, err = limit.NewRate(now, perMinute, orDefault(l.AllPerMinute, 6000)); err != nil {
		return c, err
	}
	c.known, err = limit.NewRate(now, orDefault(l.KeyPerMinute, 30), -1)
	return c, err
}

func slowDown(wait time.Duration) error {
	return &keywright.Error{Code: keywright.CodeRateLimited, Header: limit.RetryAfter(wait)}
}

// counted looks at no signature of an address where too much was refused lately,
// and counts what decode refuses.
func counted[Req any](p *Provider, decode func(*http.Request) (Req, error)) func(*http.Request) (Req, error) {
	return func(r *http.Request) (Req, error) {
		if !httpsig.Signed(r.Header) && !p.verifier.profile.Compat.AllowUnsignedEnrol {
			return decode(r)
		}
		ctx := keywright.WithRequestAddr(r)
		if wait := p.callers.refused.Wait(keywright.RemoteAddr(ctx)); wait > 0 {
			var none Req
			return none, slowDown(wait)
		}
		req, err := decode(r)
		if err != nil && keywright.AsError(err).Code.Status() < http.StatusInternalServerError {
			err = p.callers.refuse(ctx, err)
		}
		return req, err
	}
}

// refuse counts a request that is refused with err.
func (c *callers) refuse(ctx context.Context, err error) error {
	c.refused.Fail(keywright.RemoteAddr(ctx))
	return err
}

// admitNew counts an enrolment of a key that is not enrolled.
func (c *callers) admitNew(ctx context.Context) error {
	if wait := c.newcomers.Take(keywright.RemoteAddr(ctx)); wait > 0 {
		return slowDown(wait)
	}
	return nil
}

// admitKnown does what a known key asks for, and counts it. A replay is counted as
// refused: the key is not to answer for who has caught its requests. Nor is it for
// what is tried again.
func (c *callers) admitKnown(ctx context.Context, jkt string, do func() error) error {
	if wait := c.known.Take(jkt); wait > 0 {
		return slowDown(wait)
	}
	err := do()
	switch {
	case errors.Is(err, store.ErrExists), errors.Is(err, store.ErrConflict):
		c.known.Return(jkt)
	case err != nil && keywright.AsError(err).Code == keywright.CodeInvalidSignature:
		c.known.Return(jkt)
		return c.refuse(ctx, err)
	}
	return err
}
