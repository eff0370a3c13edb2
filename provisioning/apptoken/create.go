package apptoken

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/store"
)

// Create makes a token on behalf of caller, who needs the right to. What is
// wrong with s is an error of CodeInvalidRequest, or of CodeInvalidScope; a
// scope beyond the caller's own is CodeInsufficientScope.
func (h *Handler) Create(ctx context.Context, caller keywright.Principal, org, clientID string, s Spec) (NewToken, error) {
	a, err := h.admit(ctx, caller, org, clientID, toAdminister)
	if err != nil {
		return NewToken{}, err
	}
	return h.create(ctx, a, s, h.mint)
}

// Import makes a token whose text is that of one which another server has
// issued, so that those who hold it need not change it. It works while the
// host's ImportedKeys is on. See [keywright.Keys.MintImported].
func (h *Handler) Import(ctx context.Context, caller keywright.Principal, org, clientID string, s Spec, text string) (Token, error) {
	a, err := h.admit(ctx, caller, org, clientID, toAdminister)
	if err != nil {
		return Token{}, err
	}
	made, err := h.create(ctx, a, s, func(spec keywright.KeySpec) (string, string, []store.Op, error) {
		id, ops, err := h.host.Keys.MintImported(spec, text)
		return id, "", ops, err
	})
	return made.Token, err
}

// mint is how a new key is made.
func (h *Handler) mint(spec keywright.KeySpec) (id, text string, ops []store.Op, err error) {
	m, err := h.host.Keys.Mint(spec)
	return m.ID, m.Text, []store.Op{m.Op}, err
}

type minter func(keywright.KeySpec) (id, text string, ops []store.Op, err error)

// create makes the token, and begins again while others change what it has read.
func (h *Handler) create(ctx context.Context, a admitted, s Spec, mint minter) (NewToken, error) {
	made, err := h.tryCreate(ctx, a, s, mint)
	if err != nil {
		return NewToken{}, refusal(err, a.caller, a.app.Organization, a.app.ClientID)
	}
	return made, nil
}

func (h *Handler) tryCreate(ctx context.Context, a admitted, s Spec, mint minter) (made NewToken, err error) {
	if s.Name, err = checkName(s.Name); err != nil {
		return NewToken{}, err
	}
	if s.Scopes, err = checkScopes(s.Scopes); err != nil {
		return NewToken{}, err
	}
	if err := mayGrant(a.scopes, s.Scopes); err != nil {
		return NewToken{}, err
	}
	issue := func() error {
		made, err = h.issue(ctx, a, s, mint)
		return err
	}
	if h.policy.MaxTokens == 0 {
		err = endpoint.Retry(issue)
		return made, err
	}
	release, err := h.turns.take(ctx, subject(a.app))
	if err != nil {
		return NewToken{}, err
	}
	defer release()
	err = persist(issue)
	return made, err
}

// persist is endpoint.Retry for changes that many others may get in the way of:
// the tokens of an application, where they are counted, come one by one.
func persist(do func() error) (err error) {
	for range 50 {
		err = endpoint.Retry(do)
		if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrExists) {
			break
		}
	}
	return err
}

// issue writes the token, its key, the event, and that the application has not
// changed since it was read, in one Commit.
func (h *Handler) issue(ctx context.Context, a admitted, s Spec, mint minter) (NewToken, error) {
	ops, most, err := h.zero.minting(ctx, a.caller)
	if err != nil {
		return NewToken{}, err
	}
	d, err := h.policy.decide(lifetime{s.Lifetime, s.Never}, most)
	if err != nil {
		return NewToken{}, err
	}
	parent, err := h.application(ctx, a.app)
	if err != nil {
		return NewToken{}, err
	}
	if err := h.room(ctx, parent); err != nil {
		return NewToken{}, err
	}
	now := h.host.Hooks.Now()
	t := tokenRecord{
		ID: h.ids.next(now).String(), Name: s.Name, Scope: strings.Join(s.Scopes, " "), Created: now.UTC().Truncate(time.Second),
		CreatedBy: cmp.Or(a.caller.Subject, a.caller.Credential), AuthMethod: authMethod(a.caller), Instance: parent.Instance,
	}
	if d > 0 {
		t.Expires = t.Created.Add(d)
	}
	return h.commit(ctx, a, parent, t, mint, ops)
}

// room reports whether the application may have another token.
func (h *Handler) room(ctx context.Context, parent application) error {
	if parent.Disabled {
		return keywright.Errorf(keywright.CodeConflict, "the application is disabled")
	}
	if h.policy.MaxTokens == 0 {
		return nil
	}
	switch n, err := h.countTokens(ctx, parent); {
	case err != nil:
		return err
	case n >= h.policy.MaxTokens:
		return keywright.Errorf(keywright.CodeInvalidRequest, "Token limit reached: maximum %d non-expired tokens per application", h.policy.MaxTokens)
	}
	return nil
}

func (h *Handler) commit(ctx context.Context, a admitted, parent application, t tokenRecord, mint minter, ops []store.Op) (NewToken, error) {
	key := store.Key{Kind: KindToken, ID: parent.prefix() + t.ID}
	attrs := map[string]string{
		AttrOrganization: a.app.Organization, AttrApplication: a.app.ClientID, AttrTokenID: t.ID, AttrCreatedBy: t.CreatedBy,
	}
	if byPassword(a.caller) {
		attrs[attrByPassword] = "true"
	}
	id, text, made, err := mint(keywright.KeySpec{
		Kind: h.kind, Method: keywright.MethodProvisioning, Issuer: h.issuer, Subject: subject(a.app), Scopes: expand(strings.Fields(t.Scope)), Attrs: attrs,
		Description: "application token " + t.ID, Expires: t.Expires,
		// The token's own record is a parent too, so that its end is that of
		// keys which the host has rotated it to as well.
		Parents: []keywright.Parent{parent.parent(), {Key: key}},
	})
	if err != nil {
		return NewToken{}, err
	}
	t.Key = id
	stands, err := parent.stand(h.policy.MaxTokens > 0)
	if err != nil {
		return NewToken{}, err
	}
	data, err := json.Marshal(t)
	if err != nil {
		return NewToken{}, err
	}
	ops = append(ops, stands, store.Insert(store.Record{Kind: key.Kind, ID: key.ID, Expires: t.Expires, Data: data}))
	err = h.host.Commit(ctx, t.event("apptoken.created", "create_oauth_api_token", a), append(ops, made...)...)
	if op, ok := errors.AsType[*store.OpError](err); ok && op.Op.Record.Kind == keywright.KindKeyImported {
		return NewToken{}, keywright.Errorf(keywright.CodeConflict, "a token of this text was imported before")
	}
	if err != nil {
		return NewToken{}, err
	}
	return NewToken{t.token(keywright.KeyInfo{}), text}, nil
}
