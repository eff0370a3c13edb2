package main

import (
	"net/http"
	"strconv"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning"
)

const maxRunners = 1000 // on one page

// A shownRunner is one as ChallengeCtl's pages want it.
type shownRunner struct {
	provisioning.Runner
	Status        string     `json:"status"`         // online or offline
	LastHeartbeat *time.Time `json:"last_heartbeat"` // null: none in the last 30 days
}

type shownRunners struct {
	Runners []shownRunner `json:"runners,omitzero"`
	Agents  []shownRunner `json:"agents,omitzero"`
	Next    string        `json:"next,omitempty"` // for the parameter after
}

// list takes the place of the library's own list and description of runners,
// which know nothing of heartbeats.
func (a runners) list(mux *http.ServeMux, stem string, admin keywright.Authenticator) {
	allowed := keywright.Text.Require(admin)
	mux.Handle("GET "+stem, allowed(answering(a.serveList)))
	mux.Handle("GET "+stem+"/{runner_id}", allowed(answering(a.serveOne)))
}

func (a runners) serveList(_ http.ResponseWriter, r *http.Request) (any, error) {
	limit, err := readLimit(r, maxRunners, maxRunners)
	if err != nil {
		return nil, err
	}
	all, err := a.prov.Runners(r.Context(), r.URL.Query().Get("after"), limit+1)
	if err != nil {
		return nil, err
	}
	var resp shownRunners
	if len(all) > limit {
		all = all[:limit]
		resp.Next = all[limit-1].ID
	}
	shown, err := a.show(r, all)
	if r.URL.Path == provisioning.AgentsPath {
		resp.Agents = shown
	} else {
		resp.Runners = shown
	}
	return resp, err
}

func (a runners) serveOne(_ http.ResponseWriter, r *http.Request) (any, error) {
	one, err := a.prov.Runner(r.Context(), r.PathValue("runner_id"))
	if err != nil {
		return nil, err
	}
	shown, err := a.show(r, []provisioning.Runner{one})
	if err != nil {
		return nil, err
	}
	return shown[0], nil
}

func (a runners) show(r *http.Request, all []provisioning.Runner) ([]shownRunner, error) {
	ids := make([]string, len(all))
	for i, one := range all {
		ids[i] = one.ID
	}
	states, err := a.states(r.Context(), ids)
	if err != nil {
		return nil, err
	}
	now := a.host.Hooks.Now()
	shown := make([]shownRunner, len(all))
	for i, one := range all {
		shown[i] = shownRunner{Runner: one, Status: "offline"}
		s := states[i]
		if s.Last.Before(one.EnrolledAt) {
			continue // none, or that of another runner of this name
		}
		shown[i].LastHeartbeat = &s.Last
		if now.Sub(s.Last) < staleAfter {
			shown[i].Status = s.Status
		}
		if s.Hostname != "" {
			shown[i].Hostname, shown[i].Devices = s.Hostname, s.Devices
		}
	}
	return shown, nil
}

// readLimit reads how many things a list may have.
func readLimit(r *http.Request, usual, most int) (int, error) {
	text := r.URL.Query().Get("limit")
	if text == "" {
		return usual, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, keywright.Errorf(keywright.CodeInvalidRequest, "limit: want 1 to %d", most)
	}
	return n, nil
}
