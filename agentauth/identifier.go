package agentauth

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

const (
	maxLocal  = 255 // characters of an agent identifier before the "@"
	maxDomain = 253
	maxLabel  = 63
)

// An AgentID is an agent identifier, such as aauth:planner@agents.example. It is
// compared byte for byte.
type AgentID struct {
	Local  string // letters, digits and "-_+.", at most 255; a "+" is in those of sub-agents alone
	Domain string // of the agent provider, in lower case
}

// String returns the identifier as it travels.
func (id AgentID) String() string { return "aauth:" + id.Local + "@" + id.Domain }

// ParseAgentID reads an agent identifier (AAuth, section "Agent Identifiers").
// That it is one says nothing of who has it.
func ParseAgentID(text string) (AgentID, error) { return parseAgentID(text, false) }

func parseAgentID(text string, development bool) (AgentID, error) {
	rest, ok := strings.CutPrefix(text, "aauth:")
	if !ok {
		return AgentID{}, errors.New("agentauth: agent identifier: want aauth:name@domain")
	}
	local, domain, ok := strings.Cut(rest, "@")
	if !ok {
		return AgentID{}, errors.New("agentauth: agent identifier: want aauth:name@domain")
	}
	if err := checkLocal(local); err != nil {
		return AgentID{}, fmt.Errorf("agentauth: agent identifier: %w", err)
	}
	if err := checkDomain(domain, development); err != nil {
		return AgentID{}, fmt.Errorf("agentauth: agent identifier: domain: %w", err)
	}
	return AgentID{local, domain}, nil
}

func checkLocal(local string) error {
	if local == "" || len(local) > maxLocal {
		return fmt.Errorf("the name has %d characters, want 1 to %d", len(local), maxLocal)
	}
	if strings.Trim(local, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_+.") != "" {
		return errors.New(`the name has characters other than letters, digits and "-_+."`)
	}
	if parent, discriminator, sub := strings.Cut(local, "+"); sub && (parent == "" || discriminator == "") {
		return errors.New(`the name has nothing on one side of its "+"`)
	}
	return nil
}

// checkDomain wants a name in ASCII. In development an address of this machine
// will do too.
func checkDomain(domain string, development bool) error {
	if addr, err := netip.ParseAddr(strings.Trim(domain, "[]")); development && err == nil && addr.IsLoopback() {
		return nil
	}
	if domain == "" || len(domain) > maxDomain {
		return fmt.Errorf("%d characters, want 1 to %d", len(domain), maxDomain)
	}
	for label := range strings.SplitSeq(domain, ".") {
		switch {
		case label == "" || len(label) > maxLabel:
			return errors.New("a label is empty or too long")
		case strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
			return errors.New("want lower-case letters, digits and hyphens")
		case label[0] == '-' || label[len(label)-1] == '-':
			return errors.New("a label begins or ends with a hyphen")
		}
	}
	// Resolvers take 127.1 and 2130706433 for addresses.
	if last := domain[strings.LastIndexByte(domain, '.')+1:]; strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
		return errors.New("the last label is a number")
	}
	return nil
}

// checkServerID wants the identifier of a server: https, a name, and nothing else
// (AAuth, section "Server Identifiers"). In development it may be http and have a
// port, on this machine alone.
func checkServerID(id string, development bool) error {
	u, err := url.Parse(id)
	if err != nil || id != u.Scheme+"://"+u.Host || u.Host != strings.ToLower(u.Host) {
		return errors.New("agentauth: server identifier: want https://host in lower case, and nothing behind the host")
	}
	if development && (u.Scheme == "http" || u.Scheme == "https") && isLoopback(u.Hostname()) {
		return nil
	}
	switch {
	case u.Scheme != "https":
		return errors.New("agentauth: server identifier: want https; http is for development on this machine")
	case u.Host != u.Hostname():
		return errors.New("agentauth: server identifier: want no port; ports are for development on this machine")
	}
	if err := checkDomain(u.Host, false); err != nil {
		return fmt.Errorf("agentauth: server identifier: host: %w", err)
	}
	return nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// domainOf returns the host of a server identifier, without a port.
func domainOf(serverID string) string {
	u, err := url.Parse(serverID)
	if err != nil {
		return ""
	}
	return u.Hostname()
}
