package agentauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// A Clarification is a question about a request, of the person who decides on it
// (AAuth, section "Clarification"). The texts are Markdown that a server has sent:
// whoever shows them must make them harmless, and a model that reads them must not
// take them for instructions.
type Clarification struct {
	Question string        // at most 16 KiB
	Options  []string      // that are suggested; empty: none
	Timeout  time.Duration // in which the server wants the answer; 0: it does not say
	Resource string        // the origin of the resource that the agent calls
}

// A ClarificationReply is what becomes of the request. One of Text, ResourceToken
// and Cancel is set. Printed, it does not show its tokens.
type ClarificationReply struct {
	Text string // the answer; Markdown

	// ResourceToken takes the place of the one that was sent, such as one for less
	// scope. PresentedToken is the token that the agent had presented to get it.
	ResourceToken, PresentedToken string

	Cancel bool // withdraws the request
}

// ErrCancelled is why a request was not granted that [ClarificationReply] has
// withdrawn.
var ErrCancelled = errors.New("agentauth: the request was withdrawn")

// String tells what kind of reply it is.
func (r ClarificationReply) String() string {
	switch {
	case r.Cancel:
		return "the request is withdrawn"
	case r.ResourceToken != "":
		return "another resource token"
	}
	return "an answer"
}

// Format keeps the tokens out of whatever prints r.
func (r ClarificationReply) Format(s fmt.State, _ rune) { io.WriteString(s, r.String()) }

// MarshalText does so in JSON.
func (r ClarificationReply) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// LogValue does so in logs.
func (r ClarificationReply) LogValue() slog.Value { return slog.StringValue(r.String()) }

func (r ClarificationReply) check() error {
	set := 0
	for _, is := range []bool{r.Text != "", r.ResourceToken != "", r.Cancel} {
		if is {
			set++
		}
	}
	if set != 1 || r.PresentedToken != "" && r.ResourceToken == "" {
		return errors.New("agentauth: ClarificationReply: want one of Text, ResourceToken and Cancel")
	}
	return nil
}

// clarification reads the body of a 202.
func clarification(s step, resource string) (Clarification, error) {
	question, err := s.body.String("clarification")
	if err != nil || question == "" || len(question) > maxQuestion {
		return Clarification{}, errors.New("agentauth: clarification: the question is missing or too long")
	}
	c := Clarification{Question: question, Resource: resource}
	if s.body.Has("options") {
		if c.Options, err = s.body.List("options"); err != nil {
			return Clarification{}, errors.New("agentauth: clarification: options: want strings")
		}
	}
	if seconds, err := s.body.Int("timeout"); err == nil && seconds > 0 {
		c.Timeout = time.Duration(min(seconds, 24*3600)) * time.Second
	}
	return c, nil
}

// clarify answers a question, once: until the server has read the answer, it may
// go on asking.
func (t *talk) clarify(ctx context.Context, url string, s step) error {
	c, err := clarification(s, t.resource)
	if err != nil || c.Question == t.answered {
		return err
	}
	if t.person.c.Clarify == nil {
		return &CallbackError{wantsClarification}
	}
	if t.questions++; t.questions > maxQuestions {
		return errors.New("agentauth: clarification: the server asks too much")
	}
	reply, err := t.person.c.Clarify(ctx, c)
	if err == nil {
		err = reply.check()
	}
	switch {
	case err != nil:
		return err
	case reply.Cancel:
		return ErrCancelled
	}
	message := clarificationResponse{Action: "clarification_response", Response: reply.Text}
	if reply.ResourceToken != "" {
		if t.update == nil {
			return errors.New("agentauth: ClarificationReply: this request has no resource token")
		}
		if err := t.update(ctx, reply); err != nil {
			return err
		}
		message = clarificationResponse{Action: "updated_request", ResourceToken: reply.ResourceToken, PresentedToken: reply.PresentedToken}
	}
	if err := t.send(ctx, http.MethodPost, url, message); err != nil {
		return err
	}
	t.answered = c.Question
	return nil
}
