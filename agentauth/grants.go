package agentauth

import (
	"context"
	"crypto"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Grants are what an agent has got for the origins that it calls: tokens that stand
// in for its agent token there. There are as many origins as the configuration of
// the transport names.
type grants struct {
	identity Identity
	person   *PersonServer // nil: none
	now      func() time.Time

	mu      sync.Mutex
	origins map[string]*grant  // guarded by mu
	public  crypto.PublicKey   // guarded by mu; of the key that was asked about last, which has
	jkt     string             // guarded by mu; this thumbprint
	flights map[string]*flight // guarded by mu
}

// A grant is what there is for one origin. It is guarded by the mutex of the grants.
type grant struct {
	person, auth *held                   // nil: none
	session      string                  // of AAuth-Access; "": none
	patient      map[TokenType]time.Time // until when a token is used though another is due
	levels       map[string]TokenType    // by method and path: the most that it takes
}

const (
	maxLevels  = 1000        // methods and paths of an origin
	retryFloor = time.Minute // between two attempts to get another token ahead of time
)

func newGrants(identity Identity, person *PersonServer, now func() time.Time) *grants {
	return &grants{identity: identity, person: person, now: now, origins: make(map[string]*grant), flights: make(map[string]*flight)}
}

// An errand is one request of a caller, from its first hop to its last. It is used
// by one goroutine.
type errand struct {
	place string          // method and path
	level TokenType       // the most to show; "": what there is
	met   map[string]bool // requirements that were met
}

type errandKey struct{}

// begin returns the context for all that is done for one request.
func (g *grants) begin(r *http.Request) context.Context {
	return context.WithValue(r.Context(), errandKey{}, &errand{place: r.Method + " " + r.URL.Path, met: make(map[string]bool)})
}

func errandOf(ctx context.Context) *errand {
	if e, ok := ctx.Value(errandKey{}).(*errand); ok {
		return e
	}
	return &errand{met: make(map[string]bool)}
}

// first reports whether a requirement is met for the first time.
func (e *errand) first(parts ...string) bool {
	key := strings.Join(parts, "\x00")
	if e.met[key] {
		return false
	}
	e.met[key] = true
	return true
}

// at returns what there is for an origin. The caller holds the mutex.
func (g *grants) at(origin string) *grant {
	o := g.origins[origin]
	if o == nil {
		o = &grant{patient: make(map[TokenType]time.Time), levels: make(map[string]TokenType)}
		g.origins[origin] = o
	}
	return o
}

// credential returns what to sign with for an origin, see originOfURL: the highest token that there
// is for it, and that the place of the request takes.
func (g *grants) credential(ctx context.Context, origin string) (Credential, error) {
	base, err := g.identity.Credential(ctx)
	if err != nil || g.person == nil {
		return base, err
	}
	e, now := errandOf(ctx), g.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.at(origin)
	if o.auth == nil && o.person == nil {
		return base, nil
	}
	jkt, err := g.thumbprint(base.Key)
	if err != nil {
		return Credential{}, err
	}
	o.prune(jkt, now)
	level := e.level
	if level == "" {
		level = o.levels[e.place]
	}
	for _, h := range []*held{o.auth, o.person} {
		if h != nil && o.usable(h, now) && reaches(level, h.typ) {
			return Credential{Key: base.Key, As: SignOptions{Token: h.text}, Expires: h.expires}, nil
		}
	}
	return base, nil
}

// thumbprint is that of a key. The caller holds the mutex.
func (g *grants) thumbprint(key crypto.Signer) (string, error) {
	if known, ok := g.public.(interface{ Equal(crypto.PublicKey) bool }); ok && key != nil && known.Equal(key.Public()) {
		return g.jkt, nil
	}
	jkt, err := thumbprintOf(key)
	if err == nil {
		g.public, g.jkt = key.Public(), jkt
	}
	return jkt, err
}

// reaches reports whether a place that takes level takes a token of typ.
func reaches(level, typ TokenType) bool {
	switch level {
	case AgentToken:
		return false
	case PersonToken:
		return typ == PersonToken
	}
	return true
}

// prune drops tokens that have ended, and those of another key.
func (o *grant) prune(jkt string, now time.Time) {
	for _, h := range []**held{&o.person, &o.auth} {
		if *h != nil && ((*h).jkt != jkt || !now.Before((*h).expires)) {
			*h = nil
		}
	}
}

// usable reports whether h need not be replaced yet: it has more than 5 minutes
// left, or than a fifth of its life, or no other was to be had just now.
func (o *grant) usable(h *held, now time.Time) bool {
	margin := min(5*time.Minute, h.expires.Sub(h.issued)/5)
	return h.expires.Sub(now) > margin || now.Before(o.patient[h.typ])
}

// keep stores a token in the place of the one before.
func (g *grants) keep(origin string, h *held) {
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.at(origin)
	delete(o.patient, h.typ)
	if h.typ == PersonToken {
		o.person = h
		return
	}
	o.auth = h
}

// standing returns the token of a type that is there for a key, or nil.
func (g *grants) standing(origin string, typ TokenType, jkt string) *held {
	now := g.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.at(origin)
	o.prune(jkt, now)
	h := o.auth
	if typ == PersonToken {
		h = o.person
	}
	if h == nil || !o.usable(h, now) {
		return nil
	}
	return h
}

// drop forgets a token that is refused.
func (g *grants) drop(origin string, shown presented) {
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.at(origin)
	for _, h := range []**held{&o.person, &o.auth} {
		if *h != nil && (*h).typ == shown.typ && (*h).jti == shown.jti {
			*h = nil
		}
	}
}

// learn remembers the most that the place of a request takes. "": all.
func (g *grants) learn(origin string, e *errand, level TokenType) {
	e.level = level
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.at(origin)
	switch {
	case e.place == "":
	case level == "":
		delete(o.levels, e.place)
	default:
		if len(o.levels) >= maxLevels {
			clear(o.levels)
		}
		o.levels[e.place] = level
	}
}

// patience reports whether there is still a token of a type for a key, whose end is
// near, and has it used for a while.
func (g *grants) patience(origin string, typ TokenType, jkt string) bool {
	now := g.now()
	g.mu.Lock()
	defer g.mu.Unlock()
	o := g.at(origin)
	o.prune(jkt, now)
	if h := o.auth; typ == AuthToken && h == nil || typ == PersonToken && o.person == nil {
		return false
	}
	o.patient[typ] = now.Add(retryFloor)
	return true
}

// capabilities is the value of AAuth-Capabilities (AAuth, section "Capabilities") of
// requests to resources, and of no others; "": the agent has none to tell of.
func (g *grants) capabilities() string {
	if g.person == nil {
		return ""
	}
	return strings.Join(g.person.capabilities(), ", ")
}
