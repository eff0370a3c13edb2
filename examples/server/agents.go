package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
	"github.com/keywright/keywright/provisioning"
)

const (
	// enrollAgents is the scope of those keys of CI jobs that admit agents.
	enrollAgents = "enroll_agents"

	// ownScope is what persons may allow their agents at this server.
	ownScope = "example"
)

// An agentServer is this server as an agent provider and as a resource.
type agentServer struct {
	provider *agentauth.Provider
	verifier *agentauth.Verifier
	resource *agentauth.Resource
}

// setUpAgents returns nil where they are not configured. Without a name in the
// configuration, dir is the directory of the signing keys, which every process on
// one database must find.
func setUpAgents(ctx context.Context, host keywright.Host, cfg *agentsConfig, dir string, prov *provisioning.Handler, admin keywright.Authenticator) (*agentServer, error) {
	if cfg == nil {
		return nil, nil
	}
	issuer, err := cfg.issuer(host.URL)
	if err != nil {
		return nil, fmt.Errorf("agents.issuer: %w", err)
	}
	keys, err := signingKeys(host, cmp.Or(cfg.Keys, dir))
	if err != nil {
		return nil, fmt.Errorf("agents.keys: %w", err)
	}
	c := agentauth.ProviderConfig{
		Host: host, Issuer: issuer, Keys: keys,
		// Who may let runners in may let agents in.
		Admin: admin, Permission: manageKeys,
		Limits:  agentauth.ProviderLimits{TokenLife: cfg.TokenLife.Duration, HideAgentKeys: cfg.HideKeys},
		Profile: agentauth.Profile{Network: cfg.network(), Compat: cfg.Compat.compat()},
	}
	if c.Admission, err = cfg.admission(host, prov); err != nil {
		return nil, fmt.Errorf("agents: %w", err)
	}
	s, err := newAgentServer(c, cfg.trusts)
	if err != nil {
		return nil, fmt.Errorf("agents: %w", err)
	}
	if err := keys.Sync(ctx); err != nil {
		return nil, fmt.Errorf("agents.keys: %w", err)
	}
	return s, nil
}

// signingKeys are those of the server in both roles. Like the bootstrap secret
// they are there for whoever may read the server's files.
func signingKeys(host keywright.Host, dir string) (*agentauth.SigningKeys, error) {
	st, err := keystore.NewDir(keystore.DirConfig{Path: dir, InsecurePlaintext: true, Now: host.Hooks.Now})
	if err != nil {
		return nil, err
	}
	return agentauth.NewSigningKeys(host, st, "")
}

// newAgentServer makes the provider of c, and a resource beside it.
func newAgentServer(c agentauth.ProviderConfig, trust func(issuer string, role agentauth.Role) bool) (*agentServer, error) {
	var s agentServer
	var err error
	if s.provider, err = agentauth.NewProvider(c); err != nil {
		return nil, err
	}
	s.verifier, err = agentauth.NewVerifier(agentauth.VerifierConfig{
		Host: c.Host, Trust: trust, Providers: []*agentauth.Provider{s.provider}, Profile: c.Profile,
	})
	if err != nil {
		return nil, err
	}
	s.resource, err = agentauth.NewResource(agentauth.ResourceConfig{
		Host: c.Host, Verifier: s.verifier, Issuer: c.Issuer, Keys: c.Keys,
		Scopes: map[string]string{ownScope: "Ask this example server who you are to it"},
	})
	return &s, err
}

// mount mounts the endpoints, and a route for each token of a person that agents
// may have to bring. It returns who knows the callers that sign requests to the
// host's other routes: nobody where s is nil.
func (s *agentServer) mount(mux *http.ServeMux) ([]keywright.Authenticator, error) {
	if s == nil {
		return nil, nil
	}
	s.provider.Register(mux, "")
	s.resource.Register(mux, "")
	mux.Handle("GET /person", s.resource.RequirePerson(agentauth.Policy{})(http.HandlerFunc(whoami)))
	mux.Handle("GET /auth", s.resource.RequireAuth(agentauth.Policy{}, ownScope)(http.HandlerFunc(whoami)))
	// Agents bring their token. By a key alone, those are known that are enrolled
	// here, and runners that provisioning has bound to a key.
	signed, err := s.verifier.Authenticator(agentauth.Policy{
		Schemes: []agentauth.Scheme{agentauth.SchemeJWT, agentauth.SchemeHWK, agentauth.SchemeJWKS},
	})
	return []keywright.Authenticator{signed}, err
}

// admission asks in the order of the configuration.
func (c *agentsConfig) admission(host keywright.Host, prov *provisioning.Handler) (agentauth.Admission, error) {
	secrets, err := agentauth.NewEnrollmentSecrets(host)
	if err != nil {
		return nil, err
	}
	known := map[string]agentauth.Admission{
		admitOpen:     agentauth.AdmitAnybody,
		admitSecrets:  secrets.Admit,
		admitKeys:     agentauth.AdmitCallers(host.Keys.Of("provisioning", "ci"), enrolling{prov}.admit),
		admitApproval: agentauth.AdmitAfterApproval,
	}
	var list []agentauth.Admission
	for _, name := range c.Admission {
		list = append(list, known[name])
	}
	return agentauth.AdmitFirst(list...), nil
}

// enrolling says what becomes of those who come with a key.
type enrolling struct{ prov *provisioning.Handler }

// admit lets a key do for agents what it is there for, and no more.
//
//   - A provisioning key lets machines in. The agent gets the scopes that the
//     key's runners get. A key with limits to its runners admits no agent: it is
//     not counted among them, and has another name.
//   - The key of a CI job ends within the hour, and an agent stays. So it takes a
//     scope of its own to make one, and the agent gets none.
func (e enrolling) admit(caller keywright.Principal, a agentauth.Applicant) (agentauth.Admitted, error) {
	if caller.Method == keywright.MethodExchange {
		if !caller.HasScope(enrollAgents) {
			return agentauth.Admitted{}, errors.New("key of a CI job without the scope " + enrollAgents)
		}
		return agentauth.Admitted{}, nil
	}
	key, err := e.prov.Key(a.Request.Context(), caller.Subject)
	switch {
	case err != nil:
		return agentauth.Admitted{}, err
	case key.MaxUses > 0 || key.MaxPending > 0 || key.Pattern != "" || len(key.Networks) > 0:
		return agentauth.Admitted{}, errors.New("provisioning key " + key.ID + " has limits to its runners")
	}
	return agentauth.Admitted{Scopes: key.Scopes}, nil
}
