package agentauth

import (
	"net/http"
	"strings"
)

const (
	accessField   = "Aauth-Access" // in the canonical form of net/http
	accessScheme  = "AAuth "
	maxSession    = 4096 // bytes
	token68Extras = "-._~+/"
)

// session returns what to send to an origin as Authorization, by scheme AAuth, which
// is covered (AAuth, section "AAuth-Access"); "": nothing. A request that has an
// Authorization of its own keeps that.
func (g *grants) session(origin string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if o := g.origins[origin]; o != nil {
		return o.session
	}
	return ""
}

// keepSession reads AAuth-Access of an answer. The newest takes the place of the one
// before. What is none is passed over.
func (g *grants) keepSession(origin string, h http.Header) {
	lines := h[accessField]
	if len(lines) != 1 || !isToken68(lines[0]) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.at(origin).session = lines[0]
}

// endSession forgets the session that a request had which was refused.
func (g *grants) endSession(origin string, r *http.Request) {
	if r == nil {
		return
	}
	sent, ok := strings.CutPrefix(r.Header.Get("Authorization"), accessScheme)
	if !ok {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if o := g.at(origin); o.session == sent {
		o.session = ""
	}
}

// isToken68 reports whether s is one (RFC 9110, section 11.2).
func isToken68(s string) bool {
	s = strings.TrimRight(s, "=")
	return s != "" && len(s) <= maxSession && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(token68Extras, r)
	})
}
