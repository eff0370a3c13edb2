package provisioning

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"time"

	"github.com/keywright/keywright/internal/limit"
)

// Where the endpoints stand, below the prefix that they are mounted at.
const (
	KeysPath       = "/api/provisioning/keys"
	ProvisionPath  = "/api/provisioning/provision"
	EnrollPath     = "/api/enrollment/enroll"
	RotatePath     = "/api/enrollment/rotate"  // a runner changes its own key
	RefreshPath    = "/api/enrollment/refresh" // a runner with a key pair gets a key for a while
	TokenPath      = "/api/enrollment/token"
	TokensPath     = "/api/enrollment/tokens"
	ReEnrollPath   = "/api/enrollment/re-enroll"
	RunnersPath    = "/api/runners"
	AgentsPath     = "/api/agents" // the same, for newer runners
	MACHeader      = "X-Runner-Mac"
	MachineHeader  = "X-Runner-Machine-Id"
	agentMACHeader = "X-Agent-Mac"
	agentMachine   = "X-Agent-Machine-Id"
)

// KeySettings are what an administrator decides about a provisioning key. The
// zero value of each is no limit of its own.
type KeySettings struct {
	ID          string         `json:"key_id"` // 1 to 64 letters, digits, hyphens and underscores
	Description string         `json:"description"`
	Expires     time.Time      `json:"expires_at,omitzero"`
	MaxUses     int            `json:"max_uses,omitempty"`       // runners it may provision, ever
	MaxPending  int            `json:"max_pending,omitempty"`    // that are not enrolled yet, at one time; up to 200
	Pattern     string         `json:"runner_pattern,omitempty"` // of runner ids; "*" stands for any characters
	Networks    []netip.Prefix `json:"networks,omitempty"`       // where it may be used from
	PerHour     int            `json:"per_hour,omitempty"`       // requests; 0: that of the Handler
	Scopes      []string       `json:"scopes,omitempty"`         // of the keys of its runners
	Tags        []string       `json:"tags,omitempty"`           // of its runners, in the Attrs of their Principal
}

// A Key is a provisioning key as it stands.
type Key struct {
	KeySettings
	CreatedBy  string     `json:"created_by"`
	CreatedAt  time.Time  `json:"created_at"`
	LastUsedAt *time.Time `json:"last_used_at"` // to the minute or so; nil: never
	Enabled    bool       `json:"enabled"`
	Prefix     string     `json:"prefix"`                 // how its text begins; safe to show
	LastUsedIP string     `json:"last_used_ip,omitempty"` // of that use
	Uses       int64      `json:"uses,omitempty"`         // counted where there is a MaxUses
}

// A NewKey is a provisioning key that has just been made or rotated.
type NewKey struct {
	Key
	APIKey   string    // secret: its only copy
	OldUntil time.Time // of the key that it replaces; zero: that one has ended
}

// createKeyRequest is KeySettings as they arrive.
type createKeyRequest struct {
	ID          string   `json:"key_id"`
	Description string   `json:"description"`
	Expires     string   `json:"expires_at"`
	MaxUses     int      `json:"max_uses"`
	MaxPending  int      `json:"max_pending"`
	Pattern     string   `json:"runner_pattern"`
	Networks    []string `json:"networks"`
	PerHour     int      `json:"per_hour"`
	Scopes      []string `json:"scopes"`
	Tags        []string `json:"tags"`
}

type newKeyResponse struct {
	ID          string     `json:"key_id"`
	APIKey      string     `json:"api_key"`
	Description string     `json:"description"`
	OldUntil    *time.Time `json:"old_key_valid_until,omitempty"` // of a rotation
}

type keysResponse struct {
	Keys []Key `json:"keys"`
}

type statusResponse struct {
	Status string `json:"status"`
}

type rotateKeyRequest struct {
	OverlapHours *float64 `json:"overlap_hours"` // for which the old key still works; default: Limits.Overlap
}

// A ProvisionRequest asks for the credentials of a new runner.
type ProvisionRequest struct {
	Name      string   `json:"runner_name"`              // required
	ID        string   `json:"runner_id,omitempty"`      // empty: the name
	Hours     *float64 `json:"expires_hours,omitempty"`  // for which the enrolment token is valid; nil: Limits.Lifetime
	ServerURL string   `json:"server_url,omitempty"`     // one of the server's own; empty: its URL
	VerifySSL *bool    `json:"verify_ssl,omitempty"`     // for the configuration file; nil: true
	Devices   []Device `json:"devices,omitempty"`        // for the configuration file
	PublicKey bool     `json:"use_public_key,omitempty"` // the runner makes a key pair: no API key is handed out
}

// A Device is a radio in ChallengeCtl's configuration file.
type Device struct {
	Name   DeviceName `json:"name"`
	Model  string     `json:"model"`
	RFGain *float64   `json:"rf_gain,omitempty"`
	IFGain *float64   `json:"if_gain,omitempty"` // only written for a hackrf
	Limits []string   `json:"frequency_limits,omitempty"`
}

// Provisioned are the credentials of a runner that is to be enrolled.
type Provisioned struct {
	Name       string    `json:"runner_name"`
	ID         string    `json:"runner_id"`
	Token      string    `json:"enrollment_token"`               // secret, for one use
	APIKey     string    `json:"api_key,omitempty"`              // secret, works once the runner is enrolled; empty for a key pair
	Challenge  string    `json:"enrollment_challenge,omitempty"` // for a key pair: what its owner signs
	ExpiresAt  time.Time `json:"expires_at"`
	ConfigYAML string    `json:"config_yaml"` // holds the secrets

	ServerURL string `json:"-"` // where the runner finds the server
	Maker     string `json:"-"` // the provisioning key, or the administrator

	quota *limit.Quota
}

