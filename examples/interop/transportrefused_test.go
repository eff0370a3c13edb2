package interop_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
)

// theCall has something of all that a signature covers.
var theCall = call{method: "POST", url: "https://resource.example/api/data?a=1", body: `{"a": 1}`, header: http.Header{
	"Content-Type": {"application/json"}, "Authorization": {"AAuth abc"}, "X-Request-Id": {"one"}, "X-Uncovered": {"one"},
}}

// covered are the components of theCall's signature.
var covered = []string{"@method", "@authority", "@path", "content-type", "content-digest", "authorization", "x-request-id", "signature-key"}

var quoted = regexp.MustCompile(`"[^"]*"`)

// set replaces what a field holds.
func set(name string, change func(string) string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, change(r.Header.Get(name))) }
}

// replace replaces text that is there once or more.
func replace(name, old, text string) func(*http.Request) {
	return set(name, func(value string) string {
		if !strings.Contains(value, old) {
			panic(name + " has no " + old) // the test itself is wrong
		}
		return strings.Replace(value, old, text, 1)
	})
}

func del(name string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Del(name) }
}

func setBody(r *http.Request, body string) {
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
}

// flip changes a bit of the signature's byte i, from the end where i is below 0.
func flip(i int) func(*http.Request) {
	return set("Signature", func(value string) string {
		text := strings.TrimSuffix(strings.TrimPrefix(value, "sig=:"), ":")
		signature, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(signature) != 64 {
			panic("Signature is " + value) // the test itself is wrong
		}
		signature[(i+64)%64] ^= 1
		return "sig=:" + base64.StdEncoding.EncodeToString(signature) + ":"
	})
}

var created = regexp.MustCompile(`created=([0-9]+)`)

// later makes a signature one second younger.
func later(input string) string {
	return created.ReplaceAllStringFunc(input, func(text string) string {
		second, err := strconv.ParseInt(strings.TrimPrefix(text, "created="), 10, 64)
		if err != nil {
			panic(err) // the test itself is wrong
		}
		return fmt.Sprintf("created=%d", second+1)
	})
}

// mutations are what somebody on the way may do to theCall.
var mutations = []struct {
	name   string
	change func(*http.Request)
}{
	{"method", func(r *http.Request) { r.Method = "PUT" }},
	{"path", func(r *http.Request) { r.URL.Path = "/api/date" }},
	{"path with a slash", func(r *http.Request) { r.URL.Path += "/" }},
	{"path spelt otherwise", func(r *http.Request) { r.URL.RawPath = "/api/dat%61" }},
	{"authority", func(r *http.Request) { r.Host = "resource.exampl" }},
	{"authority's port", func(r *http.Request) { r.Host += ":8443" }},
	{"body", func(r *http.Request) { setBody(r, `{"a": 2}`) }},
	{"body cut", func(r *http.Request) { setBody(r, `{"a": 1`) }},
	{"no body", func(r *http.Request) { r.Body, r.ContentLength = nil, 0 }},
	{"body with its digest", func(r *http.Request) {
		setBody(r, "{}")
		r.Header.Set("Content-Digest", "sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:")
	}},
	{"no type", del("Content-Type")},
	{"no digest", del("Content-Digest")},
	{"no credential", del("Authorization")},
	{"no field of the caller's", del("X-Request-Id")},
	{"a field twice", func(r *http.Request) { r.Header.Add("X-Request-Id", "two") }},
	{"key spelt otherwise", replace("Signature-Key", ";", "; ")},
	{"another label", func(r *http.Request) {
		for _, name := range []string{"Signature", "Signature-Input", "Signature-Key"} {
			replace(name, "sig=", "sig1=")(r)
		}
	}},
	{"no key", del("Signature-Key")},
	{"created later", set("Signature-Input", later)},
	{"an end", set("Signature-Input", func(value string) string { return value + ";expires=1" })},
	{"a name of the algorithm", set("Signature-Input", func(value string) string { return value + `;alg="ed25519"` })},
	{"components in another order", replace("Signature-Input", `"@method" "@authority"`, `"@authority" "@method"`)},
	{"a component more", replace("Signature-Input", `("@method"`, `("x-uncovered" "@method"`)},
	{"no Signature-Input", del("Signature-Input")},
	{"first byte of the signature", flip(0)},
	{"a byte of the signature", flip(40)},
	{"last byte of the signature", flip(-1)},
	{"no signature", del("Signature")},
	{"an empty signature", func(r *http.Request) { r.Header.Set("Signature", "sig=::") }},
}

