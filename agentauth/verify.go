package agentauth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/httpsig"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/store"
)

// KindSeen is the store kind of markers of requests that must not come twice.
const KindSeen = "agent.seen"

// A proof is what a signed request has shown.
type proof struct {
	signer
	scheme     Scheme
	components []string
	seen       store.Record // marks the request as seen; zero where that is not asked for
	agent      store.Record // of who must be enrolled here, which may not exist; zero: nobody must
}

// A signer is the key that has signed a request, with who it belongs to.
type signer struct {
	key   jose.Key
	jkt   string            // thumbprint of key
	token *token            // of scheme jwt
	named *naming           // of scheme jkt-jwt
	here  bool              // key is that of an agent enrolled here, by its URL
	id    string            // of the server or URL that publishes key
	role  Role              // of scheme jwks_uri
	newer func() []jose.Key // looks for newer keys of who publishes key; nil: nobody does
	prove func()            // tells who keeps the keys that key was good; nil: nobody does
}

// verify checks a signed request in the order of AAuth, section "Verification".
// Cheap steps come before those that cost, and nothing is remembered of a
// request that is refused.
func (v *Verifier) verify(r *http.Request, p policy) (*proof, error) {
	m, err := httpsig.Parse(r.Header)
	if err != nil {
		return nil, malformed(err)
	}
	required := p.requiredFor(r)
	if err := m.CheckComponents(required...); err != nil {
		return nil, refuseInput(required, err)
	}
	now := v.host.Hooks.Now()
	times, err := v.checkTimes(m, now)
	if err != nil {
		return nil, err
	}
	scheme, ok := p.scheme(m, v.profile.Compat)
	if !ok {
		return nil, refuse(keywright.CodeUnsupportedScheme, "", nil)
	}
	authority, ok := v.profile.authority(r)
	if !ok {
		return nil, refuse(keywright.CodeInvalidSignature, "the request is for another host than this server", nil)
	}
	s, err := v.signer(r.Context(), scheme, m, p, now)
	if err != nil {
		return nil, err
	}
	base, err := m.Base(r, authority)
	if err != nil {
		return nil, malformed(err)
	}
	if err := v.checkSignature(m, &s, base); err != nil {
		return nil, err
	}
	if m.Covers("content-digest") {
		if err := v.awaitBody(r, m, s, p.MaxBody); err != nil {
			return nil, err
		}
	}
	proof := &proof{signer: s, scheme: scheme, components: m.Components}
	if p.remembers(r) {
		proof.seen = v.marker(s.jkt, base, times)
	}
	return proof, v.recall(r.Context(), proof, p)
}

// awaitBody reads the body and compares it with its digest. A body may take its
// time: what was good when it began must be so when it ends, or else one could
// hold back the end of many copies until nobody remembers the first.
func (v *Verifier) awaitBody(r *http.Request, m *httpsig.Message, s signer, max int64) error {
	if err := checkBody(r, max); err != nil {
		return err
	}
	now := v.host.Hooks.Now()
	if _, err := v.checkTimes(m, now); err != nil {
		return err
	}
	if end := s.expires(); !end.IsZero() && !now.Before(end.Add(v.profile.Compat.ExpSkew)) {
		return refuse(keywright.CodeExpiredJWT, "", nil)
	}
	return nil
}

// expires is the end of what vouches for the key; zero: it has none.
func (s signer) expires() time.Time {
	switch {
	case s.token != nil:
		return s.token.expires
	case s.named != nil:
		return s.named.expires
	}
	return time.Time{}
}

func (v *Verifier) checkTimes(m *httpsig.Message, now time.Time) (httpsig.Times, error) {
	times, err := m.Times()
	if err != nil {
		return times, malformed(err)
	}
	second := now.Truncate(time.Second)
	switch {
	case times.Created.After(second.Add(v.profile.Window)):
		return times, refuse(keywright.CodeClockSkew, "created is too far ahead", nil)
	case times.Created.Before(second.Add(-v.profile.Window)):
		return times, refuse(keywright.CodeInvalidSignature, "created is too long ago", nil)
	case !times.Expires.IsZero() && times.Expires.Before(second):
		return times, refuse(keywright.CodeInvalidSignature, "the signature has expired", nil)
	}
	return times, nil
}

// checkSignature tries newer keys of the issuer, where the one at hand fails.
func (v *Verifier) checkSignature(m *httpsig.Message, s *signer, base []byte) error {
	err := m.Verify(s.key, base)
	if errors.Is(err, httpsig.ErrSignature) && s.newer != nil {
		err = v.tryNewer(m, s, base, err)
	}
	if err != nil {
		return refuse(keywright.CodeInvalidSignature, "", err)
	}
	if s.prove != nil {
		s.prove()
	}
	return nil
}

