package agentauth_test

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/internal/agent"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/store"
)

func (w *world) whoami(key crypto.Signer, token string) answer {
	w.t.Helper()
	return w.do(w.sign(w.request("GET", "/whoami", ""), key, agentauth.SignOptions{Token: token}))
}

func (w *world) refresh(key crypto.Signer, o agentauth.SignOptions) answer {
	w.t.Helper()
	return w.do(w.sign(w.request("POST", "/refresh", "{}"), key, o))
}

func (w *world) tryEnroll(key crypto.Signer, body string) answer {
	w.t.Helper()
	return w.do(w.sign(w.request("POST", "/enrol", body), key, agentauth.SignOptions{}))
}

func (w *world) wantAgent(a answer, id string) {
	w.t.Helper()
	if a.status != 200 {
		w.t.Fatalf("got %d %s %v", a.status, a.body, a.header)
	}
	if p := a.json(w.t); p["Subject"] != id || p["Issuer"] != issuer || p["Method"] != "agent" {
		w.t.Fatalf("the caller is %s, want %s", a.body, id)
	}
}

func (w *world) wantToken(a answer) string {
	w.t.Helper()
	if a.status != 200 {
		w.t.Fatalf("got %d %s %v", a.status, a.body, a.header)
	}
	return a.json(w.t)["agent_token"].(string)
}

// wantError wants an answer of the dialect AAuth, with Signature-Error for what is
// wrong with a signature and without for everything else.
func (w *world) wantError(a answer, status int, code string) {
	w.t.Helper()
	if a.status != status || a.json(w.t)["error"] != code {
		w.t.Fatalf("got %d %s %v, want %d %s", a.status, a.body, a.header, status, code)
	}
	got := a.header.Get("Signature-Error")
	if want := "error=" + code; status == 401 && got != want && !strings.HasPrefix(got, want+",") || status != 401 && got != "" {
		w.t.Errorf("Signature-Error: %q with %d %s", got, status, code)
	}
	if status == 403 {
		for name := range a.header {
			if strings.HasPrefix(name, "Accept-Signature") {
				w.t.Errorf("a 403 has %s", name)
			}
		}
	}
	if a.header.Get("Cache-Control") != "no-store" {
		w.t.Errorf("Cache-Control: %q", a.header.Get("Cache-Control"))
	}
}

func claimsOf(t testing.TB, token string) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	for i, to := range []*map[string]any{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		must(t, err)
		must(t, json.Unmarshal(text, to))
	}
	return header, claims
}

func jwkOf(t testing.TB, key crypto.Signer, alg string) string {
	t.Helper()
	k, err := jose.PublicKey(key.Public())
	must(t, err)
	text, err := jose.MarshalJWK(k, alg)
	must(t, err)
	return string(text)
}

func thumbprint(t testing.TB, key crypto.Signer) string {
	t.Helper()
	k, err := jose.PublicKey(key.Public())
	must(t, err)
	jkt, err := k.Thumbprint()
	must(t, err)
	return jkt
}

// dump returns all records of the kinds of this package.
func (w *world) dump() map[string]string {
	w.t.Helper()
	all := make(map[string]string)
	for _, kind := range []string{agent.Kind, agentauth.KindAgentID, agentauth.KindSeen, agentauth.KindNaming, agentauth.KindAgentToken, agentauth.KindRevoked, "event"} {
		for r, err := range w.store.List(w.t.Context(), store.Query{Kind: kind}) {
			must(w.t, err)
			all[r.Kind+" "+r.ID] = string(r.Data)
		}
	}
	return all
}

// agents returns the names of all agents, by thumbprint.
func (w *world) agents() map[string]string {
	w.t.Helper()
	all := make(map[string]string)
	for r, err := range w.store.List(w.t.Context(), store.Query{Kind: agent.Kind}) {
		must(w.t, err)
		a, err := agent.Read(r)
		must(w.t, err)
		all[r.ID] = a.Name
	}
	return all
}

func (w *world) agentRecord(key crypto.Signer) agent.Record {
	w.t.Helper()
	records, err := w.store.Get(w.t.Context(), agent.Key(thumbprint(w.t, key)))
	must(w.t, err)
	a, err := agent.Read(records[0])
	must(w.t, err)
	return a
}

func (w *world) putAgent(key crypto.Signer, a agent.Record) {
	w.t.Helper()
	r, err := a.Store(thumbprint(w.t, key), 0)
	must(w.t, err)
	must(w.t, w.store.Commit(w.t.Context(), store.Put(r)))
}

// withMember signs r with a Signature-Key of one's own making.
func (w *world) withMember(r *http.Request, key crypto.Signer, member string) *http.Request {
	w.t.Helper()
	return signMember(w.t, r, key, member, w.clock.Now())
}