// tryOn signs theCall anew, has it changed on the way and returns what the server
// saw.
func (s signer) tryOn(t *testing.T, server proxy, now func() time.Time) seen {
	t.Helper()
	return theCall.do(t, newTransport(t, agentauth.TransportConfig{
		Identity: s.identity, Origins: []string{"https://resource.example"}, Next: server, Components: []string{"x-request-id"}, Now: now,
	}))
}

func TestChangedRequestsAreRefused(t *testing.T) {
	server := verifyingServer(t)
	others := signers(t)
	for i, s := range signers(t) {
		t.Run(s.name, func(t *testing.T) {
			refused := func(name string, change func(*http.Request)) {
				t.Helper()
				if got := s.tryOn(t, proxy{server, change}, nil); got.Verified {
					t.Errorf("%s: accepted: %+v", name, got)
				}
			}
			got := s.tryOn(t, proxy{to: server}, nil)
			if !got.Verified {
				t.Fatalf("unchanged: %s", got.Error)
			}
			if missing := uncovered(got.Input); len(missing) > 0 {
				t.Errorf("not covered: %q", missing)
			}
			for _, m := range mutations {
				refused(m.name, m.change)
			}
			for _, name := range quoted.FindAllString(got.Input, -1) {
				name = strings.Trim(name, `"`)
				if !strings.HasPrefix(name, "@") {
					refused("field "+name, set(name, func(value string) string { return value + "x" }))
					refused("component "+name, replace("Signature-Input", ` "`+name+`"`, ""))
				}
			}
			for name, other := range map[string]signer{"another's key": others[i], "another's key by another scheme": others[(i+1)%len(others)]} {
				refused(name, func(r *http.Request) { r.Header.Set("Signature-Key", other.memberOf(t)) })
			}
		})
	}
}

// uncovered are those of covered that are not in a field Signature-Input.
func uncovered(input string) (missing []string) {
	for _, name := range covered {
		if !strings.Contains(input, `"`+name+`"`) {
			missing = append(missing, name)
		}
	}
	return missing
}

// memberOf returns what s puts into Signature-Key.
func (s signer) memberOf(t *testing.T) (member string) {
	t.Helper()
	cred, err := s.identity.Credential(t.Context())
	must(t, err)
	r, err := http.NewRequest("GET", "https://resource.example/", nil)
	must(t, err)
	must(t, agentauth.SignRequest(r, cred.Key, cred.As))
	return r.Header.Get("Signature-Key")
}

// What no signature covers may be changed: the server refuses none of the others
// for having been changed.
func TestUncoveredPartsMayChange(t *testing.T) {
	server := verifyingServer(t)
	for _, s := range signers(t) {
		for name, change := range map[string]func(*http.Request){
			"query": func(r *http.Request) { r.URL.RawQuery = "a=2" },
			"field": func(r *http.Request) { r.Header.Set("X-Uncovered", "two") },
		} {
			if got := s.tryOn(t, proxy{server, change}, nil); !got.Verified {
				t.Errorf("%s, %s: refused as %s: %s", s.name, name, got.Code, got.Error)
			}
		}
	}
}

func TestStaleSignaturesAreRefused(t *testing.T) {
	server := verifyingServer(t)
	for _, s := range signers(t) {
		for _, away := range []time.Duration{-70 * time.Second, 70 * time.Second} {
			got := s.tryOn(t, proxy{to: server}, func() time.Time { return time.Now().Add(away) })
			if got.Verified || !strings.Contains(got.Error, "timestamp") {
				t.Errorf("%s, %v from now: got %+v, want it refused for its time", s.name, away, got)
			}
		}
	}
}
