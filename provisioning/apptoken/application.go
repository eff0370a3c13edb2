package apptoken

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

// The store kinds of this package.
const (
	KindApplication = "apptoken.application" // parent of an application's tokens; comes with the first, and stays
	KindToken       = "apptoken.token"       // what is known of a token; parent of its key
	KindWindow      = "apptoken.window"      // when the hour of a caller ends; see Config.Rate
)

// An application is its record as it was read. Tokens of another instance than
// the record's are gone for good.
type application struct {
	applicationRecord
	app     Application
	version int64 // 0: there is none yet
}

func applicationKey(app Application) store.Key {
	return store.Key{Kind: KindApplication, ID: store.ID(app.Organization, app.ClientID)}
}

// application reads the record of an application. One that was deleted is not
// found, whatever the Directory says.
func (h *Handler) application(ctx context.Context, app Application) (application, error) {
	a, err := h.anyApplication(ctx, app)
	if err == nil && a.Deleted {
		return application{}, notFound(errors.New("the application was deleted"))
	}
	return a, err
}

func (h *Handler) anyApplication(ctx context.Context, app Application) (application, error) {
	a := application{app: app}
	records, err := h.host.Store.Get(ctx, applicationKey(app))
	switch {
	case err != nil:
		return application{}, keywright.Wrap(keywright.CodeUnavailable, err)
	case !records[0].Exists():
		a.Instance, a.Org, a.ClientID = rand.Text(), app.Organization, app.ClientID
		return a, nil
	}
	a.version = records[0].Version
	if err := json.Unmarshal(records[0].Data, &a.applicationRecord); err != nil {
		return application{}, keywright.Wrap(keywright.CodeInternal, fmt.Errorf("apptoken: record of application %s: %w", records[0].ID, err))
	}
	return a, nil
}

func (a application) parent() keywright.Parent {
	return keywright.Parent{Key: applicationKey(a.app), Instance: a.Instance}
}

func (a application) record() (store.Record, error) {
	data, err := json.Marshal(a.applicationRecord)
	return store.Record{Kind: KindApplication, ID: applicationKey(a.app).ID, Version: a.version, Data: data}, err
}

// write makes the op that inserts or replaces the record.
func (a application) write() (store.Op, error) {
	record, err := a.record()
	if a.version == 0 {
		return store.Insert(record), err
	}
	return store.Replace(record), err
}

// stand makes the op that lets a token hang on the record. alone: no other may
// come at the same time, so that they can be counted.
func (a application) stand(alone bool) (store.Op, error) {
	if a.version != 0 && !alone {
		key := applicationKey(a.app)
		return store.Check(store.Record{Kind: key.Kind, ID: key.ID, Version: a.version}), nil
	}
	return a.write()
}

// DisableApplication refuses all tokens of an application from the next request
// on, in every process, and makes no new ones.
func (h *Handler) DisableApplication(ctx context.Context, actor keywright.Principal, org, clientID string) error {
	return h.setDisabled(ctx, actor, Application{Organization: org, ClientID: clientID}, true)
}

// EnableApplication undoes DisableApplication. After DeleteApplication, new
// tokens can be made again: the old ones stay gone.
func (h *Handler) EnableApplication(ctx context.Context, actor keywright.Principal, org, clientID string) error {
	return h.setDisabled(ctx, actor, Application{Organization: org, ClientID: clientID}, false)
}

func (h *Handler) setDisabled(ctx context.Context, actor keywright.Principal, app Application, disabled bool) error {
	if !isName(app.Organization) || !isName(app.ClientID) {
		return notFound(nil)
	}
	return persist(func() error {
		a, err := h.anyApplication(ctx, app)
		if err != nil || a.Disabled == disabled {
			return err
		}
		name := "apptoken.application_enabled"
		if a.Disabled, a.Deleted = disabled, false; disabled {
			name = "apptoken.application_disabled"
		}
		op, err := a.write()
		if err != nil {
			return err
		}
		return h.host.Commit(ctx, applicationEvent(name, actor, app), op)
	})
}

