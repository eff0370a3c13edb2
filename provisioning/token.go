package provisioning

import (
	"context"
	"errors"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/store"
)

// Tokens describes up to limit enrolment tokens (0: all) whose ids follow
// after, those that were used among them.
func (h *Handler) Tokens(ctx context.Context, after string, limit int) ([]EnrollmentToken, error) {
	var tokens []EnrollmentToken
	for r, err := range h.host.Store.List(ctx, store.Query{Kind: KindEnrollment, After: after, Limit: limit}) {
		if err != nil {
			return nil, keywright.Wrap(keywright.CodeUnavailable, err)
		}
		t, err := readTicket(r)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, h.describeTicket(t))
	}
	return tokens, nil
}

func (h *Handler) describeTicket(t *ticket) EnrollmentToken {
	d := EnrollmentToken{
		Prefix: h.host.Keys.Prefix(TokenKind) + t.Token.ID, Name: t.Name, RunnerID: t.RunnerID, CreatedBy: t.Maker,
		CreatedAt: t.Created, ExpiresAt: t.Expires, Used: !t.Spent.IsZero(),
	}
	if d.Used {
		at := t.Spent.Truncate(time.Second)
		d.UsedAt, d.UsedBy = &at, t.RunnerID
	}
	if t.Again {
		d.ReEnrolled = t.RunnerID
	}
	return d
}

// DeleteToken ends an enrolment that is pending, or forgets a token that was
// used. It takes a token, or how one begins as [EnrollmentToken] has it.
func (h *Handler) DeleteToken(ctx context.Context, actor keywright.Principal, token string) error {
	id, ok := h.tokenID(token)
	if !ok {
		return errTokenNotFound
	}
	return endpoint.Retry(func() error {
		t, err := h.held(ctx, id)
		switch {
		case err != nil:
			return err
		case t.ticket == nil:
			return errTokenNotFound
		}
		ops := t.deletes()
		pending, err := h.host.Store.Get(ctx, pendingKey(t.RunnerID))
		if err != nil {
			return err
		}
		if pending[0].Exists() && pendingTicket(pending[0]) == id {
			ops = append(ops, store.Delete(pending[0]))
		}
		return h.host.Commit(ctx, keywright.Event{Name: "provisioning.token_deleted", Actor: actor.Credential, Target: id, Attrs: t.facts()}, ops...)
	})
}

var errTokenNotFound = &keywright.Error{Code: keywright.CodeNotFound, Detail: "Token not found", Err: errors.New("no such enrolment token")}
