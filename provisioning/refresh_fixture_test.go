package provisioning_test

import (
	"crypto"
	"encoding/json"

	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/provisioning"
	"github.com/keywright/keywright/store"
)

// proof is a new one for a refresh.
func (w *world) proof(signer crypto.Signer, id string, sequence int64) string {
	w.t.Helper()
	proof, err := provisioning.SignRefresh(signer, base, id, sequence, w.clock.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return proof
}

func (w *world) refresh(id, proof string) answer {
	w.t.Helper()
	b, _ := json.Marshal(map[string]string{"runner_id": id, "proof": proof})
	return w.call("POST", "/api/enrollment/refresh", "", string(b))
}

// sequence is the number that a refresh has given; -1: none.
func (a answer) sequence() int64 {
	m := struct{ Sequence int64 }{-1}
	json.Unmarshal([]byte(a.body), &m)
	return m.Sequence
}

// setAgent changes the agent with the key of signer, or deletes it.
func (w *world) setAgent(signer crypto.Signer, change func(*agent.Record)) {
	w.t.Helper()
	_, thumbprint := jwkOf(w.t, signer.Public())
	records, err := w.db.Get(w.t.Context(), agent.Key(thumbprint))
	if err != nil {
		w.t.Fatal(err)
	}
	op := store.Delete(records[0])
	if change != nil {
		a, err := agent.Read(records[0])
		if err != nil {
			w.t.Fatal(err)
		}
		change(&a)
		r, err := a.Store(thumbprint, records[0].Version)
		if err != nil {
			w.t.Fatal(err)
		}
		op = store.Replace(r)
	}
	if err := w.db.Commit(w.t.Context(), op); err != nil {
		w.t.Fatal(err)
	}
}
