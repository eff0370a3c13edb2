package provisioning

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/internal/token"
	"github.com/keywright/keywright/store"
)

// KindRunner is the store kind of enrolled runners. The record is the parent of
// the runner's keys, so that its end is theirs.
const KindRunner = "provisioning.runner"

type runnerRecord struct {
	Instance   string          `json:"instance"` // see keywright.Parent
	Disabled   bool            `json:"disabled,omitempty"`
	Locked     bool            `json:"locked,omitempty"` // and disabled: its key pair has been copied
	ID         string          `json:"id"`
	Name       string          `json:"name"`
	Hostname   string          `json:"hostname"`
	MAC        string          `json:"mac,omitempty"`
	MachineID  string          `json:"machine_id,omitempty"`
	Devices    json.RawMessage `json:"devices"`
	Scopes     []string        `json:"scopes,omitempty"`
	Tags       []string        `json:"tags,omitempty"`
	Maker      string          `json:"maker"`
	MadeBy     string          `json:"made_by,omitempty"`  // provisioning key
	KeyInst    string          `json:"key_inst,omitempty"` // and its instance
	Key        string          `json:"key,omitempty"`      // public id of its API key
	Thumbprint string          `json:"jkt,omitempty"`      // of its public key
	Sequence   int64           `json:"seq,omitempty"`      // of refreshes by it
	Proved     int64           `json:"proved,omitempty"`   // iat of the proof of the last
	Enrolled   time.Time       `json:"enrolled"`
	Updated    time.Time       `json:"updated"`
}

// A storedRunner is a runner with what a change needs.
type storedRunner struct {
	runnerRecord
	version int64
}

func runnerKey(id string) store.Key { return store.Key{Kind: KindRunner, ID: store.ID(id)} }

func (r storedRunner) record() (store.Record, error) {
	data, err := json.Marshal(r.runnerRecord)
	return store.Record{Kind: KindRunner, ID: store.ID(r.ID), Version: r.version, Data: data}, err
}

func readRunner(r store.Record) (storedRunner, error) {
	s := storedRunner{version: r.Version}
	if err := json.Unmarshal(r.Data, &s.runnerRecord); err != nil {
		return storedRunner{}, spoiled(r, err)
	}
	return s, nil
}

func (r storedRunner) parent() keywright.Parent {
	return keywright.Parent{Key: runnerKey(r.ID), Instance: r.Instance}
}

// runnerSpec is that of the key of the runner that t is for.
func (h *Handler) runnerSpec(t *ticket) keywright.KeySpec {
	s := h.keySpec(storedRunner{runnerRecord: runnerRecord{Instance: t.Instance, ID: t.RunnerID, Name: t.Name, Scopes: t.Scopes, Tags: t.Tags, Maker: t.Maker}})
	if h.limits.RunnerKey > 0 {
		s.Expires = t.Expires.Add(h.limits.RunnerKey)
	}
	return s
}

func (h *Handler) keySpec(r storedRunner) keywright.KeySpec {
	return keywright.KeySpec{
		Kind: RunnerKind, Method: keywright.MethodProvisioning, Issuer: h.base, Subject: r.ID, Scopes: r.Scopes, Attrs: r.attrs(),
		Description: "runner " + r.ID, Parents: []keywright.Parent{r.parent()}, FirstUse: true,
	}
}

func (r storedRunner) attrs() map[string]string {
	attrs := map[string]string{"runner": r.ID, "runner_name": r.Name, "provisioned_by": r.Maker}
	if len(r.Tags) > 0 {
		attrs["tags"] = strings.Join(r.Tags, " ")
	}
	return attrs
}

func runnerNotFound() error { return keywright.Errorf(keywright.CodeNotFound, "Runner not found") }

func (h *Handler) loadRunner(ctx context.Context, id string) (storedRunner, error) {
	if checkRunnerName("runner_id", id) != nil {
		return storedRunner{}, runnerNotFound()
	}
	records, err := h.host.Store.Get(ctx, runnerKey(id))
	switch {
	case err != nil:
		return storedRunner{}, keywright.Wrap(keywright.CodeUnavailable, err)
	case !records[0].Exists():
		return storedRunner{}, runnerNotFound()
	}
	return readRunner(records[0])
}

// Runner returns an enrolled runner, or an error of CodeNotFound.
func (h *Handler) Runner(ctx context.Context, id string) (Runner, error) {
	r, err := h.loadRunner(ctx, id)
	if err != nil {
		return Runner{}, err
	}
	infos, err := h.host.Keys.LookupAll(ctx, r.Key)
	if err != nil {
		return Runner{}, err
	}
	return r.describe(infos[0]), nil
}

// Runners returns up to limit enrolled runners (0: all) whose ids follow after,
// in the order of their ids.
func (h *Handler) Runners(ctx context.Context, after string, limit int) ([]Runner, error) {
	q := store.Query{Kind: KindRunner, Limit: limit}
	if after != "" {
		q.After = store.ID(after)
	}
	var stored []storedRunner
	var keys []string
	for record, err := range h.host.Store.List(ctx, q) {
		if err != nil {
			return nil, keywright.Wrap(keywright.CodeUnavailable, err)
		}
		r, err := readRunner(record)
		if err != nil {
			return nil, err
		}
		stored, keys = append(stored, r), append(keys, r.Key)
	}
	infos, err := h.host.Keys.LookupAll(ctx, keys...)
	if err != nil {
		return nil, err
	}
	runners := make([]Runner, len(stored))
	for i, r := range stored {
		runners[i] = r.describe(infos[i])
	}
	return runners, nil
}

