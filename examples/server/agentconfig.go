package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/keywright/keywright/agentauth"
)

// agentsConfig makes the server an agent provider, and a resource that agents
// call.
type agentsConfig struct {
	Admission   admissions     `json:"admission"`       // who becomes an agent, as below; none: nobody
	Issuer      string         `json:"issuer"`          // "": the origin of the server's URL
	Keys        string         `json:"keys"`            // directory of the signing keys; "": beside the database
	TokenLife   duration       `json:"token_life"`      // of agent tokens; 0s: 1h
	Trust       []string       `json:"trust"`           // issuers of other servers whose tokens are accepted too
	Networks    []netip.Prefix `json:"allow_networks"`  // private networks with such servers
	HideKeys    bool           `json:"hide_agent_keys"` // serves no keys of single agents, which tell who is one
	Development bool           `json:"development"`     // servers on this machine over http and with ports, this one too
	Compat      compatConfig   `json:"compat"`          // what older clients do
}

// Whom an admission may name.
const (
	admitOpen     = "open"     // everybody, under any name that is free: for development
	admitSecrets  = "secrets"  // who has an enrolment secret of the admin API
	admitKeys     = "keys"     // who has a provisioning key, or that of a CI job: see enrolling
	admitApproval = "approval" // whom an administrator approves
)

// admissions are written as one name, or as a list of them in the order in which
// they are asked.
type admissions []string

var errAdmission = errors.New("agents.admission: want open, secrets, keys, approval, or a list of them")

func (a *admissions) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = admissions{one}
		return nil
	}
	var list []string
	if json.Unmarshal(b, &list) != nil {
		return errAdmission
	}
	*a = list
	return nil
}

func (a admissions) check() error {
	for i, name := range a {
		switch name {
		case admitSecrets, admitKeys:
		case admitOpen, admitApproval:
			if i < len(a)-1 {
				return fmt.Errorf("agents.admission: nobody is left to ask behind %s", name)
			}
		default:
			return errAdmission
		}
		if slices.Contains(a[:i], name) {
			return fmt.Errorf("agents.admission: %s is there twice", name)
		}
	}
	return nil
}

// compatConfig has a member for each flag. It does not compile with a flag of
// agentauth.Compat that it lacks.
type compatConfig struct {
	compatFlags
	ExpSkew duration `json:"exp_skew"`
}

type compatFlags struct {
	HWKWithoutAlg bool `json:"hwk_without_alg"`
	CnfWithoutAlg bool `json:"cnf_without_alg"`
	AcceptEdDSA   bool `json:"accept_eddsa"`

	LegacyNamingJWT    bool          `json:"legacy_naming_jwt"`
	LegacyHWKJWKParam  bool          `json:"legacy_hwk_jwk_param"`
	LegacyJWKSURI      bool          `json:"legacy_jwks_uri"`
	AllowUnsignedEnrol bool          `json:"allow_unsigned_enrol"`
	AnyAgentDomain     bool          `json:"any_agent_domain"`
	EmitPersonTokenJTI bool          `json:"emit_person_token_jti"`
	ExpSkew            time.Duration `json:"-"`
}

func (c compatConfig) compat() agentauth.Compat {
	compat := agentauth.Compat(c.compatFlags)
	compat.ExpSkew = c.ExpSkew.Duration
	return compat
}

func (c *agentsConfig) check() error {
	if c == nil {
		return nil
	}
	if err := c.Admission.check(); err != nil {
		return err
	}
	for _, issuer := range c.Trust {
		if err := c.checkServer(issuer); err != nil {
			return fmt.Errorf("agents.trust: %w", err)
		}
	}
	return checkDurations("agents", map[string]duration{"token_life": c.TokenLife, "compat.exp_skew": c.Compat.ExpSkew})
}

// checkServer explains what is wrong with an identifier that others would not
// accept either. What else there is to say of it, agentauth knows.
func (c *agentsConfig) checkServer(id string) error {
	u, err := url.Parse(id)
	switch {
	case err != nil || id != u.Scheme+"://"+u.Host || u.Hostname() == "":
		return fmt.Errorf("%q: want https://host", id)
	case !c.Development && (u.Scheme != "https" || u.Port() != ""):
		return fmt.Errorf("%q: want https://host without a port; on one machine, agents.development does without https", id)
	}
	return nil
}

// issuer is the server's identifier to agents and other servers.
func (c *agentsConfig) issuer(server *url.URL) (string, error) {
	id := cmp.Or(c.Issuer, server.Scheme+"://"+server.Host)
	return id, c.checkServer(id)
}

func (c *agentsConfig) trusts(issuer string, _ agentauth.Role) bool {
	return slices.Contains(c.Trust, issuer)
}

func (c *agentsConfig) network() agentauth.Network {
	return agentauth.Network{AllowNetworks: c.Networks, Development: c.Development}
}
