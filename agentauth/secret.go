package agentauth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
	keytext "github.com/keywright/keywright/internal/token"
	"github.com/keywright/keywright/store"
)

// KindSecret is the store kind of enrolment secrets. The ID is the public id.
const KindSecret = "agent.secret"

// secretPrefix is how the texts begin: kw_enrol_, the public id, and the secret.
const secretPrefix = "kw_enrol"

const (
	defaultSecretLife = 24 * time.Hour
	maxSecretLife     = 30 * 24 * time.Hour
	maxSecretText     = 200 // bytes of a description or a scope
	maxSecretScopes   = 100
)

// EnrollmentSecrets are secrets that admit agents, so many as each has uses. An
// administrator makes one and hands it to who is to enrol, who sends it as
// Authorization: Bearer, covered by the signature. They are good at every provider
// of the host whose Admission asks them:
//
//	secrets, err := agentauth.NewEnrollmentSecrets(host)
//	...
//	provider, err := agentauth.NewProvider(agentauth.ProviderConfig{Host: host, Keys: keys, Admission: secrets.Admit})
//
// The store holds hashes. EnrollmentSecrets are safe for concurrent use, by any
// number of processes on one store.
type EnrollmentSecrets struct{ host keywright.Host }

// NewEnrollmentSecrets needs nothing but the host's Store. It does no I/O.
func NewEnrollmentSecrets(host keywright.Host) (*EnrollmentSecrets, error) {
	if host.Store == nil {
		return nil, errors.New("agentauth: NewEnrollmentSecrets: a host made by keywright.NewHost is required")
	}
	return &EnrollmentSecrets{host}, nil
}

// SecretSettings are what an administrator decides about an enrolment secret. The
// zero value is a secret for one agent, within a day.
type SecretSettings struct {
	Description  string        // for people
	Uses         int           // agents that it admits; 0: 1
	Life         time.Duration // 0: 24 hours, at most 30 days
	AgentID      string        // the only identifier that it admits; "": any of the provider's domain
	PersonServer string        // the only one that it admits, and that of agents which name none; "": any or none
	Scopes       []string      // of the Principals of its agents on this server
	TokenLife    time.Duration // of the tokens of its agents, more than 5 minutes, at most 24 hours; 0: the provider's
}

// A Secret is an enrolment secret as it stands. It is not the text of it.
type Secret struct {
	SecretSettings
	ID        string // public
	Used      int64  // agents that it has admitted
	Expires   time.Time
	Created   time.Time
	CreatedBy string // Subject of who has made it
}

// A NewSecret is an enrolment secret that has just been made.
type NewSecret struct {
	Secret
	Text string // secret: its only copy
}

// secretRecord is what the store holds.
type secretRecord struct {
	Hash         []byte        `json:"hash"` // see secretHash
	Description  string        `json:"description,omitempty"`
	Uses         int           `json:"uses"`
	AgentID      string        `json:"agent_id,omitempty"`
	PersonServer string        `json:"ps,omitempty"`
	Scopes       []string      `json:"scopes,omitempty"`
	TokenLife    time.Duration `json:"life,omitempty"`
	Created      time.Time     `json:"created"`
	CreatedBy    string        `json:"created_by,omitempty"`
}

func secretKey(id string) store.Key { return store.Key{Kind: KindSecret, ID: id} }

