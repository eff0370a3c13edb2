package agentauth_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
)

// created are the parameters of a signature made d after t0.
func created(d time.Duration) string { return fmt.Sprintf(";created=%d", t0.Add(d).Unix()) }

func set(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func del(names ...string) func(*http.Request) {
	return func(r *http.Request) {
		for _, name := range names {
			r.Header.Del(name)
		}
	}
}

// change replaces a part of a field.
func change(name, from, to string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set(name, strings.Replace(r.Header.Get(name), from, to, 1))
	}
}

var someSignature = ":" + base64.StdEncoding.EncodeToString(make([]byte, 64)) + ":"

// TestFieldsOfASignature is steps 1 and 2 of a verification: three fields that can
// be read, with one label.
func TestFieldsOfASignature(t *testing.T) {
	key := seedKey("agent")
	tests := []struct {
		name   string
		label  string
		tamper func(*http.Request)
		code   string
	}{
		{"a good one", "", nil, ""},
		{"no Signature", "", del("Signature"), "invalid_signature"},
		{"no Signature-Input", "", del("Signature-Input"), "invalid_signature"},
		{"no Signature-Key", "", del("Signature-Key"), "invalid_signature"},
		{"none of them", "", del("Signature", "Signature-Input", "Signature-Key"), "invalid_signature"},
		{"an empty Signature", "", set("Signature", ""), "invalid_signature"},
		{"Signature that cannot be read", "", set("Signature", "sig=:"), "invalid_signature"},
		{"Signature-Input that cannot be read", "", set("Signature-Input", "sig=("), "invalid_signature"},
		{"Signature-Key that cannot be read", "", set("Signature-Key", "sig=hwk;"), "invalid_signature"},
		{"Signature of another label", "", set("Signature", "other="+someSignature), "invalid_signature"},
		{"Signature-Input of another label", "", change("Signature-Input", "sig", "other"), "invalid_signature"},
		{"Signature-Key of another label", "", change("Signature-Key", "sig", "other"), "invalid_signature"},
		{"one more label in Signature alone", "", func(r *http.Request) { r.Header.Add("Signature", "other="+someSignature) }, "invalid_signature"},
		{"one more label in Signature-Input alone", "", func(r *http.Request) { r.Header.Add("Signature-Input", "other=()") }, "invalid_signature"},
		{"Signature is a string", "", set("Signature", `sig="AAAA"`), "invalid_signature"},
		{"Signature is a token", "", set("Signature", "sig=AAAA"), "invalid_signature"},
		{"Signature is a list", "", set("Signature", "sig=("+someSignature+")"), "invalid_signature"},
		{"Signature-Input is an item", "", set("Signature-Input", "sig=1"), "invalid_signature"},
		{"Signature-Input is a string", "", set("Signature-Input", `sig="@method"`), "invalid_signature"},
		{"Signature-Input is a token", "", set("Signature-Input", "sig=method"), "invalid_signature"},
		{"Signature-Input has no value", "", set("Signature-Input", "sig"), "invalid_signature"},
		{"a component is an integer", "", change("Signature-Input", `"@method"`, "1"), "invalid_signature"},
		{"a component is a token", "", change("Signature-Input", `"@method"`, "method"), "invalid_signature"},
		{"a component is a byte sequence", "", change("Signature-Input", `"@method"`, ":AAAA:"), "invalid_signature"},
		{"the scheme is a string", "", change("Signature-Key", "hwk", `"hwk"`), "invalid_signature"},
		{"the scheme is a list", "", set("Signature-Key", "sig=(hwk)"), "invalid_signature"},
		{"a label other than sig", "agent-1", nil, ""},
	}
	g := newGate(t, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g.wants(tt.code, everything, draft{key: key, label: tt.label, tamper: tt.tamper}.request(t))
		})
	}
}

// TestLabels is the choice among several signatures. Those of other labels are
// passed over, whatever they are.
func TestLabels(t *testing.T) {
	key := seedKey("agent")
	tests := []struct {
		name   string
		label  string
		before string // further members of Signature-Key, which are signed too
		also   string // their label in the other fields
		code   string
	}{
		{"sig beside another", "sig", `sig1=hwk;kty="OKP", `, "sig1", ""},
		{"sig beside one of an unknown scheme", "sig", `a=future;x=1, `, "a", ""},
		{"two and none is sig", "b", `a=hwk;kty="OKP", `, "a", "invalid_signature"},
	}
	g := newGate(t, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// The label comes first in Signature-Key, so a draft writes it in the member of another.
			label, rest, _ := strings.Cut(tt.before, "=")
			d := draft{key: key, label: label, member: rest + tt.label + "=" + hwk(t, key)}
			d.tamper = func(r *http.Request) {
				for _, name := range []string{"Signature", "Signature-Input"} {
					value := strings.TrimPrefix(r.Header.Get(name), label+"=")
					r.Header.Set(name, tt.also+"="+value+", "+tt.label+"="+value)
				}
			}
			g.wants(tt.code, everything, d.request(t))
		})
	}
}

