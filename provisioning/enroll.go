package provisioning

import (
	"context"
	"fmt"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/store"
)

// maxDeviceList is how much JSON a runner may say about its devices.
const maxDeviceList = 16 << 10

// check completes req.
func (req *EnrollRequest) check() error {
	if req.ID == "" {
		req.ID = req.AgentID
	}
	if string(req.PublicKey) == "null" {
		req.PublicKey = nil // as with every other member
	}
	keyBound := len(req.PublicKey) > 0 || req.Proof != ""
	switch {
	case req.Token == "":
		return missing("enrollment_token")
	case req.APIKey == "" && !keyBound:
		return missing("api_key")
	case req.APIKey != "" && keyBound:
		return invalid("api_key: not beside public_key and proof")
	case keyBound && (len(req.PublicKey) == 0 || req.Proof == ""):
		return invalid("public_key and proof: both are needed")
	case req.ID == "":
		return missing("runner_id")
	case req.AgentID != "" && req.AgentID != req.ID:
		return invalid("agent_id: not the runner_id beside it")
	case req.Hostname == "":
		return missing("hostname")
	case len(req.Devices) == 0:
		return missing("devices")
	case req.Devices[0] != '[' || len(req.Devices) > maxDeviceList:
		return invalid("devices: want a list of at most %d bytes", maxDeviceList)
	}
	for _, f := range []struct{ name, value string }{
		{"enrollment_token", req.Token}, {"api_key", req.APIKey}, {"runner_id", req.ID}, {"hostname", req.Hostname},
		{"mac_address", req.MAC}, {"machine_id", req.MachineID}, {"agent_type", req.AgentType},
	} {
		if err := checkText(f.name, f.value, maxText); err != nil {
			return err
		}
	}
	return nil
}

// Enroll makes a runner of what [Handler.Provision], [Handler.IssueToken] or
// [Handler.ReEnroll] has bound together: once. The same request again is
// answered in the same way until the runner's key is used; then it is
// CodeConflict while that key works, and CodeInsufficientScope when it does not.
// Everything else that is wrong with the credentials is CodeInvalidToken, for
// one reason as for another.
func (h *Handler) Enroll(ctx context.Context, req EnrollRequest) (Runner, error) {
	if err := req.check(); err != nil {
		return Runner{}, err
	}
	var runner Runner
	err := endpoint.Retry(func() error {
		t, proof, err := h.presented(ctx, req)
		switch {
		case err != nil:
			return err
		case !t.Spent.IsZero():
			runner, err = h.again(ctx, t, req)
		default:
			runner, err = h.admit(ctx, t, req, proof)
		}
		return err
	})
	return runner, err
}

func badToken(format string, args ...any) error {
	return &keywright.Error{Code: keywright.CodeInvalidToken, Detail: textBadToken, Err: fmt.Errorf(format, args...)}
}

// presented finds the ticket that req proves to have, whole.
func (h *Handler) presented(ctx context.Context, req EnrollRequest) (*ticket, *boundKey, error) {
	id, ok := h.host.Keys.ID(req.Token)
	if !ok {
		return nil, nil, badToken("not the text of a token")
	}
	records, err := h.host.Store.Get(ctx, ticketKey(id))
	switch {
	case err != nil:
		return nil, nil, keywright.Wrap(keywright.CodeUnavailable, err)
	case !records[0].Exists():
		return nil, nil, badToken("no token %s", id)
	}
	t, err := readTicket(records[0])
	if err != nil {
		return nil, nil, err
	}
	if err := h.proves(ctx, t.Token, req.Token); err != nil {
		return nil, nil, err
	}
	if t.RunnerID != req.ID {
		return nil, nil, badToken("token %s is for another runner", id)
	}
	if t.Key == nil {
		bound, err := h.provenKey(t, req)
		return t, bound, err
	}
	return t, nil, h.proves(ctx, *t.Key, req.APIKey)
}

func (h *Handler) proves(ctx context.Context, s sealedKey, text string) error {
	switch ok, err := h.host.Keys.Proves(ctx, s.record(), text); {
	case err != nil:
		return keywright.Wrap(keywright.CodeUnavailable, err)
	case !ok:
		return badToken("not the text of %s", s.ID)
	}
	return nil
}

// again answers whoever presents a token that it has used.
func (h *Handler) again(ctx context.Context, t *ticket, req EnrollRequest) (Runner, error) {
	runner, err := h.Runner(ctx, t.RunnerID)
	dead := keywright.Errorf(keywright.CodeInsufficientScope, "The credentials of this runner have ended: it must be provisioned again")
	switch {
	case err != nil && keywright.AsError(err).Code == keywright.CodeNotFound:
		return Runner{}, dead
	case err != nil:
		return Runner{}, err
	case t.Key == nil && (runner.Thumbprint != t.Thumb || !runner.Enabled):
		return Runner{}, dead
	case t.Key == nil:
		return runner, nil // who has the private key may hear it any number of times
	}
	info, err := h.host.Keys.Check(ctx, req.APIKey)
	switch {
	case err != nil && keywright.AsError(err).Code == keywright.CodeInvalidToken:
		return Runner{}, dead
	case err != nil:
		return Runner{}, err
	case info.Used:
		return Runner{}, keywright.Errorf(keywright.CodeConflict, "Runner ID already enrolled")
	}
	return runner, nil
}

