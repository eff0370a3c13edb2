package agentauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
)

const (
	maxCode      = 256      // bytes of an interaction's code
	maxPlace     = 2048     // bytes of an interaction's URL
	maxQuestions = 10       // that a server may ask about one request
	maxQuestion  = 16 << 10 // bytes of one
)

// An Interaction is what a person must do before a request goes on (AAuth, section
// "Interaction"). Printed, it does not show its code.
type Interaction struct {
	URL      string // where they are to go: https, without a query; compare its host with one that you know
	Code     string // that they say there; it is good once
	Resource string // the origin of the resource that the agent calls
}

// Link returns the URL for a person to open, which has the code in it.
func (i Interaction) Link() string { return i.URL + "?code=" + url.QueryEscape(i.Code) }

// String names the place alone.
func (i Interaction) String() string { return "interaction at " + i.URL }

// Format keeps the code out of whatever prints i.
func (i Interaction) Format(s fmt.State, _ rune) { io.WriteString(s, i.String()) }

// MarshalText does so in JSON.
func (i Interaction) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// LogValue does so in logs.
func (i Interaction) LogValue() slog.Value { return slog.StringValue(i.String()) }

// interaction checks what a server says of one. Its code may be anything that can
// be shown.
func (c remote) interaction(need Requirement, resource string) (Interaction, error) {
	u, err := url.Parse(need.URL)
	switch {
	case err != nil, c.checkURL(need.URL) != nil, len(need.URL) > maxPlace, strings.ContainsAny(need.URL, "?#"), strings.ContainsFunc(need.URL, isInvisible):
		return Interaction{}, errors.New("agentauth: interaction: url: want https://host/path without a query")
	case need.Code == "", len(need.Code) > maxCode, strings.ContainsFunc(need.Code, isInvisible):
		return Interaction{}, errors.New("agentauth: interaction: code is missing, or cannot be shown")
	}
	return Interaction{URL: u.String(), Code: need.Code, Resource: resource}, nil
}

func isInvisible(r rune) bool { return r < ' ' || r == 0x7f || r > 0x7f }

// A talk is what goes on about a request that a server has put off.
type talk struct {
	person   *PersonServer
	who      *caller
	resource string // the origin that the request was for
	server   string // the origin that has put it off

	// send signs a request for the place where the request waits. body is JSON; nil:
	// none. Any answer but success is a [*StatusError].
	send func(ctx context.Context, method, url string, body any) error

	// update checks a request that is to take the place of this one; nil: none may.
	update func(ctx context.Context, r ClarificationReply) error

	shown     map[Interaction]bool
	answered  string // the question that was answered last; "": another was none since
	questions int
}

// secrets are the codes that no error may hold.
func (t *talk) secrets() []string {
	var codes []string
	for i := range t.shown {
		codes = append(codes, i.Code)
	}
	return codes
}

// heed does what a 202 requires. What it does not know, it waits for.
func (t *talk) heed(ctx context.Context, url string, s step) error {
	need := RequirementOf(s.header)
	switch {
	case need.Name == wantsInteraction:
		return t.cancelled(ctx, url, t.interact(ctx, need))
	case need.Name == wantsClarification, need.Name == "" && s.body.Has("clarification"):
		return t.cancelled(ctx, url, t.clarify(ctx, url, s))
	}
	t.answered = ""
	return nil
}

// cancelled withdraws a request that nobody will go on with.
func (t *talk) cancelled(ctx context.Context, url string, err error) error {
	if err != nil && ctx.Err() == nil {
		_ = t.send(ctx, http.MethodDelete, url, nil) // which would have ended by itself
	}
	return err
}

// interact tells a person where to go, once: through the person server if that is
// not the one who asks, or else by the callback.
func (t *talk) interact(ctx context.Context, need Requirement) error {
	i, err := t.person.remote.interaction(need, t.resource)
	if err != nil || t.shown[i] {
		return err
	}
	if t.shown == nil {
		t.shown = make(map[Interaction]bool)
	}
	if len(t.shown) >= maxQuestions {
		return errors.New("agentauth: interaction: the server wants too many")
	}
	t.shown[i] = true
	if t.person.relay(ctx, i, t.who, t.server) {
		return nil
	}
	if t.person.c.Interact == nil {
		return &CallbackError{wantsInteraction}
	}
	return t.person.c.Interact(ctx, i)
}
