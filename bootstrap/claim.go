package bootstrap

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

// The store kinds of this package.
const (
	KindClaim      = "bootstrap"            // the one record "claim": who was first
	KindGeneration = "bootstrap.generation" // parent of the keys of one claim; a reset removes it
	KindToken      = "bootstrap.jti"        // a token that was used, until it would have expired
)

var claimKey = store.Key{Kind: KindClaim, ID: "claim"}

// A claim says that the installation has had its first admin key. It outlives
// that key, so that deleting the key does not open the server again.
type claim struct {
	Generation int64     `json:"generation"`          // counts the claims of this store
	Open       bool      `json:"open,omitempty"`      // reset: the next good token claims again
	At         time.Time `json:"at"`                  // of the claim or the reset
	Key        string    `json:"key,omitempty"`       // public id of the key; empty: revoked
	Expires    time.Time `json:"expires,omitzero"`    // of the key
	Salt       []byte    `json:"salt,omitempty"`      // for redelivery, while that is possible
	Sink       string    `json:"sink,omitempty"`      // where start-up provisioning publishes the key
	Published  bool      `json:"published,omitempty"` // it has done so
	Ended      bool      `json:"ended,omitempty"`     // a start has found the key deleted or disabled

	version int64 // of the record; 0: there is none
}

func readClaim(ctx context.Context, host keywright.Host) (claim, error) {
	records, err := host.Store.Get(ctx, claimKey)
	if err != nil {
		return claim{}, keywright.Wrap(keywright.CodeUnavailable, err)
	}
	return decodeClaim(records[0])
}

func decodeClaim(r store.Record) (claim, error) {
	if !r.Exists() {
		return claim{}, nil
	}
	c := claim{version: r.Version}
	if err := json.Unmarshal(r.Data, &c); err != nil {
		return claim{}, keywright.Wrap(keywright.CodeInternal, fmt.Errorf("bootstrap: record of the claim: %w", err))
	}
	return c, nil
}

// held reports whether the endpoint is closed.
func (c claim) held() bool { return c.version != 0 && !c.Open }

// unchanged is the op that nobody has written the claim since it was read.
func (c claim) unchanged() store.Op {
	return store.Check(store.Record{Kind: claimKey.Kind, ID: claimKey.ID, Version: c.version})
}

// op writes c where it was read: nobody may have come in between.
func (c claim) op() (store.Op, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return store.Op{}, fmt.Errorf("bootstrap: encode claim: %w", err)
	}
	r := store.Record{Kind: claimKey.Kind, ID: claimKey.ID, Version: c.version, Data: data}
	if c.version == 0 {
		return store.Insert(r), nil
	}
	return store.Replace(r), nil
}

func generationKey(generation int64) store.Key {
	return store.Key{Kind: KindGeneration, ID: strconv.FormatInt(generation, 10)}
}

// A Status describes where an installation stands.
type Status struct {
	Claimed    bool
	Generation int64     // what Reset must name; 0: never claimed
	Since      time.Time // of the claim, or of the reset that opened it again
	Key        string    // public id of the key that was issued first, which may be gone by now
	Sink       string    // where start-up provisioning published it; empty: the endpoint answered it
}

// ReadStatus reads where host's installation stands.
func ReadStatus(ctx context.Context, host keywright.Host) (Status, error) {
	c, err := readClaim(ctx, host)
	return Status{Claimed: c.held(), Generation: c.Generation, Since: c.At, Key: c.Key, Sink: c.Sink}, err
}