// TestComponents is step 3: what a signature must cover. The answer names all of
// it, and not only what is missing.
func TestComponents(t *testing.T) {
	key := seedKey("agent")
	const four = `("@method" "@authority" "@path" "signature-key")`
	const six = `("@method" "@authority" "@path" "signature-key" "content-type" "content-digest")`
	tests := []struct {
		name       string
		policy     agentauth.Policy
		body       string
		header     http.Header
		components []string
		required   string // "": accepted
	}{
		{"all four", agentauth.Policy{}, "", nil, base4, ""},
		{"in another order", agentauth.Policy{}, "", nil, []string{base4[3], base4[1], base4[2], base4[0]}, ""},
		{"more than is wanted", agentauth.Policy{}, "", http.Header{"X-A": {"1"}}, append(base4[:4:4], `"x-a"`), ""},
		{"nothing", agentauth.Policy{}, "", nil, []string{}, four},
		{"no @method", agentauth.Policy{}, "", nil, base4[1:], four},
		{"no @authority", agentauth.Policy{}, "", nil, []string{base4[0], base4[2], base4[3]}, four},
		{"no @path", agentauth.Policy{}, "", nil, []string{base4[0], base4[1], base4[3]}, four},
		{"no signature-key", agentauth.Policy{}, "", nil, base4[:3], four},
		{"a body, uncovered", agentauth.Policy{}, "{}", nil, base4, ""},
		{"a body that must be covered, and is", agentauth.Policy{CoverBody: true}, "{}", nil, base6, ""},
		{"no body where it must be covered", agentauth.Policy{CoverBody: true}, "", nil, base4, ""},
		{"no content-digest", agentauth.Policy{CoverBody: true}, "{}", nil, base6[:5], six},
		{"no content-type", agentauth.Policy{CoverBody: true}, "{}", nil, append(base4[:4:4], base6[5]), six},
		{"a configured field", agentauth.Policy{Components: []string{"x-a"}}, "", http.Header{"X-A": {"1"}}, base4,
			`("@method" "@authority" "@path" "signature-key" "x-a")`},
		{"a configured field, covered", agentauth.Policy{Components: []string{"x-a"}}, "", http.Header{"X-A": {"1"}}, append(base4[:4:4], `"x-a"`), ""},
		{"a configured query", agentauth.Policy{Components: []string{"@query"}}, "", nil, base4,
			`("@method" "@authority" "@path" "signature-key" "@query")`},
		{"a configured query, covered", agentauth.Policy{Components: []string{"@query"}}, "", nil, append(base4[:4:4], `"@query"`), ""},
		{"a credential of AAuth", agentauth.Policy{}, "", http.Header{"Authorization": {"AAuth abc"}}, base4,
			`("@method" "@authority" "@path" "signature-key" "authorization")`},
		{"in lower case and behind spaces", agentauth.Policy{}, "", http.Header{"Authorization": {" aauth\tabc"}}, base4,
			`("@method" "@authority" "@path" "signature-key" "authorization")`},
		{"a credential of AAuth, covered", agentauth.Policy{}, "", http.Header{"Authorization": {"AAuth abc"}}, append(base4[:4:4], `"authorization"`), ""},
		{"another credential", agentauth.Policy{}, "", http.Header{"Authorization": {"Bearer abc"}}, base4, ""},
		{"a component twice", agentauth.Policy{}, "", nil, append(base4[:4:4], base4[0]), four},
		{"a component with a parameter", agentauth.Policy{}, "", http.Header{"X-A": {"1"}}, append(base4[:4:4], `"x-a";sf`), four},
		{"a component that is not known", agentauth.Policy{}, "", nil, append(base4[:4:4], `"@foo"`), four},
		{"more components than are read", agentauth.Policy{}, "", nil, many(33), four},
	}
	g := newGate(t, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := tt.policy
			p.Pseudonyms = true
			p.Schemes = everything.Schemes
			a := g.pass(p, draft{key: key, body: tt.body, header: tt.header, components: tt.components, target: "/data?x=1"}.request(t))
			if tt.required == "" {
				if code := a.code(t); code != "" {
					t.Fatalf("refused: %s (%s)", code, g.cause())
				}
				return
			}
			want := "error=invalid_input, required_input=" + tt.required
			if got := a.header.Get("Signature-Error"); a.code(t) != "invalid_input" || got != want {
				t.Errorf("got %d, Signature-Error: %s\nwant %s", a.status, got, want)
			}
		})
	}
}

// many are n components, of fields.
func many(n int) []string {
	list := append([]string{}, base4...)
	for i := range n - len(list) {
		list = append(list, fmt.Sprintf(`"x-%d"`, i))
	}
	return list
}

