package agentauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/keywright/keywright/internal/apicall"
	"github.com/keywright/keywright/internal/strictjson"
)

// Waiting is what is known of a request that a person must decide on.
type Waiting struct {
	URL string // that is polled

	// Interaction is where they are to go and what they are to say there; zero: the
	// server asks for no such thing.
	Interaction Interaction
}

const (
	longPoll     = 45 * time.Second // how long a server may hold back the answer to a poll
	usualPause   = 5 * time.Second  // between two polls, where the server does not say
	leastPause   = time.Second      // between two polls, whatever it says
	slowerBy     = 5 * time.Second  // longer, for each time that the server wants fewer polls
	maxLostPolls = 3                // in a row, for want of a connection
)

// A step is one answer on the way of a request that was put off.
type step struct {
	status int
	header http.Header
	body   strictjson.Members // empty where it is none
}

// code is the error that the body tells.
func (s step) code() string {
	code, _ := s.body.String("error")
	return code
}

// undecided reports whether the server is to be asked again (AAuth, section
// "Deferred Responses"). Any status of the body is as good as "pending".
func (s step) undecided() bool {
	switch s.status {
	case http.StatusAccepted, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true
	case http.StatusBadGateway:
		return s.code() == "as_unreachable"
	}
	return false
}

// A deferral is a request that a server has put off. It is polled until it is
// decided.
type deferral struct {
	asked    string        // the URL of the request
	patience time.Duration // 0: as long as the context

	// poll sends a signed GET. Its error is one of the connection.
	poll func(ctx context.Context, url string) (step, error)

	// heed is told of each 202, before the next poll. Its error ends the waiting.
	heed func(ctx context.Context, url string, s step) error
}

// await returns without an error when the last step was the decision. first is the
// 202 itself.
func (d deferral) await(parent context.Context, first step) error {
	ctx := parent
	if d.patience > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(parent, d.patience)
		defer cancel()
	}
	var location string
	pace := pace{interval: usualPause}
	lost := 0
	for s := first; s.undecided(); {
		var err error
		if s.status == http.StatusAccepted {
			if location, err = d.locate(s, location); err == nil {
				err = d.heed(ctx, location, s)
			}
			if err != nil {
				return d.ended(parent, ctx, err)
			}
		}
		if !pause(ctx, pace.next(s)) {
			return d.ended(parent, ctx, context.DeadlineExceeded)
		}
		next, err := d.poll(ctx, location)
		switch lost++; {
		case err == nil:
			s, lost = next, 0
		case lost > maxLostPolls, ctx.Err() != nil:
			return d.ended(parent, ctx, err)
		default: // the way there, and not the server
			s = step{status: http.StatusServiceUnavailable}
		}
	}
	return nil
}

// locate is where to poll after a step. All but the first may leave it as it was.
func (d deferral) locate(s step, before string) (string, error) {
	location := s.header.Get("Location")
	if location == "" && before != "" {
		return before, nil
	}
	return sameOrigin(d.asked, location)
}

// ended tells whose patience has ended, if one has.
func (d deferral) ended(parent, ctx context.Context, err error) error {
	switch {
	case parent.Err() != nil:
		return fmt.Errorf("agentauth: nothing was decided: %w", parent.Err())
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("agentauth: nothing was decided in time: %w", context.DeadlineExceeded)
	}
	return err
}

// A pace is how often a server is asked.
type pace struct {
	interval time.Duration
	slow     time.Duration // longer than that
	begun    bool
}

// next is how long to wait after a step.
func (p *pace) next(s step) time.Duration {
	wait := p.interval + p.slow
	after, said := retryAfter(s.header)
	switch {
	case s.status == http.StatusTooManyRequests:
		p.slow += slowerBy
		wait = max(p.interval+p.slow, after)
	case said && s.status == http.StatusAccepted:
		p.interval = after
		wait = after + p.slow
	case said:
		wait = max(wait, after)
	}
	if p.begun { // at once, at first
		wait = max(wait, leastPause)
	}
	p.begun = true
	return wait
}

// retryAfter reads Retry-After in seconds, of which 0 says something too.
func retryAfter(h http.Header) (time.Duration, bool) {
	const longest = 24 * 3600
	seconds, err := strconv.ParseUint(h.Get("Retry-After"), 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, false
	}
	return time.Duration(min(seconds, longest)) * time.Second, true
}

// await polls what has been deferred until it is decided, or ctx ends. An answer
// other than success is a [*StatusError]. notice is told once.
func (c remote) await(ctx context.Context, asked string, r apicall.Reply, cred Credential, notice func(context.Context, Requirement, Waiting)) (apicall.Reply, error) {
	told := false
	return c.follow(ctx, deferral{asked: asked, heed: func(ctx context.Context, url string, s step) error {
		if !told {
			told = true
			notice(ctx, RequirementOf(s.header), Waiting{URL: url})
		}
		return nil
	}}, r, func(ctx context.Context, url string) (apicall.Reply, error) {
		return c.signed(ctx, url, pollRequest(), cred)
	})
}

// pollRequest asks a server to hold back its answer until there is news.
func pollRequest() apicall.Call {
	return apicall.Call{Method: http.MethodGet, Wait: longPoll, Header: http.Header{"Prefer": {preferWait}}}
}

// preferWait is longPoll as it travels (RFC 7240).
const preferWait = "wait=45"

// follow makes d poll by poll, and returns the last answer.
func (c remote) follow(ctx context.Context, d deferral, last apicall.Reply, poll func(context.Context, string) (apicall.Reply, error)) (apicall.Reply, error) {
	var verdict error
	d.poll = func(ctx context.Context, url string) (step, error) {
		r, err := poll(ctx, url)
		if _, answered := errors.AsType[*StatusError](err); err != nil && !answered {
			return step{}, err
		}
		last, verdict = r, err
		return stepOf(r), nil
	}
	if err := d.await(ctx, stepOf(last)); err != nil {
		return last, err
	}
	return last, verdict
}

func stepOf(r apicall.Reply) step {
	members, _ := r.Members()
	return step{r.Status, r.Header, members}
}

// sameOrigin resolves a location, which must not leave the server that named it.
func sameOrigin(asked, location string) (string, error) {
	elsewhere := errors.New("agentauth: the answer names no place on its own server to ask again")
	base, err := url.Parse(asked)
	if err != nil {
		return "", elsewhere
	}
	u, err := base.Parse(location)
	if err != nil || location == "" || u.User != nil || originOfURL(u) != originOfURL(base) {
		return "", elsewhere
	}
	u.Fragment, u.RawFragment = "", ""
	return u.String(), nil
}
