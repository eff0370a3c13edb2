package main_test

import (
	"crypto"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
)

// agentURL is where agents find the server, whichever process answers.
const agentURL = "https://agents.example"

// openAgents admits whoever asks.
const openAgents = `{"admission":"open"}`

// newAgentServer makes an installation with the given member agents.
func newAgentServer(t *testing.T, agents string) *installation {
	t.Helper()
	in := newInstallation(t)
	in.configure(`{"agents":` + agents + `}`)
	in.flags = append(in.flags, "-url", agentURL)
	return in
}

func newKeyPair(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// A signedCall is a request that an agent makes.
type signedCall struct {
	server             string // "": agentURL
	method, path, body string
	bearer             string // a credential beside the signature
	key                crypto.Signer
	options            agentauth.SignOptions
}

// signatures makes signatures of one second differ, each by when it expires.
var signatures atomic.Int64

// request signs the call. The same request twice is a replay.
func (c signedCall) request(t *testing.T) *http.Request {
	t.Helper()
	if c.server == "" {
		c.server = agentURL
	}
	r, err := http.NewRequest(c.method, c.server+c.path, strings.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	if c.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.bearer != "" {
		r.Header.Set("Authorization", "Bearer "+c.bearer)
	}
	if c.options.Expires.IsZero() {
		c.options.Expires = time.Now().Add(time.Minute + time.Duration(signatures.Add(1)%1000)*time.Second)
	}
	if err := agentauth.SignRequest(r, c.key, c.options); err != nil {
		t.Fatal(err)
	}
	return r
}

// wire is the request as it stands on the wire.
func (c signedCall) wire(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	r := c.request(t)
	r.Close = true
	if err := r.Write(&text); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// send brings a request to this process, whichever server it was signed for.
func (p *process) send(r *http.Request) answer {
	p.in.t.Helper()
	r.Host = r.URL.Host
	r.URL = &url.URL{Scheme: "http", Host: p.addr, Path: r.URL.Path, RawPath: r.URL.RawPath}
	res, err := client.Do(r)
	if err != nil {
		p.in.t.Fatalf("%s %s: %v; log:\n%s", r.Method, r.URL, err, p.stderr)
	}
	return answer{status: res.StatusCode, header: res.Header, body: readAll(p.in.t, res)}
}

func (p *process) call(c signedCall) answer {
	p.in.t.Helper()
	return p.send(c.request(p.in.t))
}

func enrolment(key crypto.Signer, id, bearer string) signedCall {
	body, _ := json.Marshal(map[string]string{"agent_id": id}) // strings only
	return signedCall{method: "POST", path: "/enrol", body: string(body), bearer: bearer, key: key}
}

func refreshment(key crypto.Signer) signedCall {
	return signedCall{method: "POST", path: "/refresh", body: "{}", key: key}
}

// refreshmentBy has a durable key vouch for another.
func refreshmentBy(durable, key crypto.Signer) signedCall {
	c := refreshment(key)
	c.options.Durable = durable
	return c
}

func whoamiBy(key crypto.Signer, o agentauth.SignOptions) signedCall {
	return signedCall{method: "GET", path: "/whoami", key: key, options: o}
}

// token is the member agent_token of a good answer.
func (p *process) token(what string, a answer) string {
	p.in.t.Helper()
	var got struct {
		Token string `json:"agent_token"`
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 200 || got.Token == "" {
		p.in.t.Fatalf("%s: got %d %s %v, want 200 and a token", what, a.status, a.body, a.header)
	}
	p.in.hide(got.Token)
	return got.Token
}

// enrolAgent enrols key under the name id and returns its token.
func (p *process) enrolAgent(key crypto.Signer, id string) string {
	p.in.t.Helper()
	return p.token("enrol "+id, p.call(enrolment(key, id, "")))
}

// agentName is an identifier of the server's domain.
func agentName(local string) string { return "aauth:" + local + "@agents.example" }

// A claimed is what an agent token says, or its header.
type claimed struct {
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	Issuer    string `json:"iss"`
	Subject   string `json:"sub"`
	Expires   int64  `json:"exp"`
	Issued    int64  `json:"iat"`
}

func readToken(t *testing.T, token string) (header, claims claimed) {
	t.Helper()
	parts := strings.Split(token, ".")
	for i, to := range []*claimed{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(text, to)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return header, claims
}

// A caller is what /whoami says.
type caller struct {
	Method, Issuer, Subject, Credential string
	Scopes                              []string
	Attrs                               map[string]string
}

func (p *process) wantCaller(what string, a answer, method, subject string) caller {
	p.in.t.Helper()
	var got caller
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != 200 || got.Method != method || got.Subject != subject {
		p.in.t.Errorf("%s: got %d %s, want 200, %s %s", what, a.status, a.body, method, subject)
	}
	return got
}

// wantRefused wants a status and a code, and Signature-Error with a status of 401
// alone.
func (p *process) wantRefused(what string, a answer, status int, code string) {
	p.in.t.Helper()
	if a.status != status || !strings.Contains(a.body, `"`+code+`"`) {
		p.in.t.Errorf("%s: got %d %s, want %d %s", what, a.status, a.body, status, code)
	}
	if got := a.header.Get("Signature-Error"); (got != "") != (status == 401) {
		p.in.t.Errorf("%s: Signature-Error %q with status %d", what, got, a.status)
	}
}

// kids are the ids of the keys that the server publishes.
func (p *process) kids() []string {
	p.in.t.Helper()
	var set struct {
		Keys []struct {
			KeyID string `json:"kid"`
		}
	}
	a := p.get("/jwks.json", "")
	if err := json.Unmarshal([]byte(a.body), &set); err != nil || a.status != 200 {
		p.in.t.Fatalf("jwks.json: got %d %s", a.status, a.body)
	}
	var all []string
	for _, k := range set.Keys {
		all = append(all, k.KeyID)
	}
	return all
}