func applicationEvent(name string, by keywright.Principal, app Application) keywright.Event {
	return keywright.Event{Name: name, Actor: actor(by), Target: subject(app), Attrs: map[string]string{
		AttrOrganization: app.Organization, "client_id": app.ClientID, "auth_method": authMethod(by),
	}}
}

// DeleteApplication ends all tokens of an application for good, in one step and
// in every process, and makes no new ones until EnableApplication is called, so
// that a request that was under way cannot leave one behind. Call it when the
// host deletes the application; org and clientID are as the host spells them. An
// error may mean that the tokens have ended and their records are not all
// cleared away: to call it again is right.
func (h *Handler) DeleteApplication(ctx context.Context, actor keywright.Principal, org, clientID string) error {
	app := Application{Organization: org, ClientID: clientID}
	if !isName(org) || !isName(clientID) {
		return notFound(nil)
	}
	err := persist(func() error {
		a, err := h.anyApplication(ctx, app)
		if err != nil || a.Deleted {
			return err
		}
		left, err := h.countTokens(ctx, a)
		if err != nil {
			return err
		}
		// The record stays, so that a mint that has read that there is none fails.
		a.Instance, a.Disabled, a.Deleted = rand.Text(), true, true
		op, err := a.write()
		if err != nil {
			return err
		}
		e := applicationEvent("apptoken.application_deleted", actor, app)
		e.Attrs["kind"], e.Attrs["tokens"] = "delete_application", strconv.Itoa(left)
		return h.host.Commit(ctx, e, op)
	})
	if err != nil {
		return err
	}
	return h.clear(ctx, app)
}

// Sync compares the applications that have had tokens with the Directory: what
// it does not know any more is deleted, as by DeleteApplication, and what was
// deleted and is known again may have tokens again. Call it at start-up where
// the Directory is a configuration, which nobody tells when it changes.
func (h *Handler) Sync(ctx context.Context, actor keywright.Principal) error {
	var all []applicationRecord
	for r, err := range h.host.Store.List(ctx, store.Query{Kind: KindApplication}) {
		var a applicationRecord
		if err == nil {
			err = json.Unmarshal(r.Data, &a)
		}
		if err != nil {
			return keywright.Wrap(keywright.CodeUnavailable, err)
		}
		all = append(all, a)
	}
	for _, a := range all {
		_, err := h.directory.Application(ctx, a.Org, a.ClientID)
		if err != nil {
			err = directoryError(err)
		}
		switch {
		case err == nil && a.Deleted:
			err = h.EnableApplication(ctx, actor, a.Org, a.ClientID)
		case err != nil && keywright.AsError(err).Code == keywright.CodeNotFound:
			err = h.DeleteApplication(ctx, actor, a.Org, a.ClientID)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (h *Handler) countTokens(ctx context.Context, a application) (int, error) {
	n := 0
	for _, err := range h.host.Store.List(ctx, store.Query{Kind: KindToken, Prefix: a.prefix()}) {
		if err != nil {
			return 0, keywright.Wrap(keywright.CodeUnavailable, err)
		}
		n++
	}
	return n, nil
}

// clear deletes what is left of the tokens of instances that are gone. They
// have ended already, so there is nothing in it for the audit.
func (h *Handler) clear(ctx context.Context, app Application) error {
	a, err := h.anyApplication(ctx, app)
	if err != nil {
		return err
	}
	q := store.Query{Kind: KindToken, Prefix: store.ID(app.Organization, app.ClientID) + "/"}
	for r, err := range h.host.Store.List(ctx, q) {
		if err != nil {
			return keywright.Wrap(keywright.CodeUnavailable, err)
		}
		t, err := readToken(r)
		if err != nil {
			return err
		}
		if t.Instance == a.Instance {
			continue
		}
		ops, err := h.deletion(ctx, r, t)
		if err == nil {
			err = h.host.Store.Commit(ctx, ops...)
		}
		if err != nil && !errors.Is(err, store.ErrConflict) { // else another was first
			return keywright.Wrap(keywright.CodeUnavailable, err)
		}
	}
	return nil
}
