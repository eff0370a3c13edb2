package agentauth

import (
	"context"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/httpsig"
)

const (
	maxSends    = 6                // of one request
	usualWindow = time.Minute      // how far from a server's clock a signature may be made
	longestSkew = 30 * time.Second // that is waited for a server's clock
	maxDrained  = 64 << 10         // bytes of an answer that is not the caller's, so that its connection is used again
)

// An exchange is one request of a caller, with all that is sent for it.
type exchange struct {
	transport *Transport
	origin    *origin
	request   *http.Request // the caller's
	body      sentBody
	ctx       context.Context

	signed signedRequest // last
	sends  int
	hops   int
	tried  []string // codes of Signature-Error
}

// A signedRequest is one with who has signed it and what is covered.
type signedRequest struct {
	*http.Request
	cred    Credential
	covered []string
	created time.Time
}

// A remedy is what an answer asks for.
type remedy int

const (
	none      remedy = iota // it is the caller's
	signAgain               // as what there is now
	sendAgain               // the same
)

func (x *exchange) run() (*http.Response, error) {
	for next := signAgain; ; {
		if err := x.prepare(next); err != nil {
			return nil, err
		}
		resp, err := x.send()
		if err != nil {
			return nil, err
		}
		if resp.StatusCode == http.StatusAccepted {
			return x.transport.follow(x.request, resp, x.signed.cred)
		}
		if next, err = x.remedy(resp); err != nil {
			resp.Body.Close()
			return nil, err
		}
		if next == none {
			return resp, nil
		}
		drain(resp)
	}
}

// prepare makes x.signed ready to be sent.
func (x *exchange) prepare(next remedy) error {
	if next == sendAgain {
		x.signed.Request = x.signed.WithContext(x.signed.Context())
		return x.body.attach(x.signed.Request)
	}
	cred, err := x.transport.grants.credential(x.ctx, x.origin.name)
	if err != nil {
		return err
	}
	x.signed, err = x.transport.sign(x.origin, x.request, x.body, cred)
	return err
}

func (x *exchange) send() (*http.Response, error) {
	x.sends++
	resp, err := x.transport.next.RoundTrip(x.signed.Request)
	if err != nil {
		return nil, err
	}
	resp.Request = x.signed.Request
	x.transport.grants.keepSession(x.origin.name, resp.Header)
	return resp, nil
}

// remedy does what an answer asks for, so that the request can be sent again.
func (x *exchange) remedy(resp *http.Response) (remedy, error) {
	if resp.StatusCode != http.StatusUnauthorized || x.sends == maxSends {
		return none, nil
	}
	sig, need := signatureError(resp.Header), RequirementOf(resp.Header)
	if need.Name != "" || !aboutSignature(sig.code) {
		if x.hops == maxHops && need.Name != "" {
			return none, nil
		}
		again, err := x.transport.grants.answer(x.ctx, x.origin.name, resp, x.signed.cred)
		if err != nil {
			return none, err
		}
		if again {
			x.hops++
			return signAgain, nil
		}
	}
	return x.mend(resp, sig)
}

// aboutSignature reports whether a code says nothing of the tokens of a request, nor
// of its session.
func aboutSignature(code string) bool {
	return code == "invalid_input" || code == "invalid_signature" || code == "clock_skew"
}

// mend does what a code of Signature-Error asks for, each once.
func (x *exchange) mend(resp *http.Response, sig sigError) (remedy, error) {
	if slices.Contains(x.tried, sig.code) {
		return none, nil
	}
	x.tried = append(x.tried, sig.code)
	ok, next := false, signAgain
	var err error
	switch sig.code {
	case "invalid_input":
		ok = x.origin.learn(sig.components, x.signed.covered, x.signed.Request)
	case "invalid_signature":
		if ok = nextSecond(x.ctx, x.transport.now); ok {
			x.transport.stamps.shared()
		}
	case "clock_skew":
		wait, short := untilYoung(x.signed.created, resp.Header.Get("Date"))
		ok, next = short && pause(x.ctx, wait), sendAgain
	case "expired_jwt", "revoked_jwt":
		ok, err = x.transport.grants.renew(x.ctx, x.origin.name, x.signed.cred, sig.code)
	}
	if err != nil || !ok {
		return none, err
	}
	return next, nil
}

