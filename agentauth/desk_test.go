package agentauth_test

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/internal/jose"
)

// A desk is a person server's side of the tokens that it grants to agents. What it
// grants follows from the request; what it answers before that is the script.
type desk struct {
	*personServer
	agent ed25519.PrivateKey

	mu      sync.Mutex
	script  []scripted     // guarded by mu
	seen    []string       // guarded by mu; method, path and body
	headers []http.Header  // guarded by mu
	changes map[string]any // guarded by mu; of the claims of what is granted
	waiting string         // guarded by mu; what was asked and is not granted yet
	old     bool           // guarded by mu; the metadata of older drafts
	signer  *personServer  // guarded by mu; nil: itself
}

// A scripted is one answer before the decision. 0: the decision itself.
type scripted struct {
	status int
	header string // AAuth-Requirement
	retry  string // Retry-After
	body   string
}

// handler verifies what comes as a resource would.
func (d *desk) handler(w *world) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/aauth-person.json", func(rw http.ResponseWriter, _ *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.old {
			fmt.Fprintf(rw, `{"issuer":%q,"jwks_uri":%q,"token_endpoint":%q}`, d.id, d.id+"/jwks.json", d.id+"/auth")
			return
		}
		fmt.Fprintf(rw, `{"issuer":%q,"jwks_uri":%q,"auth_token_endpoint":%q,"person_token_endpoint":%q,"interaction_endpoint":%q}`,
			d.id, d.id+"/jwks.json", d.id+"/auth", d.id+"/person", d.id+"/relay")
	})
	mux.HandleFunc("GET /jwks.json", func(rw http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(rw, `{"keys":[%s]}`, jwkText(d.t, d.key, personKeyID))
	})
	_, authority, _ := strings.Cut(d.id, "://")
	v, err := agentauth.NewVerifier(agentauth.VerifierConfig{
		Host: w.host, Providers: []*agentauth.Provider{w.provider}, Profile: agentauth.Profile{Authorities: []string{authority}},
	})
	must(d.t, err)
	signed := v.Require(agentauth.Policy{CoverBody: true})
	mux.Handle("/", signed(http.HandlerFunc(d.serve)))
	return mux
}

func (d *desk) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen = append(d.seen, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+string(body)))
	d.headers = append(d.headers, r.Header.Clone())
	if r.Method == "POST" && (r.URL.Path == "/person" || r.URL.Path == "/auth") {
		d.waiting = r.URL.Path + string(body)
	}
	var s scripted
	if len(d.script) > 0 {
		s, d.script = d.script[0], d.script[1:]
	}
	switch {
	case r.Method == "DELETE":
		w.WriteHeader(204)
	case s.status != 0:
		w.Header().Set("Location", "/pending/1")
		if s.header != "" {
			w.Header().Set("AAuth-Requirement", s.header)
		}
		if s.retry != "" {
			w.Header().Set("Retry-After", s.retry)
		}
		w.WriteHeader(s.status)
		io.WriteString(w, s.body)
	default:
		d.grantWaiting(w)
	}
}

// grantWaiting answers with the token that was asked for.
func (d *desk) grantWaiting(w io.Writer) {
	signer := d.personServer
	if d.signer != nil {
		signer = d.signer
	}
	if body, ok := strings.CutPrefix(d.waiting, "/person"); ok {
		var m map[string]any
		must(d.t, json.Unmarshal([]byte(body), &m))
		claims := map[string]any{"aud": m["resource"]}
		maps.Copy(claims, d.changes)
		fmt.Fprintf(w, `{"person_token":%q,"expires_in":3600}`, signer.token(agentauth.PersonToken, d.agent, claims))
		return
	}
	var asked struct {
		ResourceToken string `json:"resource_token"`
	}
	must(d.t, json.Unmarshal([]byte(strings.TrimPrefix(d.waiting, "/auth")), &asked))
	parsed, err := jose.Parse(asked.ResourceToken)
	must(d.t, err)
	c, err := parsed.UnverifiedClaims()
	must(d.t, err)
	var rt map[string]any
	must(d.t, json.Unmarshal(c.JSON(), &rt))
	claims := map[string]any{"aud": rt["iss"], "sub": rt["sub"], "scope": rt["scope"], "iss": rt["aud"], "ps": d.id}
	if rt["aud"] != d.id {
		claims["dwk"] = agentauth.RoleAccessServer
	}
	maps.Copy(claims, d.changes)
	fmt.Fprintf(w, `{"auth_token":%q,"expires_in":3600}`, signer.token(agentauth.AuthToken, d.agent, claims))
}

// took returns what was seen since the last time.
func (d *desk) took() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	seen := d.seen
	d.seen = nil
	return seen
}

// tookPaths is took without the bodies.
func (d *desk) tookPaths() string {
	var paths []string
	for _, s := range d.took() {
		f := strings.SplitN(s, " ", 3)
		paths = append(paths, f[0]+" "+f[1])
	}
	return strings.Join(paths, ", ")
}

func (d *desk) set(change func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change()
}
