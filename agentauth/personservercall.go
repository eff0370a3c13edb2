package agentauth

import (
	"context"
	"crypto"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/apicall"
	"github.com/keywright/keywright/internal/jose"
)

// A caller is the agent in its dealings with a person server.
type caller struct {
	identity Identity
	cred     Credential // with the agent token
	jkt      string     // of its key
	ps       string     // identifier of the person server
	now      func() time.Time
}

// current returns the agent's credential, for as long as its key is the same: what
// was asked for with one key is not given to another.
func (w *caller) current(ctx context.Context) Credential {
	if next, err := w.identity.Credential(ctx); err == nil {
		w.adopt(next)
	}
	return w.cred
}

func (w *caller) adopt(next Credential) bool {
	jkt, err := thumbprintOf(next.Key)
	if err != nil || jkt != w.jkt {
		return false
	}
	w.cred = next
	return true
}

func thumbprintOf(key crypto.Signer) (string, error) {
	if key == nil {
		return "", errors.New("agentauth: no key")
	}
	public, err := jose.PublicKey(key.Public())
	if err != nil {
		return "", err
	}
	return public.Thumbprint()
}

// send signs a call, and once more with a newer agent token where the person server
// says that this one has ended before its time.
func (w *caller) send(ctx context.Context, c remote, target string, call apicall.Call) (apicall.Reply, error) {
	call.Secrets = append(secretParts(w.cred.As.Token), call.Secrets...)
	r, err := c.signed(ctx, target, call, w.cred)
	if r.Status != http.StatusUnauthorized {
		return r, err
	}
	switch signatureError(r.Header).code {
	case "expired_jwt", "revoked_jwt":
		if next, bad := w.identity.Renew(ctx, w.cred); bad == nil && w.adopt(next) {
			call.Secrets = append(secretParts(w.cred.As.Token), call.Secrets...)
			return c.signed(ctx, target, call, w.cred)
		}
	}
	return r, err
}

// secretParts are those of a token that no error may hold.
func secretParts(tokens ...string) []string {
	var parts []string
	for _, t := range tokens {
		if _, rest, ok := strings.Cut(t, "."); ok {
			parts = append(parts, strings.Split(rest, ".")...)
		}
	}
	return parts
}

// ask sends a request for a token, and waits where the server puts it off.
func (p *PersonServer) ask(ctx context.Context, target string, call apicall.Call, t *talk) (grantResponse, error) {
	call.Method, call.Wait, call.Header = http.MethodPost, longPoll, http.Header{"Prefer": {preferWait}}
	ctx, cancel := context.WithTimeout(ctx, p.c.Patience+longPoll)
	defer cancel()
	r, err := t.who.send(ctx, p.remote, target, call)
	if err == nil && r.Status == http.StatusAccepted {
		t.server = originOf(target)
		t.send = func(ctx context.Context, method, url string, body any) error {
			_, err := t.who.send(ctx, p.remote, url, apicall.Call{Method: method, Body: body, Secrets: call.Secrets})
			return err
		}
		r, err = p.remote.follow(ctx, deferral{asked: target, patience: p.c.Patience, heed: t.heed}, r, func(ctx context.Context, url string) (apicall.Reply, error) {
			t.who.current(ctx)
			poll := pollRequest()
			poll.Secrets = append(t.secrets(), call.Secrets...)
			return t.who.send(ctx, p.remote, url, poll)
		})
	}
	if err != nil {
		p.forget(t.who.ps, err)
		return grantResponse{}, err
	}
	var w grantResponse
	if err := r.Decode(&w); err != nil {
		return grantResponse{}, errors.New("agentauth: the answer of success is no JSON object")
	}
	return w, nil
}

// personToken asks for one for a resource.
func (p *PersonServer) personToken(ctx context.Context, resource string, who *caller) (*held, error) {
	e, err := p.endpoints(ctx, who.ps)
	switch {
	case err != nil:
		return nil, err
	case e.person == "":
		return nil, errors.New("agentauth: " + who.ps + " has no endpoint for person tokens")
	}
	w, err := p.ask(ctx, e.person, apicall.Call{
		Body: personTokenRequest{Resource: resource, Mission: p.c.Hints.Mission, wireHints: p.hints("")},
	}, &talk{person: p, who: who, resource: resource})
	if err != nil {
		return nil, err
	}
	return p.checkPersonToken(ctx, w, resource, who)
}

// authToken asks for one by a resource token that was checked.
func (p *PersonServer) authToken(ctx context.Context, rt *resourceGrant, shown presented, who *caller) (*held, error) {
	e, err := p.endpoints(ctx, who.ps)
	switch {
	case err != nil:
		return nil, err
	case e.auth == "":
		return nil, errors.New("agentauth: " + who.ps + " has no endpoint for auth tokens")
	}
	body := authTokenRequest{ResourceToken: rt.text, wireHints: p.hints(rt.loginHint)}
	if shown.typ != AgentToken {
		body.PresentedToken = shown.text
	}
	t := &talk{person: p, who: who, resource: rt.resource, update: func(ctx context.Context, r ClarificationReply) error {
		now, err := p.checkUpdate(ctx, r, rt.resource, shown, who)
		if err == nil {
			rt, shown = now.grant, now.shown
		}
		return err
	}}
	w, err := p.ask(ctx, e.auth, apicall.Call{Body: body, Secrets: secretParts(rt.text, body.PresentedToken)}, t)
	if err != nil {
		return nil, err
	}
	return p.checkAuthToken(ctx, w, rt, shown, who)
}

// relay asks the person server to show somebody where to go, and reports whether it
// will. What it demands itself it need not be told.
func (p *PersonServer) relay(ctx context.Context, i Interaction, who *caller, server string) bool {
	if who == nil || originOf(i.URL) == who.ps || server == who.ps {
		return false
	}
	e, err := p.endpoints(ctx, who.ps)
	if err != nil || e.interaction == "" {
		return false
	}
	_, err = who.send(ctx, p.remote, e.interaction, apicall.Call{
		Method: http.MethodPost, Body: relayRequest{Type: wantsInteraction, URL: i.URL, Code: i.Code}, Secrets: []string{i.Code},
	})
	return err == nil
}