// untilYoung is how long it takes until a server whose clock is behind, as its Date
// says, finds that a signature was made no later than it may be. Which window it has
// is not known if its clock is behind by less than the usual one.
func untilYoung(created time.Time, date string) (wait time.Duration, short bool) {
	now, err := http.ParseTime(date)
	if err != nil {
		return 0, false
	}
	ahead := created.Sub(now)
	wait = ahead + time.Second // a Date has no fractions
	if ahead > usualWindow {
		wait -= usualWindow
	}
	return wait, ahead > 0 && wait <= longestSkew
}

// drain ends an answer that is not the caller's. Its connection is used again if the
// answer is known to be short.
func drain(resp *http.Response) {
	if 0 <= resp.ContentLength && resp.ContentLength <= maxDrained {
		io.Copy(io.Discard, resp.Body)
	}
	resp.Body.Close()
}

// signed returns r as it is sent, signed by cred. The body was read from it.
func (t *Transport) signed(r *http.Request, body sentBody, cred Credential) (*http.Request, error) {
	s, err := t.sign(t.originOf(r), r, body, cred)
	return s.Request, err
}

func (t *Transport) sign(o *origin, r *http.Request, body sentBody, cred Credential) (signedRequest, error) {
	now := t.now()
	key, err := o.compile(r.Context(), cred, now)
	if err != nil {
		return signedRequest{}, err
	}
	req := r.WithContext(r.Context()) // a copy, but for the header and the URL
	req.Header, req.Host, req.RequestURI = t.header(r, o), o.authority, ""
	s := signedRequest{Request: req, cred: cred, created: now}
	if s.covered, err = t.cover(o, req, body); err != nil {
		return signedRequest{}, err
	}
	if err := key.sign(req, s.covered, t.stamps.at(now)); err != nil {
		return signedRequest{}, err
	}
	return s, body.attach(req)
}

// header is what r has of its own, with what is sent beside the signature.
func (t *Transport) header(r *http.Request, o *origin) http.Header {
	h := make(http.Header, len(r.Header)+4)
	copies := make([]string, 0, len(r.Header))
	for name, values := range r.Header {
		name = http.CanonicalHeaderKey(name) // as servers read it
		start := len(copies)
		copies = append(append(copies, h[name]...), values...)
		h[name] = copies[start:len(copies):len(copies)]
	}
	delete(h, "Content-Digest") // and what it has of a signature is replaced
	if len(h["Authorization"]) == 0 {
		if session := t.grants.session(o.name); session != "" {
			h["Authorization"] = []string{accessScheme + session}
		}
	}
	if capabilities := t.grants.capabilities(); capabilities != "" && len(h[capabilitiesField]) == 0 {
		h[capabilitiesField] = []string{capabilities}
	}
	return h
}

const capabilitiesField = "Aauth-Capabilities" // in the canonical form of net/http

// cover lists what is to be covered of r: what the configuration says, and as much of
// what o has wanted as there is.
func (t *Transport) cover(o *origin, r *http.Request, body sentBody) ([]string, error) {
	components, err := cover(r.Header, body.digest)
	if err != nil {
		return nil, err
	}
	for _, name := range t.components {
		components = addComponent(components, name)
	}
	for _, name := range o.wanted() {
		if name == "content-digest" || httpsig.Coverable(r, name) {
			components = addComponent(components, name)
		}
	}
	if body.digest == "" && slices.Contains(components, "content-digest") {
		r.Header.Set("Content-Digest", httpsig.Digest(nil))
	}
	return components, nil
}
