package agentauth_test

import (
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright"
)

func body(text string) io.ReadCloser { return io.NopCloser(strings.NewReader(text)) }

// A watched body tells what became of it.
type watched struct {
	io.Reader
	read   atomic.Int64
	closed bool
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	w.read.Add(int64(n))
	return n, err
}

func (w *watched) Close() error {
	w.closed = true
	return nil
}

// TestBodiesFitTheirDigests is step 10.
func TestBodiesFitTheirDigests(t *testing.T) {
	key := seedKey("agent")
	const text = `{"a":1}`
	long := sha512.Sum512([]byte(text))
	sha512Of := "sha-512=:" + base64.StdEncoding.EncodeToString(long[:]) + ":"
	wrong512 := "sha-512=:" + base64.StdEncoding.EncodeToString(make([]byte, 64)) + ":"
	tests := []struct {
		name   string
		digest string // "": the right one
		tamper func(*http.Request)
		code   string
	}{
		{"the body that was signed", "", nil, ""},
		{"another body", "", func(r *http.Request) { r.Body = body(`{"a":2}`) }, "invalid_signature"},
		{"a longer body", "", func(r *http.Request) { r.Body, r.ContentLength = body(text+" "), 8 }, "invalid_signature"},
		{"a shorter body", "", func(r *http.Request) { r.Body, r.ContentLength = body(text[:6]), 6 }, "invalid_signature"},
		{"no body", "", func(r *http.Request) { r.Body, r.ContentLength = http.NoBody, 0 }, "invalid_signature"},
		{"a nil body", "", func(r *http.Request) { r.Body, r.ContentLength = nil, 0 }, "invalid_signature"},
		{"of unknown length", "", func(r *http.Request) { r.ContentLength = -1 }, ""},
		{"another digest of the right body", "", set("Content-Digest", digestOf(`{"a":2}`)), "invalid_signature"},
		{"no digest, covered", "", del("Content-Digest"), "invalid_signature"},
		{"SHA-512", sha512Of, nil, ""},
		{"both", digestOf(text) + ", " + sha512Of, nil, ""},
		{"a wrong one beside the right one", digestOf(text) + ", " + wrong512, nil, "invalid_signature"},
		{"the right one beside a wrong one", digestOf("") + ", " + sha512Of, nil, "invalid_signature"},
		{"one that is not known beside the right one", "md5=:AAAA:, " + digestOf(text), nil, ""},
		{"one that is not known", "md5=:AAAA:", nil, "invalid_signature"},
		{"twice", digestOf("") + ", " + digestOf(text), nil, "invalid_signature"},
		{"a string", `sha-256="AAAA"`, nil, "invalid_signature"},
		{"that cannot be read", "sha-256=:", nil, "invalid_signature"},
		{"an empty one", "", set("Content-Digest", ""), "invalid_signature"},
	}
	g := newGate(t, nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := draft{key: key, body: text, tamper: tt.tamper, header: http.Header{}}
			if tt.digest != "" {
				d.header.Set("Content-Digest", tt.digest)
			}
			g.wants(tt.code, everything, d.request(t))
		})
	}
	t.Run("a digest of nothing", func(t *testing.T) {
		g.wants("", everything, draft{key: key, header: http.Header{"Content-Digest": {digestOf("")}}, components: append(base4[:4:4], base6[5])}.request(t))
	})
	t.Run("a digest that is not covered is not looked at", func(t *testing.T) {
		g.wants("", everything, draft{key: key, body: text, components: base4, header: http.Header{"Content-Digest": {digestOf("")}}}.request(t))
	})
}

// TestRequestsAreLeftAsTheyWere is AGT-73.
func TestRequestsAreLeftAsTheyWere(t *testing.T) {
	text := strings.Repeat("all of it\x00\xff", 10_000)
	r := draft{key: seedKey("agent"), method: "POST", target: "/a%2Fb?x=%20", body: text, tamper: func(r *http.Request) { r.Host = "AP.example:443" }}.request(t)
	w := &watched{Reader: strings.NewReader(text)}
	r.Body = w
	before := *r
	before.Header = r.Header.Clone()
	url := *r.URL
	called := false
	newGate(t, nil).verifier.Require(everything)(http.HandlerFunc(func(_ http.ResponseWriter, got *http.Request) {
		called = true
		if !reflect.DeepEqual(got.Header, before.Header) || *got.URL != url || got.Host != before.Host || got.RequestURI != before.RequestURI ||
			got.Method != before.Method || got.ContentLength != before.ContentLength || got.RemoteAddr != before.RemoteAddr {
			t.Errorf("the request has changed: %+v", got)
		}
		all, err := io.ReadAll(got.Body)
		if err != nil || string(all) != text {
			t.Errorf("%d bytes, %v", len(all), err)
		}
		if n, err := got.Body.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("behind the end: %d, %v", n, err)
		}
		if w.closed {
			t.Error("closed before its time")
		}
		got.Body.Close()
		if p, ok := keywright.FromContext(got.Context()); !ok || p.Method != keywright.MethodAgent {
			t.Errorf("principal %+v", p)
		}
	})).ServeHTTP(httptest.NewRecorder(), r)
	if !called || !w.closed {
		t.Errorf("called %v, closed %v", called, w.closed)
	}
	if !reflect.DeepEqual(r.Header, before.Header) || *r.URL != url {
		t.Error("the request that came has changed")
	}
}