// Header tells what is left of the hour.
func (p Provisioned) Header() http.Header {
	if p.quota == nil {
		return nil
	}
	return p.quota.Header()
}

// An EnrollRequest presents what [Provisioned] has bound together.
type EnrollRequest struct {
	Token     string          `json:"enrollment_token"`
	APIKey    string          `json:"api_key,omitempty"`
	ID        string          `json:"runner_id,omitempty"`
	Hostname  string          `json:"hostname"`
	Devices   json.RawMessage `json:"devices"` // a list
	MAC       string          `json:"mac_address,omitempty"`
	MachineID string          `json:"machine_id,omitempty"`

	AgentID   string `json:"agent_id,omitempty"` // in place of runner_id, by newer runners
	AgentType string `json:"agent_type,omitempty"`

	PublicKey json.RawMessage `json:"public_key,omitempty"` // a JWK, in place of an API key
	Proof     string          `json:"proof,omitempty"`      // a compact JWS by it: see SignEnrollment
}

type enrollResponse struct {
	Success   bool   `json:"success"`
	ID        string `json:"runner_id"`
	AgentID   string `json:"agent_id,omitempty"`
	AgentType string `json:"agent_type,omitempty"`
	Message   string `json:"message"`
}

type issueTokenRequest struct {
	Name      string   `json:"runner_name"`
	ID        string   `json:"runner_id"`
	Hours     *float64 `json:"expires_hours"`
	PublicKey bool     `json:"use_public_key"`
}

type issueTokenResponse struct {
	Token     string    `json:"token"`
	APIKey    string    `json:"api_key,omitempty"`
	Challenge string    `json:"enrollment_challenge,omitempty"`
	Name      string    `json:"runner_name"`
	ID        string    `json:"runner_id"`
	ExpiresAt time.Time `json:"expires_at"`
	Hours     float64   `json:"expires_hours"`
}

type reEnrollRequest struct {
	Hours *float64 `json:"expires_hours"`
}

// An EnrollmentToken is described without its secret.
type EnrollmentToken struct {
	Prefix     string     `json:"token"` // how its text begins; DELETE takes it
	Name       string     `json:"runner_name"`
	RunnerID   string     `json:"runner_id"`
	CreatedBy  string     `json:"created_by"`
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  time.Time  `json:"expires_at"`
	Used       bool       `json:"used"`
	UsedAt     *time.Time `json:"used_at"`
	UsedBy     string     `json:"used_by_runner_id,omitempty"`
	ReEnrolled string     `json:"re_enrollment_for,omitempty"`
}

type tokensResponse struct {
	Tokens []EnrollmentToken `json:"tokens"`
	Next   string            `json:"next,omitempty"` // for the parameter after; absent: that was all
}

// A Runner is a machine that was enrolled.
type Runner struct {
	ID         string          `json:"runner_id"`
	Name       string          `json:"name"`
	Hostname   string          `json:"hostname"`
	MAC        string          `json:"mac_address,omitempty"`
	MachineID  string          `json:"machine_id,omitempty"`
	Devices    json.RawMessage `json:"devices"`
	Enabled    bool            `json:"enabled"`
	Locked     bool            `json:"locked,omitempty"` // two parties had its key pair: see Config.DetectClones
	Tags       []string        `json:"tags,omitempty"`
	Scopes     []string        `json:"scopes,omitempty"`
	CreatedBy  string          `json:"created_by"`
	EnrolledAt time.Time       `json:"created_at"`
	UpdatedAt  time.Time       `json:"updated_at"`       // of the last enrolment
	Key        string          `json:"key_id,omitempty"` // public id of its API key
	Thumbprint string          `json:"jkt,omitempty"`    // of its public key (RFC 7638)
	LastUsedAt *time.Time      `json:"last_used_at"`     // to the minute or so; nil: never
	LastUsedIP string          `json:"last_used_ip,omitempty"`
}

type runnersResponse struct {
	Runners []Runner `json:"runners,omitzero"` // never nil where it is asked for
	Agents  []Runner `json:"agents,omitzero"`  // the same, under their newer name
	Next    string   `json:"next,omitempty"`   // for the parameter after; absent: that was all
}

// MadeRunner is what a provisioning key has made.
type MadeRunner struct {
	ID      string    `json:"runner_id"`
	Status  string    `json:"status"` // pending, enrolled or disabled
	Since   time.Time `json:"provisioned_at"`
	Expires time.Time `json:"expires_at,omitzero"` // of a pending enrolment
}

type madeResponse struct {
	Runners []MadeRunner `json:"runners"`
}

type rotateResponse struct {
	ID        string     `json:"runner_id"`
	APIKey    string     `json:"api_key"`
	ExpiresAt *time.Time `json:"expires_at"`                    // null: never
	OldUntil  *time.Time `json:"old_key_valid_until,omitempty"` // of a rotation
	Sequence  int64      `json:"sequence,omitempty"`            // of a refresh: what the next one names
}

type keyResponse struct {
	ID        string     `json:"runner_id"`
	Issued    time.Time  `json:"issued_at"`
	ExpiresAt *time.Time `json:"expires_at"` // null: never
}

type refreshRequest struct {
	ID    string `json:"runner_id"`
	Proof string `json:"proof"`
}

type toggleRequest struct {
	Enabled json.RawMessage `json:"enabled"`
}