func (v *Verifier) tryNewer(m *httpsig.Message, s *signer, base []byte, err error) error {
	for _, k := range s.newer() {
		again, bad := signedBy(k)
		if bad != nil || checkAlgorithm(k, false, v.profile.Compat.AcceptEdDSA) != nil || m.Verify(k, base) != nil {
			continue
		}
		s.key, s.jkt = again.key, again.jkt
		return nil
	}
	return err
}

// checkBody compares the body with its digest and puts it back.
func checkBody(r *http.Request, max int64) error {
	if r.ContentLength > max {
		return tooLarge(max)
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, max+1))
	r.Body = reread{io.MultiReader(bytes.NewReader(body), r.Body), r.Body}
	if limited, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge(limited.Limit)
	}
	switch {
	case err != nil:
		return &keywright.Error{Code: keywright.CodeInvalidRequest, Detail: "the body did not arrive whole", Err: err}
	case int64(len(body)) > max:
		return tooLarge(max)
	}
	if err := httpsig.CheckDigest(r.Header, body); err != nil {
		return refuse(keywright.CodeInvalidSignature, "the body is not that of its digest", err)
	}
	return nil
}

func tooLarge(max int64) error {
	return keywright.Errorf(keywright.CodeTooLarge, "the body is larger than %d bytes", max)
}

// reread is a body that has been read: it reads the same again, and closes the first.
type reread struct {
	io.Reader
	io.Closer
}

// marker is the record of a request. What was signed tells requests apart, and
// not the text of the signature, of which there may be several.
func (v *Verifier) marker(jkt string, base []byte, t httpsig.Times) store.Record {
	h := sha256.New()
	io.WriteString(h, jkt)
	h.Write([]byte{0})
	h.Write(base)
	end := t.Created.Add(v.profile.Window)
	if !t.Expires.IsZero() && t.Expires.Before(end) {
		end = t.Expires
	}
	// All of the last second counts, and replicas may have clocks that are a minute behind.
	expires := end.Add(time.Second + time.Minute)
	return store.Record{Kind: KindSeen, ID: base64.RawURLEncoding.EncodeToString(h.Sum(nil)), Expires: expires, Data: []byte("{}")}
}

// markerMargin is how long before its end a marker is still written: a store may
// take its time, and a record that has ended keeps nothing from coming again.
const markerMargin = 30 * time.Second

// inTime refuses a request about which it has taken so long to decide that it
// would not be remembered. Of one that is not remembered proof is nil.
func (proof *proof) inTime(now time.Time) error {
	if proof != nil && !now.Before(proof.seen.Expires.Add(-markerMargin)) {
		return refuse(keywright.CodeInvalidSignature, "the request has taken too long", nil)
	}
	return nil
}

// remember writes the marker of a request of an accepted caller, unless another
// middleware has accepted this very request already.
func (v *Verifier) remember(ctx context.Context, proof *proof) error {
	if proof.seen.Kind == "" {
		return nil
	}
	if p, ok := keywright.FromContext(ctx); ok && p.Method == keywright.MethodAgent && p.Attrs[AttrRequest] == proof.seen.ID {
		return nil
	}
	if err := proof.inTime(v.host.Hooks.Now()); err != nil {
		return err
	}
	if err := v.host.Store.Commit(ctx, store.Insert(proof.seen)); err != nil {
		return replayed(err)
	}
	return nil
}

// replayed is what a Commit's error means that had the marker of a request.
func replayed(err error) error {
	if op, ok := errors.AsType[*store.OpError](err); ok && op.Op.Record.Kind == KindSeen && errors.Is(err, store.ErrExists) {
		return refuse(keywright.CodeInvalidSignature, "the request was seen before", nil)
	}
	return keywright.Wrap(keywright.CodeUnavailable, err)
}

// signer finds the key of a request by its scheme.
func (v *Verifier) signer(ctx context.Context, scheme Scheme, m *httpsig.Message, p policy, now time.Time) (signer, error) {
	switch scheme {
	case SchemeHWK:
		return v.byKey(m)
	case SchemeJKTJWT:
		return v.byNaming(ctx, m, now)
	case SchemeJWT:
		return v.byToken(ctx, m, p, now)
	case SchemeJWKSURI:
		return v.byServer(ctx, m)
	}
	return v.byURL(ctx, m)
}
