package apptoken

import (
	"context"
	"errors"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/store"
)

// A Page says which part of a list is wanted.
type Page struct {
	Cursor string // Tokens.Next of the page before; empty: the first page
	Limit  int    // 1 to 100; 0: 50
}

// Tokens are a page of a list, newest first.
type Tokens struct {
	Tokens []Token
	Next   string // the Cursor of the next page; empty: that was all
}

const (
	defaultPage = 50
	maxPage     = 100
)

// List returns tokens of an application on behalf of caller, who needs the
// right to. Those that have expired are left out.
func (h *Handler) List(ctx context.Context, caller keywright.Principal, org, clientID string, p Page) (Tokens, error) {
	a, err := h.admit(ctx, caller, org, clientID, toRead)
	if err != nil {
		return Tokens{}, err
	}
	return h.list(ctx, a, p)
}

func (h *Handler) list(ctx context.Context, a admitted, p Page) (Tokens, error) {
	parent, err := h.application(ctx, a.app)
	if err != nil {
		return Tokens{}, err
	}
	q := store.Query{Kind: KindToken, Prefix: parent.prefix(), Reverse: true}
	if p.Cursor != "" {
		last, err := parseCursor(p.Cursor)
		if err != nil {
			return Tokens{}, err
		}
		q.After = parent.tokenKey(last).ID
	}
	switch {
	case p.Limit == 0:
		p.Limit = defaultPage
	case p.Limit < 0 || p.Limit > maxPage:
		return Tokens{}, errLimit()
	}
	q.Limit = p.Limit + 1
	var records []tokenRecord
	for r, err := range h.host.Store.List(ctx, q) {
		if err != nil {
			return Tokens{}, keywright.Wrap(keywright.CodeUnavailable, err)
		}
		t, err := readToken(r)
		if err != nil {
			return Tokens{}, err
		}
		records = append(records, t)
	}
	return h.page(ctx, records, p.Limit)
}

func errLimit() error {
	return keywright.Errorf(keywright.CodeInvalidRequest, "limit: want 1 to %d", maxPage)
}

// page describes up to limit of records; if there are more, there is a next page.
func (h *Handler) page(ctx context.Context, records []tokenRecord, limit int) (Tokens, error) {
	var tokens Tokens
	if len(records) > limit {
		records = records[:limit]
		last, _ := parseUUID(records[limit-1].ID)
		tokens.Next = last.cursor()
	}
	keys := make([]string, len(records))
	for i, t := range records {
		keys[i] = t.Key
	}
	infos, err := h.host.Keys.LookupAll(ctx, keys...)
	if err != nil {
		return Tokens{}, err
	}
	tokens.Tokens = make([]Token, len(records))
	for i, t := range records {
		tokens.Tokens[i] = t.token(infos[i])
	}
	return tokens, nil
}

// Delete ends a token on behalf of caller, who needs the right to, from the
// next request on and in every process. One that is not of this application is
// CodeNotFound, like one that does not exist.
func (h *Handler) Delete(ctx context.Context, caller keywright.Principal, org, clientID, id string) error {
	a, err := h.admit(ctx, caller, org, clientID, toAdminister)
	if err != nil {
		return err
	}
	return h.delete(ctx, a, id)
}

func (h *Handler) delete(ctx context.Context, a admitted, text string) error {
	err := endpoint.Retry(func() error { return h.tryDelete(ctx, a, text) })
	if err != nil {
		return refusal(err, a.caller, a.app.Organization, a.app.ClientID)
	}
	return nil
}

func (h *Handler) tryDelete(ctx context.Context, a admitted, text string) error {
	id, ok := parseUUID(text)
	if !ok {
		return notFound(errors.New("not the id of a token"))
	}
	parent, err := h.application(ctx, a.app)
	if err != nil {
		return err
	}
	records, err := h.host.Store.Get(ctx, parent.tokenKey(id))
	switch {
	case err != nil:
		return err
	case !records[0].Exists():
		return notFound(errors.New("no such token"))
	}
	t, err := readToken(records[0])
	if err != nil {
		return err
	}
	ops, err := h.deletion(ctx, records[0], t)
	if err != nil {
		return err
	}
	return h.host.Commit(ctx, t.event("apptoken.revoked", "revoke_oauth_api_token", a), ops...)
}

// deletion makes the ops that end a token. The end of its record would be
// enough: the key is deleted so that nothing is left.
func (h *Handler) deletion(ctx context.Context, r store.Record, t tokenRecord) ([]store.Op, error) {
	records, err := h.host.Store.Get(ctx, store.Key{Kind: keywright.KindKey, ID: t.Key})
	if err != nil {
		return nil, err
	}
	ops := []store.Op{store.Delete(r)}
	if records[0].Exists() {
		ops = append(ops, store.Delete(records[0]))
	}
	return ops, nil
}
