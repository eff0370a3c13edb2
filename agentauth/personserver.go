package agentauth

import (
	"context"
	"net/http"
	"time"
)

// PersonServerConfig configures a [PersonServer].
type PersonServerConfig struct {
	// ID is its identifier, https://host; "": that of the agent's own tokens.
	ID string

	// Interact shows a person where to go; nil: what needs a person fails.
	Interact func(ctx context.Context, i Interaction) error

	// Patience is how long a person may take; 0: 15 minutes.
	Patience time.Duration

	HTTP        *http.Client // nil: one that gives up after 30 seconds
	Now         func() time.Time
	Development bool // admits servers on this machine, by http and with ports
}

// An Interaction is what a person must do before a request goes on.
type Interaction struct {
	URL  string // where they are to go, with the code
	Code string // to compare with what they see there
}

// A PersonServer is where an agent gets what it may do for a person (AAuth, section
// "Person Server"). It is safe for concurrent use.
type PersonServer struct {
	c      PersonServerConfig
	remote remote
}

// NewPersonServer checks c. It does no I/O.
func NewPersonServer(c PersonServerConfig) (*PersonServer, error) {
	return &PersonServer{c: c, remote: newRemote(c.HTTP, c.Development, c.Now)}, nil
}