// TestTimes is step 4: a window of a minute to both sides, edges included, in
// whole seconds.
func TestTimes(t *testing.T) {
	key := seedKey("agent")
	now := t0.Unix()
	tests := []struct {
		name   string
		window time.Duration
		params string
		code   string
	}{
		{"now", 0, created(0), ""},
		{"created is absent", 0, "", "invalid_signature"},
		{"60 s ago", 0, created(-60 * time.Second), ""},
		{"61 s ago", 0, created(-61 * time.Second), "invalid_signature"},
		{"60 s ahead", 0, created(60 * time.Second), ""},
		{"61 s ahead", 0, created(61 * time.Second), "clock_skew"},
		{"as far ahead as can be said", 0, ";created=999999999999999", "clock_skew"},
		{"5 s ago in a window of 5", 5 * time.Second, created(-5 * time.Second), ""},
		{"6 s ago in a window of 5", 5 * time.Second, created(-6 * time.Second), "invalid_signature"},
		{"6 s ahead in a window of 5", 5 * time.Second, created(6 * time.Second), "clock_skew"},
		{"a decimal", 0, fmt.Sprintf(";created=%d.0", now), "invalid_signature"},
		{"a string", 0, fmt.Sprintf(`;created="%d"`, now), "invalid_signature"},
		{"a date", 0, fmt.Sprintf(";created=@%d", now), "invalid_signature"},
		{"negative", 0, ";created=-1", "invalid_signature"},
		{"16 digits", 0, ";created=1000000000000000", "invalid_signature"},
		{"twice", 0, created(-time.Hour) + created(0), "invalid_signature"},
		{"expires now", 0, created(-time.Second) + fmt.Sprintf(";expires=%d", now), ""},
		{"expired a second ago", 0, created(-time.Second) + fmt.Sprintf(";expires=%d", now-1), "invalid_signature"},
		{"expires before it was created", 0, created(2*time.Second) + fmt.Sprintf(";expires=%d", now+1), "invalid_signature"},
		{"expires is a string", 0, created(0) + fmt.Sprintf(`;expires="%d"`, now+1), "invalid_signature"},
		{"far expires does not widen the window", 0, created(-61*time.Second) + fmt.Sprintf(";expires=%d", now+100), "invalid_signature"},
		{"with parameters that say nothing here", 0, created(0) + `;keyid="x";nonce="n";tag="t"`, ""},
		{"with the right alg", 0, created(0) + `;alg="ed25519"`, ""},
		{"with another alg", 0, created(0) + `;alg="ecdsa-p256-sha256"`, "invalid_signature"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGate(t, func(c *agentauth.VerifierConfig) { c.Profile.Window = tt.window })
			g.clock.advance(900 * time.Millisecond)
			params := tt.params
			if params == "" {
				params = ";x"
			}
			g.wants(tt.code, everything, draft{key: key, params: params}.request(t))
		})
	}
}

// TestEverythingThatIsCoveredIsSigned is step 9.
func TestEverythingThatIsCoveredIsSigned(t *testing.T) {
	key := seedKey("agent")
	tests := []struct {
		name   string
		tamper func(*http.Request)
		code   string
	}{
		{"as it was signed", func(*http.Request) {}, ""},
		{"another method", func(r *http.Request) { r.Method = "PUT" }, "invalid_signature"},
		{"another method in lower case", func(r *http.Request) { r.Method = "post" }, "invalid_signature"},
		{"another path", func(r *http.Request) { r.RequestURI = "/data/" }, "invalid_signature"},
		{"a path that decodes to the same", func(r *http.Request) { r.RequestURI = "/%64ata?x=1" }, "invalid_signature"},
		{"another query, covered", func(r *http.Request) { r.RequestURI = "/data?x=2" }, "invalid_signature"},
		{"no query", func(r *http.Request) { r.RequestURI = "/data" }, "invalid_signature"},
		{"a covered field", set("X-A", "2"), "invalid_signature"},
		{"a covered field in two lines", func(r *http.Request) { r.Header.Add("X-A", "1") }, "invalid_signature"},
		{"without a covered field", del("X-A"), "invalid_signature"},
		{"Signature-Key in another spelling", change("Signature-Key", ";kty", "; kty"), "invalid_signature"},
		{"Signature-Key with another parameter", func(r *http.Request) { r.Header.Set("Signature-Key", r.Header.Get("Signature-Key")+";x=1") }, "invalid_signature"},
		{"another key", change("Signature-Key", hwk(t, key), hwk(t, seedKey("other"))), "invalid_signature"},
		{"another created", change("Signature-Input", created(0), created(time.Second)), "invalid_signature"},
		{"another parameter", func(r *http.Request) { r.Header.Set("Signature-Input", r.Header.Get("Signature-Input")+`;tag="x"`) }, "invalid_signature"},
		{"one component less", change("Signature-Input", ` "x-a"`, ""), "invalid_signature"},
		{"another order", change("Signature-Input", `"@method" "@authority"`, `"@authority" "@method"`), "invalid_signature"},
		{"another signature", set("Signature", "sig="+someSignature), "invalid_signature"},
		{"a shorter signature", set("Signature", "sig=:AAAA:"), "invalid_signature"},
		{"the URL of a router that has cut off a prefix", func(r *http.Request) { r.URL.Path = "/" }, ""},
		{"a field that is not covered", set("X-B", "2"), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGate(t, nil)
			g.wants(tt.code, everything, draft{
				key: key, method: "POST", target: "/data?x=1", header: http.Header{"X-A": {"1"}}, components: append(base4[:4:4], `"@query"`, `"x-a"`), tamper: tt.tamper,
			}.request(t))
		})
	}
}
