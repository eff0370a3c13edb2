package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning"
	"github.com/keywright/keywright/store"
)

const (
	kindRunner  = "example.runner" // store kind of what runners say of themselves
	staleAfter  = 90 * time.Second // three heartbeats
	forgetAfter = 30 * 24 * time.Hour
	maxLogLine  = 2 << 10 // bytes of a runner's message that are logged
	maxDevices  = 16 << 10
)

// A runnerState is what a runner has last said.
type runnerState struct {
	Status   string          `json:"status"` // online or offline
	Last     time.Time       `json:"last_heartbeat"`
	Hostname string          `json:"hostname"`
	Devices  json.RawMessage `json:"devices,omitempty"`
}

// runners is the API of ChallengeCtl's runners. This server has no challenges
// for them.
type runners struct {
	host keywright.Host
	prov *provisioning.Handler
}

func (a runners) register(mux *http.ServeMux, stem string) {
	runner := keywright.Text.Require(a.prov.Authenticator())
	mux.Handle("POST "+stem+"/register", runner(answering(a.registerRunner)))
	for path, route := range map[string]struct {
		method string
		do     http.HandlerFunc
	}{
		"heartbeat": {http.MethodPost, answering(a.heartbeat)},
		"signout":   {http.MethodPost, answering(a.signOut)},
		"task":      {http.MethodGet, answering(a.task)},
		"complete":  {http.MethodPost, answering(a.complete)},
		"log":       {http.MethodPost, answering(a.log)},
	} {
		mux.Handle(stem+"/{runner_id}/"+path, only(route.method, runner(ownPath(route.do))))
	}
}

// ownPath refuses a runner that names another one.
func ownPath(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p, _ := keywright.FromContext(r.Context()); p.Subject != r.PathValue("runner_id") {
			keywright.Text.WriteError(w, keywright.Errorf(keywright.CodeInsufficientScope, "Unauthorized"))
			return
		}
		next.ServeHTTP(w, r)
	})
}

func missing(field string) error {
	return keywright.Errorf(keywright.CodeInvalidRequest, "Missing required field: %s", field)
}

type registered struct {
	Status string `json:"status"`
	ID     string `json:"runner_id"`
}

func (a runners) registerRunner(w http.ResponseWriter, r *http.Request) (any, error) {
	p, _ := keywright.FromContext(r.Context())
	var req struct {
		Hostname string          `json:"hostname"`
		Devices  json.RawMessage `json:"devices"`
	}
	if err := readJSON(w, r, &req); err != nil {
		return nil, err
	}
	switch {
	case req.Hostname == "":
		return nil, missing("hostname")
	case len(req.Hostname) > 255:
		return nil, keywright.Errorf(keywright.CodeInvalidRequest, "hostname: longer than 255 bytes")
	case len(req.Devices) == 0:
		return nil, missing("devices")
	case req.Devices[0] != '[' || len(req.Devices) > maxDevices:
		return nil, keywright.Errorf(keywright.CodeInvalidRequest, `Field "devices" must be a list`)
	}
	err := a.put(r.Context(), p.Subject, runnerState{Status: "online", Hostname: req.Hostname, Devices: req.Devices})
	return registered{"registered", p.Subject}, err
}

// heartbeat has no body.
func (a runners) heartbeat(_ http.ResponseWriter, r *http.Request) (any, error) {
	return map[string]string{"status": "ok"}, a.set(r, "online")
}

func (a runners) signOut(_ http.ResponseWriter, r *http.Request) (any, error) {
	return map[string]string{"status": "signed_out"}, a.set(r, "offline")
}

type noTask struct {
	Task    *struct{} `json:"task"`
	Message string    `json:"message"`
}

func (a runners) task(http.ResponseWriter, *http.Request) (any, error) {
	return noTask{Message: "No challenges available"}, nil
}

func (a runners) complete(w http.ResponseWriter, r *http.Request) (any, error) {
	p, _ := keywright.FromContext(r.Context())
	var req struct {
		Challenge string `json:"challenge_id"`
		Success   bool   `json:"success"`
		Message   string `json:"error_message"`
	}
	if err := readJSON(w, r, &req); err != nil {
		return nil, err
	}
	if req.Challenge == "" {
		return nil, missing("challenge_id")
	}
	slog.InfoContext(r.Context(), "challenge done", "runner", p.Subject, "challenge", clip(req.Challenge), "success", req.Success, "message", clip(req.Message))
	return map[string]string{"status": "recorded"}, nil
}

func (a runners) log(w http.ResponseWriter, r *http.Request) (any, error) {
	p, _ := keywright.FromContext(r.Context())
	var req struct {
		Log *struct {
			Level   string `json:"level"`
			Message string `json:"message"`
		} `json:"log"`
	}
	if err := readJSON(w, r, &req); err != nil {
		return nil, err
	}
	if req.Log == nil {
		return nil, missing("log")
	}
	slog.InfoContext(r.Context(), "runner says", "runner", p.Subject, "level", clip(req.Log.Level), "message", clip(req.Log.Message))
	return map[string]string{"status": "received"}, nil
}

// clip keeps a text short. That it stays on its line is the work of slog.
func clip(s string) string {
	if len(s) <= maxLogLine {
		return s
	}
	return strings.ToValidUTF8(s[:maxLogLine], "") + "..."
}

func stateKey(id string) store.Key { return store.Key{Kind: kindRunner, ID: store.ID(id)} }

// set changes the status of the runner that has sent r.
func (a runners) set(r *http.Request, status string) error {
	p, _ := keywright.FromContext(r.Context())
	states, err := a.states(r.Context(), []string{p.Subject})
	if err != nil {
		return err
	}
	s := states[0]
	s.Status = status
	return a.put(r.Context(), p.Subject, s)
}

func (a runners) put(ctx context.Context, id string, s runnerState) error {
	now := a.host.Hooks.Now().UTC().Truncate(time.Second)
	s.Last = now
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	key := stateKey(id)
	return a.host.Store.Commit(ctx, store.Put(store.Record{Kind: key.Kind, ID: key.ID, Expires: now.Add(forgetAfter), Data: data}))
}

// states returns what runners have last said: zero for those who never did.
func (a runners) states(ctx context.Context, ids []string) ([]runnerState, error) {
	states := make([]runnerState, len(ids))
	for start := 0; start < len(ids); start += store.MaxOps {
		var keys []store.Key
		for _, id := range ids[start:min(len(ids), start+store.MaxOps)] {
			keys = append(keys, stateKey(id))
		}
		records, err := a.host.Store.Get(ctx, keys...)
		if err != nil {
			return nil, keywright.Wrap(keywright.CodeUnavailable, err)
		}
		for i, record := range records {
			if !record.Exists() {
				continue
			}
			if err := json.Unmarshal(record.Data, &states[start+i]); err != nil {
				return nil, errors.New("runner state: " + err.Error())
			}
		}
	}
	return states, nil
}
