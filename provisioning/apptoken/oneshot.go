package apptoken

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/internal/oidc"
	"github.com/keywright/keywright/store"
)

// The store kinds of zero-touch.
const (
	// KindZeroTouch has one record once ZeroTouch.OneShot has closed it.
	KindZeroTouch = "apptoken.zerotouch"

	// KindIdentity has a record for each identity token that has made an
	// application token, until the identity token cannot be accepted any more.
	KindIdentity = "apptoken.identity"
)

var closedKey = store.Key{Kind: KindZeroTouch, ID: "closed"}

var (
	errClosed       = errors.New("zero-touch is closed: a super user has made the one token")
	errIdentityUsed = errors.New("the identity token, or another with its jti, has made an application token before")
)

// closed reports whether OneShot has let its one mint through.
func (z *zeroTouch) closed(ctx context.Context) (bool, error) {
	if !z.oneShot {
		return false, nil
	}
	records, err := z.host.Store.Get(ctx, closedKey)
	return err == nil && records[0].Exists(), err
}

// byPassword reports whether p is a super user who came by password, or the
// holder of a token that goes back to one, over however many others.
func byPassword(p keywright.Principal) bool {
	return isZeroTouch(p) && p.Attrs[attrIdentity] == "" || isToken(p) && p.Attrs[attrByPassword] == "true"
}

// minting returns what a mint by caller adds to its Commit, and the longest
// life that the token may have (0: no limit of its own). Where the Commit then
// fails with store.ErrExists, another mint was faster: call it again, which
// tells. For callers other than super users of zero-touch there is nothing.
func (z *zeroTouch) minting(ctx context.Context, caller keywright.Principal) (ops []store.Op, most time.Duration, err error) {
	if byPassword(caller) {
		most = z.maxLifetime
	}
	if !isZeroTouch(caller) {
		return nil, most, nil
	}
	if !z.enabled {
		return nil, 0, z.barred(ctx, caller, errFlagOff) // nobody has let it in
	}
	var marks []store.Record
	var taken []error // by mark: what it means that it stands already
	if identity := caller.Attrs[attrIdentity]; identity != "" {
		until := caller.Expires.Add(oidc.Skew + time.Minute)
		marks, taken = append(marks, store.Record{Kind: KindIdentity, ID: identity, Expires: until, Data: []byte("{}")}), append(taken, errIdentityUsed)
	}
	if z.oneShot {
		data, err := json.Marshal(map[string]any{"at": z.host.Hooks.Now(), "by": caller.Credential})
		if err != nil {
			return nil, 0, keywright.Wrap(keywright.CodeInternal, err)
		}
		marks, taken = append(marks, store.Record{Kind: closedKey.Kind, ID: closedKey.ID, Data: data}), append(taken, errClosed)
	}
	if len(marks) == 0 {
		return nil, most, nil
	}
	keys := make([]store.Key, len(marks))
	for i, m := range marks {
		keys[i], ops = m.Key(), append(ops, store.Insert(m))
	}
	standing, err := z.host.Store.Get(ctx, keys...)
	if err != nil {
		return nil, 0, keywright.Wrap(keywright.CodeUnavailable, err)
	}
	for i, r := range standing {
		if r.Exists() {
			return nil, 0, z.barred(ctx, caller, taken[i])
		}
	}
	return ops, most, nil
}

// barred is the answer to a super user who may not make a token.
func (z *zeroTouch) barred(ctx context.Context, caller keywright.Principal, cause error) error {
	facts := map[string]string{attrAuthMethod: caller.Attrs[attrAuthMethod], "user": asFact(caller.Subject)}
	if token := caller.Attrs[attrToken]; token != "" {
		facts[attrToken] = token
	}
	err := z.refuse(keywright.RemoteAddr(ctx), "", cause, facts)
	z.host.Hooks.Refused(ctx, eventSuperUserRefused, err)
	return err
}

// reopen undoes what OneShot has done.
func (z *zeroTouch) reopen(ctx context.Context, actor keywright.Principal) error {
	return endpoint.Retry(func() error {
		records, err := z.host.Store.Get(ctx, closedKey)
		if err != nil || !records[0].Exists() {
			return err
		}
		e := keywright.Event{Name: "apptoken.zero_touch_reopened", Actor: actor.Credential, Target: closedKey.ID}
		return z.host.Commit(ctx, e, store.Delete(records[0]))
	})
}

// ReopenZeroTouch lets super users in again after ZeroTouch.OneShot has closed
// on them, until the next of them makes a token. Where it is open it does
// nothing. The application tokens that exist are none the worse.
func (h *Handler) ReopenZeroTouch(ctx context.Context, actor keywright.Principal) error {
	return h.zero.reopen(ctx, actor)
}
