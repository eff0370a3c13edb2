package agentauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/keywright/keywright/internal/strictjson"
)

const maxStep = 64 << 10 // bytes of an answer on the way

// A putOff is a request that a resource has put off.
type putOff struct {
	transport *Transport
	request   *http.Request
	origin    string
	ctx       context.Context // of the whole request
	cred      Credential
	met       map[string]bool // what has been got
	last      *http.Response  // the answer to the last poll
}

// follow polls a request that a resource has put off, which was signed with cred,
// until it is decided (AAuth, section "Deferred Responses"). The decision is what it
// returns: the request itself is not sent again. resp is a 202; it is returned as
// it is where nothing can be done about it.
func (t *Transport) follow(r *http.Request, resp *http.Response, cred Credential) (*http.Response, error) {
	need := RequirementOf(resp.Header)
	if t.grants.person == nil || resp.StatusCode != http.StatusAccepted || need.Name == "" || resp.Header.Get("Location") == "" {
		return resp, nil
	}
	w := &putOff{transport: t, request: r, origin: originOfURL(r.URL), ctx: t.grants.begin(r), cred: cred, met: make(map[string]bool), last: resp}
	fail := func(err error) (*http.Response, error) {
		w.last.Body.Close()
		return nil, &ChallengeError{Origin: w.origin, Requirement: need, Err: err}
	}
	if need.Name == wantsAuth {
		switch again, err := w.authorize(w.ctx, resp); {
		case err != nil:
			return fail(err)
		case !again:
			return resp, nil
		}
	}
	first, err := readStep(resp)
	if err != nil {
		return fail(err)
	}
	talk := &talk{person: t.grants.person, who: w.caller(), resource: w.origin, server: w.origin, send: w.send}
	d := deferral{asked: r.URL.String(), patience: t.grants.person.c.Patience, poll: w.poll, heed: func(ctx context.Context, url string, s step) error {
		if RequirementOf(s.header).Name == wantsAuth {
			_, err := w.authorize(ctx, &http.Response{Header: s.header})
			return err
		}
		return talk.heed(ctx, url, s)
	}}
	if err := d.await(w.ctx, first); err != nil {
		return fail(err)
	}
	return w.last, nil
}

// authorize gets the auth token that an answer wants, and signs with it from then
// on. What was got once is not got again.
func (w *putOff) authorize(ctx context.Context, resp *http.Response) (bool, error) {
	g := w.transport.grants
	c, ok := g.challenge(w.ctx, w.origin, resp, w.cred)
	if !ok {
		return false, nil
	}
	key := c.need.Name + " " + scopeOf(c.need.ResourceToken)
	if w.met[key] {
		return false, nil
	}
	w.met[key] = true
	again, err := c.meet(ctx)
	if err != nil || !again {
		return false, err
	}
	w.cred, err = g.credential(w.ctx, w.origin)
	return err == nil, err
}

// caller is the agent as its person server knows it; nil: it does not.
func (w *putOff) caller() *caller {
	g := w.transport.grants
	shown, ok := readPresented(w.cred)
	if !ok {
		return nil
	}
	c := &challenge{grants: g, shown: shown}
	if _, err := c.become(w.ctx); err != nil {
		return nil
	}
	return c.who
}

// poll asks whether it is decided. The answer is w.last, with its body unread where
// that is the decision.
func (w *putOff) poll(ctx context.Context, url string) (step, error) {
	for range maxHops {
		// The decision's body is read when ctx has ended.
		whole, cancel := context.WithCancel(w.ctx)
		stop := context.AfterFunc(ctx, cancel)
		resp, err := w.roundTrip(whole, http.MethodGet, url, nil)
		if err != nil {
			stop()
			cancel()
			return step{}, err
		}
		resp.Body = reread{resp.Body, closer{resp.Body, cancel}}
		w.last = resp
		s, err := readStep(resp)
		stop()
		if err != nil {
			resp.Body.Close()
			return step{}, err
		}
		if s.undecided() {
			resp.Body.Close()
			return s, nil
		}
		if s.status != http.StatusUnauthorized {
			return s, nil
		}
		again, err := w.authorize(ctx, resp)
		if err != nil || !again {
			return s, nil
		}
		resp.Body.Close()
	}
	return step{}, errors.New("agentauth: the answer to a poll wants more, again and again")
}

// A closer ends the context of a body that is closed.
type closer struct {
	io.Closer
	cancel context.CancelFunc
}

// Close implements [io.Closer].
func (c closer) Close() error {
	defer c.cancel()
	return c.Closer.Close()
}

// send is that of a talk.
func (w *putOff) send(ctx context.Context, method, url string, body any) error {
	resp, err := w.roundTrip(ctx, method, url, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return &StatusError{Status: resp.StatusCode}
	}
	return nil
}

// roundTrip sends a signed request about the one that was put off.
func (w *putOff) roundTrip(ctx context.Context, method, url string, body any) (*http.Response, error) {
	t := w.transport
	if !w.cred.Expires.IsZero() && !t.now().Before(w.cred.Expires) {
		var err error
		if w.cred, err = t.grants.credential(w.ctx, w.origin); err != nil {
			return nil, err
		}
	}
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, content)
	if err != nil {
		return nil, err
	}
	if method == http.MethodGet {
		req.Header.Set("Prefer", preferWait)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	sent, err := t.readBody(req)
	if err != nil {
		return nil, err
	}
	if req, err = t.signed(req, sent, w.cred); err != nil {
		return nil, err
	}
	resp, err := t.next.RoundTrip(req)
	if err == nil {
		t.grants.keepSession(w.origin, resp.Header)
	}
	return resp, err
}

// readStep reads the body of an answer that may not be the decision, and puts it
// back.
func readStep(resp *http.Response) (step, error) {
	s := step{status: resp.StatusCode, header: resp.Header}
	if !s.undecided() && s.status != http.StatusBadGateway {
		return s, nil
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxStep))
	if err != nil {
		return s, err
	}
	resp.Body = reread{io.MultiReader(bytes.NewReader(text), resp.Body), resp.Body}
	if m, err := strictjson.Object(text); err == nil {
		s.body = m
	}
	return s, nil
}
