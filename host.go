package keywright

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/keywright/keywright/internal/token"
	"github.com/keywright/keywright/store"
)

// A HostConfig describes the server that keywright is mounted in.
type HostConfig struct {
	Store store.Store // required
	Hooks Hooks

	// URL is where clients reach the server, with the path prefix it has
	// there, if any. It may stay nil where nothing needs it.
	URL *url.URL

	// Kinds of API keys, each with the prefix of its keys, such as
	// {"admin": "kw_admin"}. Prefixes differ from each other.
	Kinds map[string]string

	// Hash says how keys are hashed at rest. Zero means SHA-256, which is
	// right for random keys.
	Hash KeyHash

	// ImportedKeys accepts keys that were imported with [Keys.MintImported].
	// Every credential that could be one is then looked up in the store. Off:
	// imported keys are refused, and the store is not asked about them.
	ImportedKeys bool

	// AuditRetention is how long audit events stay in the store; 0 means 400 days.
	AuditRetention time.Duration
}

// A KeyHash says how API keys are hashed at rest. Keys hashed another way
// still work and are hashed anew when next used.
type KeyHash struct {
	// Peppers are secrets of at least 32 bytes that the database does not
	// hold, by id. All of them are read.
	Peppers map[string][]byte

	// Pepper is the id of the one for new keys, which makes the hash
	// HMAC-SHA256. Empty: none.
	Pepper string

	// BcryptCost above zero means bcrypt of that cost, for hosts whose rules
	// demand it. It costs tens of milliseconds for each key that this process
	// has not seen yet, and for each guess at the secret of a known id.
	BcryptCost int
}

// A Host is what every mechanism shares, so that no two of them use different
// stores, keys, clocks or URLs. Make it with [NewHost] and do not change it.
type Host struct {
	Store store.Store
	Keys  *Keys
	URL   *url.URL // may be nil
	Hooks Hooks    // no field is nil

	retention time.Duration
	audited   bool // the host has set Hooks.Audit
}

// maxRetention keeps the expiry of events within what a store can hold.
const maxRetention = 100 * 365 * 24 * time.Hour

// NewHost checks c and makes the Host. It does no I/O.
func NewHost(c HostConfig) (Host, error) {
	if c.Store == nil {
		return Host{}, errors.New("keywright: HostConfig.Store is required")
	}
	if c.URL != nil && (c.URL.Scheme != "https" && c.URL.Scheme != "http" || c.URL.Host == "" || c.URL.User != nil || c.URL.RawQuery != "" || c.URL.Fragment != "") {
		return Host{}, errors.New("keywright: HostConfig.URL: want http(s)://host[:port][/prefix]")
	}
	if c.AuditRetention < 0 || c.AuditRetention > maxRetention {
		return Host{}, errors.New("keywright: HostConfig.AuditRetention: want 0 to 100 years")
	}
	h := Host{Store: c.Store, URL: c.URL, Hooks: c.Hooks.WithDefaults(), retention: c.AuditRetention, audited: c.Hooks.Audit != nil}
	if h.retention == 0 {
		h.retention = 400 * 24 * time.Hour
	}
	hasher, err := token.NewHasher(token.HasherConfig(c.Hash))
	if err != nil {
		return Host{}, fmt.Errorf("keywright: HostConfig.Hash: %w", err)
	}
	h.Keys, err = newKeys(h, c, hasher)
	if err != nil {
		return Host{}, fmt.Errorf("keywright: HostConfig.Kinds: %w", err)
	}
	return h, nil
}