func (r storedRunner) describe(info keywright.KeyInfo) Runner {
	return Runner{
		ID: r.ID, Name: r.Name, Hostname: r.Hostname, MAC: r.MAC, MachineID: r.MachineID, Devices: r.Devices,
		Enabled: !r.Disabled, Locked: r.Locked, Tags: r.Tags, Scopes: r.Scopes, CreatedBy: r.Maker,
		EnrolledAt: r.Enrolled, UpdatedAt: r.Updated, Key: r.Key, Thumbprint: r.Thumbprint,
		LastUsedAt: optional(info.LastUsed), LastUsedIP: info.LastUsedFrom,
	}
}

// DisableRunner refuses the runner's keys from the next request on, in every
// process. It can be enabled again.
func (h *Handler) DisableRunner(ctx context.Context, actor keywright.Principal, id string) error {
	return h.setRunnerDisabled(ctx, "provisioning.runner_disabled", actor, id, true)
}

// EnableRunner undoes DisableRunner. A runner that is locked, because there is a
// copy of its key pair, is refused with CodeConflict: [Handler.ReEnroll] gives
// it a key pair that has none.
func (h *Handler) EnableRunner(ctx context.Context, actor keywright.Principal, id string) error {
	return h.setRunnerDisabled(ctx, "provisioning.runner_enabled", actor, id, false)
}

func (h *Handler) setRunnerDisabled(ctx context.Context, event string, actor keywright.Principal, id string, disabled bool) error {
	return endpoint.Retry(func() error {
		r, err := h.loadRunner(ctx, id)
		switch {
		case err != nil || r.Disabled == disabled:
			return err
		case r.Locked:
			return keywright.Errorf(keywright.CodeConflict, "This runner is locked, for its key pair was used twice: re-enroll it with a new one")
		}
		r.Disabled = disabled
		record, err := r.record()
		if err != nil {
			return err
		}
		return h.host.Commit(ctx, runnerEvent(event, actor, r), store.Replace(record))
	})
}

func runnerEvent(name string, actor keywright.Principal, r storedRunner) keywright.Event {
	e := keywright.Event{Name: name, Actor: actor.Credential, Target: r.ID, Attrs: map[string]string{"by": actor.Subject}}
	for fact, v := range map[string]string{"key": r.Key, "jkt": r.Thumbprint} {
		if v != "" {
			e.Attrs[fact] = v
		}
	}
	return e
}

// DeleteRunner ends a runner for good: its keys, its key pair, and credentials
// that are pending for it. Its id can be provisioned again.
func (h *Handler) DeleteRunner(ctx context.Context, actor keywright.Principal, id string) error {
	return endpoint.Retry(func() error {
		r, err := h.loadRunner(ctx, id)
		if err != nil {
			return err
		}
		made := store.Key{Kind: KindMade, ID: store.ID(r.MadeBy, r.KeyInst, r.ID)}
		records, err := h.host.Store.Get(ctx, pendingKey(id), made)
		if err != nil {
			return err
		}
		ops, err := h.endCredentials(ctx, r)
		if err != nil {
			return err
		}
		if pending := records[0]; pending.Exists() {
			t, err := h.held(ctx, pendingTicket(pending))
			if err != nil {
				return err
			}
			ops = append(ops, store.Delete(pending))
			if t.ticket != nil && t.Spent.IsZero() {
				ops = append(ops, t.deletes()...)
			}
		}
		if records[1].Exists() {
			ops = append(ops, store.Delete(records[1]))
		}
		ops = append(ops, store.Delete(store.Record{Kind: KindRunner, ID: store.ID(id), Version: r.version}))
		return h.host.Commit(ctx, runnerEvent("provisioning.runner_deleted", actor, r), ops...)
	})
}

// endCredentials makes the ops that delete the runner's API key and public key.
// Keys that it had before end by themselves, or with the runner.
func (h *Handler) endCredentials(ctx context.Context, r storedRunner) ([]store.Op, error) {
	ops, err := h.host.Keys.Deletion(ctx, r.Key)
	if err != nil || r.Thumbprint == "" {
		return ops, err
	}
	records, err := h.host.Store.Get(ctx, agent.Key(r.Thumbprint))
	if err == nil && records[0].Exists() {
		ops = append(ops, store.Delete(records[0]))
	}
	return ops, err
}

// tokenID reads a token, or how one begins.
func (h *Handler) tokenID(text string) (string, bool) {
	if id, ok := h.host.Keys.ID(text); ok {
		return id, strings.HasPrefix(text, h.host.Keys.Prefix(TokenKind))
	}
	id, ok := strings.CutPrefix(text, h.host.Keys.Prefix(TokenKind))
	return id, ok && token.ValidID(id)
}

func randomBelow(n int) int { return rand.IntN(n) }
