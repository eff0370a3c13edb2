package agentauth_test

import (
	"context"
	"errors"
	"iter"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/store"
)

// shaky is a store that fails one call of those that are counted.
type shaky struct {
	store.Store
	until int // calls before the one that fails
}

var errShaky = errors.New("the database has gone")

func (s *shaky) fails() bool {
	s.until--
	return s.until == -1
}

func (s *shaky) Get(ctx context.Context, keys ...store.Key) ([]store.Record, error) {
	if s.fails() {
		return nil, errShaky
	}
	return s.Store.Get(ctx, keys...)
}

func (s *shaky) Commit(ctx context.Context, ops ...store.Op) error {
	if s.fails() {
		return errShaky
	}
	return s.Store.Commit(ctx, ops...)
}

func (s *shaky) Add(ctx context.Context, counter string, n int64, until time.Time) (int64, error) {
	if s.fails() {
		return 0, errShaky
	}
	return s.Store.Add(ctx, counter, n, until)
}

func (s *shaky) List(ctx context.Context, q store.Query) iter.Seq2[store.Record, error] {
	if s.fails() {
		return func(yield func(store.Record, error) bool) { yield(store.Record{}, errShaky) }
	}
	return s.Store.List(ctx, q)
}

// TestManagingInTrouble: whichever call of the store fails, it is the server's
// trouble and not an answer: nobody is denied, unknown or admitted for it, nothing
// is half done, and a moment later it works.
func TestManagingInTrouble(t *testing.T) {
	st := new(shaky)
	var secrets *agentauth.EnrollmentSecrets
	w := newWorld(t, worldConfig{store: st.over(), provider: func(c *agentauth.ProviderConfig) {
		secrets, _ = agentauth.NewEnrollmentSecrets(c.Host)
		c.Admission = agentauth.AdmitFirst(secrets.Admit, agentauth.AdmitAfterApproval)
		c.Limits = agentauth.ProviderLimits{PerMinute: -1, AllPerMinute: -1}
	}})
	ctx, p := t.Context(), w.provider
	key := newEd25519(t)
	path, id := "", ""
	var made agentauth.NewSecret
	answered := func(a answer) error {
		switch a.status {
		case 200, 202:
			path = cmpOr(a.header.Get("Location"), issuer)[len(issuer):]
			return nil
		case 503:
			return &keywright.Error{Code: keywright.CodeUnavailable, Err: errShaky}
		}
		return errors.New(a.body)
	}
	const agentID = "aauth:a@ap.example"
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"apply", func() error { return answered(w.tryEnroll(key, `{"agent_id":"`+agentID+`"}`)) }},
		{"apply again", func() error {
			w.clock.advance(time.Second)
			return answered(w.tryEnroll(key, `{"agent_id":"`+agentID+`"}`))
		}},
		{"poll", func() error { return answered(w.poll(key, cmpOr(path, "/enrol/pending/x"))) }},
		{"pending", func() error {
			list, err := p.Pending(ctx)
			if err == nil {
				id = list[0].ID
			}
			return err
		}},
		{"approve", func() error { return second(p.Approve(ctx, person, id)) }},
		{"collect", func() error { return answered(w.poll(key, "/enrol/pending/"+id)) }},
		{"list", func() error { return second(p.Agents(ctx, "", 0)) }},
		{"one", func() error { return second(p.Agent(ctx, agentID)) }},
		{"disable", func() error { return p.DisableAgent(ctx, person, agentID) }},
		{"ban", func() error { return p.BanAgent(ctx, person, agentID) }},
		{"delete", func() error { return p.DeleteAgent(ctx, person, agentID) }},
		{"create a secret", func() (err error) { made, err = secrets.Create(ctx, person, agentauth.SecretSettings{}); return err }},
		{"enrol by it", func() error {
			w.clock.advance(time.Second)
			return answered(w.enrollBy(key, `{}`, "Bearer "+made.Text))
		}},
		{"list secrets", func() error { return second(secrets.List(ctx, "", 0)) }},
		{"delete the secret", func() error { return secrets.Delete(ctx, person, made.ID) }},
	} {
		for n := range 20 {
			before := w.dump()
			st.until = n
			err := step.do()
			failed := st.until < 0
			st.until = -2
			if !failed {
				if err != nil {
					t.Fatalf("%s: %v", step.name, err)
				}
				break
			}
			if !errors.Is(err, errShaky) || keywright.AsError(err).Code != keywright.CodeUnavailable {
				t.Fatalf("%s, call %d fails: %v", step.name, n+1, err)
			}
			if diff := cmp.Diff(before, w.dump()); diff != "" {
				t.Errorf("%s, call %d fails, and the store was changed:\n%s", step.name, n+1, diff)
			}
		}
	}
}

// over puts s over a store of a clock that stands still.
func (s *shaky) over() store.Store {
	s.Store, s.until = &store.Memory{Now: func() time.Time { return time.Unix(1_767_225_600, 0) }}, -2
	return s
}

func cmpOr(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