func TestBodiesThatNothingDependsOnAreNotRead(t *testing.T) {
	key := seedKey("agent")
	g := newGate(t, nil)
	for name, d := range map[string]draft{
		"not signed":        {key: key, tamper: del("Signature", "Signature-Input", "Signature-Key")},
		"refused":           {key: key, tamper: set("Signature", "sig="+someSignature)},
		"signed in trailer": {key: key, tamper: func(r *http.Request) { r.Trailer, r.Header = r.Header, http.Header{} }},
		"not covered":       {key: key, components: base4},
		"longer than read":  {key: key, tamper: func(r *http.Request) { r.ContentLength = 1<<20 + 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			d.method, d.body = "POST", "{}"
			r := d.request(t)
			w := &watched{Reader: strings.NewReader(strings.Repeat("x", 64<<20))}
			r.Body = w
			if g.pass(everything, r); w.read.Load() != 0 {
				t.Errorf("%d bytes were read", w.read.Load())
			}
		})
	}
}

func TestBodiesThatAreTooLarge(t *testing.T) {
	key := seedKey("agent")
	tests := []struct {
		name   string
		max    int64
		length int
		known  bool // its length
		code   string
	}{
		{"a byte below", 100, 99, true, ""},
		{"at the limit", 100, 100, true, ""},
		{"a byte above", 100, 101, true, "too_large"},
		{"at the limit, of unknown length", 100, 100, false, ""},
		{"a byte above, of unknown length", 100, 101, false, "too_large"},
		{"far above, of unknown length", 100, 1000, false, "too_large"},
		{"at the usual limit", 0, 1 << 20, false, ""},
		{"above the usual limit", 0, 1<<20 + 1, false, "too_large"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := everything
			p.MaxBody = tt.max
			r := draft{key: key, method: "POST", body: strings.Repeat("x", tt.length)}.request(t)
			w := &watched{Reader: r.Body}
			r.Body = w
			if !tt.known {
				r.ContentLength = -1
			}
			g := newGate(t, nil)
			g.wants(tt.code, p, r)
			if max := max(tt.max, 1<<20) + 1; w.read.Load() > max {
				t.Errorf("%d bytes were read", w.read.Load())
			}
			// Another authenticator may look at what this one has refused.
			if all, err := io.ReadAll(r.Body); err != nil || tt.code != "" && len(all) != tt.length {
				t.Errorf("%d bytes are left of %d, %v", len(all), tt.length, err)
			}
		})
	}
	t.Run("for the host", func(t *testing.T) {
		r := draft{key: key, method: "POST", body: strings.Repeat("x", 100)}.request(t)
		r.Body, r.ContentLength = http.MaxBytesReader(nil, r.Body, 10), -1
		a := newGate(t, nil).pass(everything, r)
		if a.code(t) != "too_large" || a.status != 413 || !strings.Contains(a.body, "larger than 10 bytes") {
			t.Errorf("%d %s", a.status, a.body)
		}
	})
	t.Run("a body that breaks off", func(t *testing.T) {
		r := draft{key: key, method: "POST", body: "{}"}.request(t)
		r.Body = io.NopCloser(io.MultiReader(strings.NewReader("{"), errReader{}))
		newGate(t, nil).wants("invalid_request", everything, r)
	})
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

// TestHugeUnsignedBody is 256 MiB that nobody has signed.
func TestHugeUnsignedBody(t *testing.T) {
	srv := httptest.NewServer(newGate(t, nil).verifier.Require(everything)(whoami))
	defer srv.Close()
	w := &watched{Reader: io.LimitReader(zeros{}, 256<<20)}
	req, err := http.NewRequest("POST", srv.URL, w)
	must(t, err)
	// Who goes on sending may find the connection closed instead of the answer.
	if resp, err := http.DefaultClient.Do(req); err == nil {
		resp.Body.Close()
		if resp.StatusCode != 401 {
			t.Errorf("got %d", resp.StatusCode)
		}
	}
	if n := w.read.Load(); n > 8<<20 {
		t.Errorf("%d bytes were sent", n)
	}
}

// TestHugeUnsignedBodyThatWaits is that of a client that asks first: it is told
// before it has sent anything.
func TestHugeUnsignedBodyThatWaits(t *testing.T) {
	srv := httptest.NewServer(newGate(t, nil).verifier.Require(everything)(whoami))
	defer srv.Close()
	w := &watched{Reader: io.LimitReader(zeros{}, 256<<20)}
	req, err := http.NewRequest("POST", srv.URL, w)
	must(t, err)
	req.Header.Set("Expect", "100-continue")
	client := http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != 401 || w.read.Load() > 0 {
		t.Errorf("%d, and %d bytes were sent", resp.StatusCode, w.read.Load())
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
