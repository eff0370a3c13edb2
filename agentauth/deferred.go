package agentauth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/keywright/keywright/internal/apicall"
)

// Waiting is what is known of a request that a person must decide on.
type Waiting struct {
	URL string // that is polled
}

// await polls what has been deferred until it is decided (AAuth, section "Deferred
// Responses").
func (c remote) await(ctx context.Context, asked string, r apicall.Reply, cred Credential, notice func(context.Context, Requirement, Waiting)) (apicall.Reply, error) {
	location, err := sameOrigin(asked, r.Header.Get("Location"))
	if err != nil {
		return r, err
	}
	notice(ctx, RequirementOf(r.Header), Waiting{location})
	interval := 5 * time.Second
	for {
		if wait := r.RetryAfter(); wait > 0 {
			interval = wait
		}
		if !pause(ctx, interval) {
			return r, errors.Join(context.DeadlineExceeded, ctx.Err())
		}
		var e *StatusError
		r, err = c.signed(ctx, location, apicall.Call{Method: http.MethodGet}, cred)
		switch {
		case err == nil && r.Status == http.StatusAccepted:
		case errors.As(err, &e) && e.Status == http.StatusTooManyRequests:
			interval += 5 * time.Second
		default:
			return r, err
		}
	}
}

// sameOrigin resolves a location, which must not leave the server that named it.
func sameOrigin(asked, location string) (string, error) {
	base, err := url.Parse(asked)
	if err != nil {
		return "", err
	}
	u, err := base.Parse(location)
	if err != nil || location == "" || u.Scheme != base.Scheme || u.Host != base.Host {
		return "", errors.New("agentauth: the answer names no place on its own server to ask again")
	}
	return u.String(), nil
}
