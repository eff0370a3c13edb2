package agentauth

import (
	"encoding/json"
	"time"
)

// An Agent is an enrolled agent as it stands.
type Agent struct {
	ID           string    `json:"agent_id"`
	Thumbprint   string    `json:"jkt"`    // of its durable key
	KeyID        string    `json:"key_id"` // under which that key is published
	PersonServer string    `json:"ps,omitempty"`
	Scopes       []string  `json:"scopes,omitempty"` // of its Principal on this server
	Created      time.Time `json:"created_at"`
	AdmittedBy   string    `json:"admitted_by,omitempty"` // public id of what has admitted it
	Disabled     bool      `json:"disabled"`
	Banned       bool      `json:"banned"` // disabled for good

	// NextKey is the thumbprint of the key that takes the place of the durable one
	// with its first refresh: see [RotateKey]. "": none.
	NextKey      string    `json:"next_key,omitempty"`
	NextKeyAdded time.Time `json:"next_key_added_at,omitzero"`
	KeySince     time.Time `json:"key_since,omitzero"` // when the durable key took the place of another; zero: it never did
}

// An Application is that of a key which waits for a person to decide whether it
// becomes an agent.
type Application struct {
	ID           string    `json:"application_id"`
	AgentID      string    `json:"agent_id"` // that it would have; it may belong to another key already
	Thumbprint   string    `json:"jkt"`
	PersonServer string    `json:"ps,omitempty"`
	Scopes       []string  `json:"scopes,omitempty"`      // that it would have
	By           string    `json:"admitted_by,omitempty"` // public id of what has let it apply
	From         string    `json:"from,omitempty"`        // network address
	Created      time.Time `json:"created_at"`
	Expires      time.Time `json:"expires_at"` // when it is too late to decide
}

type agentsResponse struct {
	Agents []Agent `json:"agents"`
	Next   string  `json:"next,omitempty"` // to be asked for as after; absent: that was all
}

type applicationsResponse struct {
	Pending []Application `json:"pending"`
}

type pendingResponse struct {
	Status string `json:"status"`
}

type adminResponse struct {
	Status string `json:"status"`
}

// secretRequest is SecretSettings as they arrive. Times are in seconds.
type secretRequest struct {
	Description  string   `json:"description"`
	Uses         int      `json:"uses"`
	ExpiresIn    int64    `json:"expires_in"`
	AgentID      string   `json:"agent_id"`
	PersonServer string   `json:"ps"`
	Scopes       []string `json:"scopes"`
	TokenLife    int64    `json:"token_expires_in"`
}

// secretView is a Secret as it is told, with its text if it is new.
type secretView struct {
	ID           string    `json:"id"`
	Text         string    `json:"secret,omitempty"`
	Description  string    `json:"description,omitempty"`
	Uses         int       `json:"uses"`
	Used         int64     `json:"used"`
	Expires      time.Time `json:"expires_at"`
	AgentID      string    `json:"agent_id,omitempty"`
	PersonServer string    `json:"ps,omitempty"`
	Scopes       []string  `json:"scopes,omitempty"`
	TokenLife    int64     `json:"token_expires_in,omitempty"`
	Created      time.Time `json:"created_at"`
	CreatedBy    string    `json:"created_by,omitempty"`
}

type secretsResponse struct {
	Secrets []secretView `json:"secrets"`
	Next    string       `json:"next,omitempty"` // as of agents
}

// MarshalJSON writes the token, or that there is none yet.
func (a enrollAnswer) MarshalJSON() ([]byte, error) {
	if a.pollURL != "" {
		return json.Marshal(pendingResponse{"pending"})
	}
	return json.Marshal(a.enrollResponse)
}

type signingKeyView struct {
	ID     string     `json:"kid"`
	Handle string     `json:"handle"`
	State  KeyState   `json:"state"`
	Added  time.Time  `json:"added_at"`
	Ended  *time.Time `json:"retired_at,omitempty"`
}

type signingKeysResponse struct {
	Keys []signingKeyView `json:"keys"`
}

type addKeyRequest struct {
	Handle string `json:"handle"`
}

type addKeyResponse struct {
	ID            string    `json:"kid"`
	ActivateAfter time.Time `json:"activate_after"` // when others have seen the key
}