// admit spends the ticket.
func (h *Handler) admit(ctx context.Context, t *ticket, req EnrollRequest, proof *boundKey) (Runner, error) {
	if err := h.checkMachine(req); err != nil {
		return Runner{}, err
	}
	keys := []store.Key{runnerKey(t.RunnerID), pendingKey(t.RunnerID), ticketKey(t.Token.ID)}
	if t.MadeBy != "" {
		keys = append(keys, keyOf(t.MadeBy))
	}
	records, err := h.host.Store.Get(ctx, keys...)
	switch {
	case err != nil:
		return Runner{}, err
	case records[2].Version != t.version:
		return Runner{}, store.ErrConflict // spent meanwhile: what it says of the runner is older than the runner
	}
	ops, err := t.stillOffered(records[3:])
	if err != nil {
		return Runner{}, err
	}
	r, more, err := h.enrolled(ctx, t, req, records[0], proof)
	if err != nil {
		return Runner{}, err
	}
	ops = append(ops, more...)
	if pending := records[1]; pending.Exists() && pendingTicket(pending) == t.Token.ID {
		// It stands a little longer: a request that has looked for the runner
		// already and wants to provision it finds that it is too late.
		pending.Expires = h.host.Hooks.Now().Add(keepPending)
		ops = append(ops, store.Replace(pending))
	}
	more, err = h.spend(ctx, t, r)
	if err != nil {
		return Runner{}, err
	}
	e := keywright.Event{Name: "provisioning.enrolled", Actor: t.Token.ID, Target: t.RunnerID, Attrs: t.facts()}
	if t.Again {
		e.Name = "provisioning.re_enrolled"
	}
	return r.describe(keywright.KeyInfo{}), h.host.Commit(ctx, e, append(ops, more...)...)
}

// stillOffered checks the provisioning key that has made the ticket, if one has.
func (t *ticket) stillOffered(records []store.Record) ([]store.Op, error) {
	if t.MadeBy == "" {
		return nil, nil
	}
	if !records[0].Exists() {
		return nil, badToken("provisioning key %s is gone", t.MadeBy)
	}
	k, err := readKey(records[0])
	switch {
	case err != nil:
		return nil, err
	case k.Disabled || k.Instance != t.KeyInst:
		return nil, badToken("provisioning key %s is disabled, or another of its name", t.MadeBy)
	}
	return []store.Op{store.Check(records[0])}, nil
}

// enrolled makes the runner of a ticket, with the ops that make it be.
func (h *Handler) enrolled(ctx context.Context, t *ticket, req EnrollRequest, old store.Record, proof *boundKey) (storedRunner, []store.Op, error) {
	now := h.host.Hooks.Now().UTC().Truncate(time.Second)
	r := storedRunner{runnerRecord: runnerRecord{Instance: t.Instance, ID: t.RunnerID, Enrolled: now}}
	var ops []store.Op
	switch {
	case t.Again != old.Exists():
		return r, nil, badToken("runner %s exists: %v", t.RunnerID, old.Exists())
	case t.Again:
		was, err := readRunner(old)
		if err != nil {
			return r, nil, err
		}
		if was.Instance != t.Was {
			return r, nil, badToken("runner %s is another of its name", t.RunnerID)
		}
		if ops, err = h.endCredentials(ctx, was); err != nil {
			return r, nil, err
		}
		r = was
		r.Instance, r.Key, r.Thumbprint, r.Sequence = t.Instance, "", "", 0
	}
	r.Name, r.Hostname, r.MAC, r.MachineID, r.Devices = t.Name, req.Hostname, req.MAC, req.MachineID, req.Devices
	r.Scopes, r.Tags, r.Maker, r.Updated = t.Scopes, t.Tags, t.Maker, now
	if !t.Again {
		r.MadeBy, r.KeyInst = t.MadeBy, t.KeyInst
	}
	if t.Key != nil {
		r.Key = t.Key.ID
		ops = append(ops, store.Insert(t.Key.record()))
	} else {
		bind, err := h.bind(ctx, t, &r, proof)
		if err != nil {
			return r, nil, err
		}
		ops = append(ops, bind...)
	}
	record, err := r.record()
	if err != nil {
		return r, nil, err
	}
	if t.Again {
		return r, append(ops, store.Replace(record)), nil
	}
	return r, append(ops, store.Insert(record)), nil
}

// spend makes the ops that mark the ticket and give its slot back.
func (h *Handler) spend(ctx context.Context, t *ticket, r storedRunner) ([]store.Op, error) {
	spent := *t
	spent.Spent, spent.Thumb = h.host.Hooks.Now().UTC(), r.Thumbprint
	record, err := spent.record()
	if err != nil {
		return nil, err
	}
	ops := []store.Op{store.Replace(record)}
	if t.MadeBy != "" && !t.Again {
		made := t.madeKey()
		ops = append(ops, store.Put(store.Record{Kind: made.Kind, ID: made.ID, Data: []byte(t.Created.Format(time.RFC3339))}))
	}
	if t.Slot == "" {
		return ops, nil
	}
	slots, err := h.host.Store.Get(ctx, slotKey(t.Slot))
	if err == nil && slots[0].Exists() && string(slots[0].Data) == t.Token.ID {
		ops = append(ops, store.Delete(slots[0]))
	}
	return ops, err
}