// secretHash needs to be no slow one: a secret has 160 random bits.
func secretHash(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

// secretUses is the counter of a secret.
func secretUses(id string) string { return store.ID("agent.secret.uses", id) }

func readSecret(r store.Record) (secretRecord, error) {
	var s secretRecord
	if err := json.Unmarshal(r.Data, &s); err != nil {
		return s, keywright.Wrap(keywright.CodeInternal, fmt.Errorf("agentauth: enrolment secret %s: %w", r.ID, err))
	}
	return s, nil
}

// check completes s.
func (s *SecretSettings) check() error {
	invalid := func(format string, args ...any) error {
		return keywright.Errorf(keywright.CodeInvalidRequest, format, args...)
	}
	if s.Uses == 0 {
		s.Uses = 1
	}
	if s.Life == 0 {
		s.Life = defaultSecretLife
	}
	switch {
	case len(s.Description) > maxSecretText || strings.ContainsFunc(s.Description, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return invalid("description: want at most %d bytes without control characters", maxSecretText)
	case s.Uses < 0 || s.Uses > math.MaxInt32:
		return invalid("uses: want 1 to %d", math.MaxInt32)
	case s.Life < time.Second || s.Life > maxSecretLife:
		return invalid("expires_in: want 1 second to 30 days")
	case s.TokenLife != 0 && checkTokenLife(s.TokenLife) != nil:
		return invalid("token_expires_in: %v", checkTokenLife(s.TokenLife))
	case len(s.Scopes) > maxSecretScopes || slices.ContainsFunc(s.Scopes, isNoScope):
		return invalid("scopes: want at most %d words of visible ASCII", maxSecretScopes)
	}
	// Its provider says whether the domain is right and whether this is development.
	if s.AgentID != "" {
		if id, err := parseAgentID(s.AgentID, true); err != nil || strings.Contains(id.Local, "+") {
			return invalid("agent_id: want aauth:name@domain")
		}
	}
	if s.PersonServer != "" && checkServerID(s.PersonServer, true) != nil {
		return invalid("ps: want the identifier of a server, https://host")
	}
	s.Scopes = slices.Clone(s.Scopes)
	return nil
}

// isNoScope reports whether s is no scope, or too long for one.
func isNoScope(s string) bool {
	return len(s) > maxSecretText || !isScope(s)
}

// Create makes a secret on behalf of actor.
func (e *EnrollmentSecrets) Create(ctx context.Context, actor keywright.Principal, s SecretSettings) (NewSecret, error) {
	if err := s.check(); err != nil {
		return NewSecret{}, err
	}
	text := keytext.New(secretPrefix)
	now := e.host.Hooks.Now().UTC().Truncate(time.Second)
	stored := secretRecord{
		Hash: secretHash(text.Text), Description: s.Description, Uses: s.Uses, AgentID: s.AgentID, PersonServer: s.PersonServer,
		Scopes: s.Scopes, TokenLife: s.TokenLife, Created: now, CreatedBy: actor.Subject,
	}
	data, err := json.Marshal(stored)
	if err != nil {
		return NewSecret{}, keywright.Wrap(keywright.CodeInternal, err)
	}
	r := store.Record{Kind: KindSecret, ID: text.ID, Expires: now.Add(s.Life), Data: data}
	if err := e.host.Commit(ctx, secretEvent("agent.secret_created", actor, r, stored), store.Insert(r)); err != nil {
		return NewSecret{}, keywright.Wrap(keywright.CodeUnavailable, err)
	}
	return NewSecret{stored.describe(r, 0), text.Text}, nil
}

func secretEvent(name string, actor keywright.Principal, r store.Record, s secretRecord) keywright.Event {
	attrs := map[string]string{"by": actor.Subject, "expires": r.Expires.Format(time.RFC3339), "uses": fmt.Sprint(s.Uses)}
	for fact, v := range map[string]string{"agent": s.AgentID, "ps": s.PersonServer, "scope": strings.Join(s.Scopes, " ")} {
		if v != "" {
			attrs[fact] = v
		}
	}
	return keywright.Event{Name: name, Actor: actor.Credential, Target: r.ID, Attrs: attrs}
}

func (s secretRecord) describe(r store.Record, used int64) Secret {
	return Secret{
		SecretSettings: SecretSettings{
			Description: s.Description, Uses: s.Uses, Life: r.Expires.Sub(s.Created), AgentID: s.AgentID,
			PersonServer: s.PersonServer, Scopes: s.Scopes, TokenLife: s.TokenLife,
		},
		ID: r.ID, Used: used, Expires: r.Expires, Created: s.Created, CreatedBy: s.CreatedBy,
	}
}

// List describes up to limit secrets (0: all) that have not expired, those that
// are used up among them, whose ids follow after, in the order of their ids.
func (e *EnrollmentSecrets) List(ctx context.Context, after string, limit int) ([]Secret, error) {
	var secrets []Secret
	for r, err := range e.host.Store.List(ctx, store.Query{Kind: KindSecret, After: after, Limit: limit}) {
		if errors.Is(err, store.ErrInvalid) {
			return nil, keywright.Errorf(keywright.CodeInvalidRequest, "after, limit: not those of a list")
		}
		if err != nil {
			return nil, keywright.Wrap(keywright.CodeUnavailable, err)
		}
		s, err := readSecret(r)
		if err != nil {
			return nil, err
		}
		used, err := e.used(ctx, r.ID)
		if err != nil {
			return nil, err
		}
		secrets = append(secrets, s.describe(r, used))
	}
	return secrets, nil
}

func (e *EnrollmentSecrets) used(ctx context.Context, id string) (int64, error) {
	n, err := e.host.Store.Add(ctx, secretUses(id), 0, time.Time{})
	if err != nil {
		return 0, keywright.Wrap(keywright.CodeUnavailable, err)
	}
	return n, nil
}

// Delete ends a secret, by its public id. Agents that it has admitted live on.
// Without one it is CodeNotFound.
func (e *EnrollmentSecrets) Delete(ctx context.Context, actor keywright.Principal, id string) error {
	absent := keywright.Errorf(keywright.CodeNotFound, "no enrolment secret has this id")
	if !keytext.ValidID(id) {
		return absent
	}
	return endpoint.Retry(func() error {
		records, err := e.host.Store.Get(ctx, secretKey(id))
		switch {
		case err != nil:
			return err
		case !records[0].Exists():
			return absent
		}
		s, err := readSecret(records[0])
		if err != nil {
			return err
		}
		return e.host.Commit(ctx, secretEvent("agent.secret_deleted", actor, records[0], s), store.Delete(records[0]))
	})
}

// Admit is an [Admission]: it admits who brings a secret that is not used up. All
// others are denied, with nothing said of why, but to the audit.
func (e *EnrollmentSecrets) Admit(ctx context.Context, a Applicant) (Admitted, error) {
	text, err := keytext.Parse(a.Secret)
	if err != nil || text.Prefix != secretPrefix {
		return Admitted{}, denied(errors.New("agentauth: no enrolment secret"))
	}
	records, err := e.host.Store.Get(ctx, secretKey(text.ID))
	if err != nil {
		return Admitted{}, keywright.Wrap(keywright.CodeUnavailable, err)
	}
	refused := func(why string) (Admitted, error) {
		return Admitted{}, denied(fmt.Errorf("agentauth: enrolment secret %s: %s", text.ID, why))
	}
	if !records[0].Exists() {
		return refused("unknown, expired or deleted")
	}
	s, err := readSecret(records[0])
	if err != nil {
		return Admitted{}, err
	}
	if subtle.ConstantTimeCompare(s.Hash, secretHash(a.Secret)) != 1 {
		return refused("wrong")
	}
	// The Take below is what counts. Asked before, a secret that is used up tells
	// nothing of which identifiers are in use.
	used, err := e.used(ctx, text.ID)
	switch {
	case err != nil:
		return Admitted{}, err
	case used >= int64(s.Uses):
		return refused("used up")
	case s.AgentID != "" && a.AgentID != "" && a.AgentID != s.AgentID:
		return refused("for another agent identifier")
	case s.PersonServer != "" && a.PersonServer != "" && a.PersonServer != s.PersonServer:
		return refused("for another person server")
	}
	return Admitted{
		AgentID: s.AgentID, PersonServer: s.PersonServer, TokenLife: s.TokenLife, Scopes: s.Scopes, By: text.ID,
		Ops: []store.Op{store.Check(records[0]), store.Take(secretUses(text.ID), 1, int64(s.Uses), records[0].Expires)},
	}, nil
}
