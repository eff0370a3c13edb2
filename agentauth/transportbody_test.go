package agentauth_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keywright/keywright/agentauth"
)

// A tracked body knows whether it was closed.
type tracked struct {
	io.Reader
	closed atomic.Bool
}

func (b *tracked) Close() error   { b.closed.Store(true); return nil }
func (b *tracked) isClosed() bool { return b.closed.Load() }

func closeOf(r *http.Request) {
	if r.Body != nil {
		r.Body.Close()
	}
}

func TestBodiesAreSentAsTheyWereHashed(t *testing.T) {
	again := func(text string) func() (io.ReadCloser, error) {
		return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
	}
	mib := strings.Repeat("a", 1<<20)
	for name, c := range map[string]struct {
		body    io.Reader
		length  int64
		getBody func() (io.ReadCloser, error)
		max     int64
		want    string // that is sent
		err     string
	}{
		"of a known length":             {strings.NewReader("body"), 4, nil, 0, "body", ""},
		"of an unknown length":          {strings.NewReader("body"), -1, nil, 0, "body", ""},
		"of a length that is not said":  {strings.NewReader("body"), 0, nil, 0, "body", ""},
		"that can be had again":         {strings.NewReader("body"), -1, again("body"), 0, "body", ""},
		"of another when had again":     {strings.NewReader("body"), 4, again("ydob"), 0, "ydob", ""}, // with the digest of what was hashed
		"empty":                         {strings.NewReader(""), -1, nil, 0, "", ""},
		"empty, and can be had again":   {strings.NewReader(""), -1, again(""), 0, "", ""},
		"as long as is kept":            {strings.NewReader(mib), -1, nil, 0, mib, ""},
		"longer than is kept":           {strings.NewReader(mib + "a"), -1, nil, 0, "", "GetBody"},
		"said to be longer":             {strings.NewReader("body"), 1<<20 + 1, nil, 0, "", "GetBody"},
		"longer, and can be had again":  {strings.NewReader(mib + "a"), 1<<20 + 1, again(mib + "a"), 0, mib + "a", ""},
		"as long as is configured":      {strings.NewReader("body"), -1, nil, 4, "body", ""},
		"longer than is configured":     {strings.NewReader("body"), -1, nil, 3, "", "3 bytes"},
		"shorter than is said":          {strings.NewReader("body"), 5, nil, 0, "", "ContentLength"},
		"that ends early":               {io.MultiReader(strings.NewReader("body"), failingReader{}), -1, nil, 0, "", errStore.Error()},
		"that ends early, the 2nd time": {io.MultiReader(strings.NewReader("body"), failingReader{}), -1, again("body"), 0, "", errStore.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			s := new(stage)
			body := &tracked{Reader: c.body}
			r := clientRequest(t, "POST", "https://resource.example/a", "")
			r.Header.Set("Content-Type", "text/plain")
			r.Body, r.ContentLength, r.GetBody = body, c.length, c.getBody
			_, err := signingTransport(t, s, func(tc *agentauth.TransportConfig) { tc.MaxBody = c.max }).RoundTrip(r)
			switch {
			case !body.isClosed():
				t.Error("not closed")
			case c.err != "":
				if err == nil || !strings.Contains(err.Error(), c.err) || len(s.seen) > 0 {
					t.Errorf("%v, want %q", err, c.err)
				}
				return
			case err != nil:
				t.Fatal(err)
			}
			sent := s.seen[0]
			if s.bodies[0] != c.want || sent.ContentLength != int64(len(c.want)) {
				t.Errorf("sent %d bytes, said %d", len(s.bodies[0]), sent.ContentLength)
			}
			digest, coversBody := digestOf(c.want), "@method @authority @path content-type signature-key content-digest"
			switch c.want {
			case "":
				digest, coversBody = "", "@method @authority @path signature-key"
			case "ydob":
				digest = digestOf("body")
			}
			if got := sent.Header.Get("Content-Digest"); got != digest {
				t.Errorf("digest %s, want %s", got, digest)
			}
			if got := strings.Join(coveredBy(sent), " "); got != coversBody {
				t.Errorf("covered %s", got)
			}
		})
	}
}

// failingReader is one that is broken.
type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errStore }

// A longBody is a long body that takes no memory.
type longBody int64

func (z *longBody) Read(p []byte) (int, error) {
	n := min(int64(len(p)), int64(*z))
	*z -= longBody(n)
	if n == 0 {
		return 0, io.EOF
	}
	clear(p[:n])
	return int(n), nil
}

func TestLongBodiesAreNotKept(t *testing.T) {
	const size = 64 << 20
	open := func() (io.ReadCloser, error) { z := longBody(size); return io.NopCloser(&z), nil }
	r := clientRequest(t, "POST", "https://resource.example/a", "")
	r.Header.Set("Content-Type", "application/octet-stream")
	r.Body, _ = open()
	r.GetBody, r.ContentLength = open, size
	var sent int64
	transport := signingTransport(t, roundTripper(func(r *http.Request) (*http.Response, error) {
		defer r.Body.Close()
		sent, _ = io.Copy(io.Discard, r.Body)
		return nowhere(r)
	}), nil)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := transport.RoundTrip(r)
	must(t, err)
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > size/16 || sent != size {
		t.Errorf("sent %d bytes, took %d", sent, took)
	}
}

func TestContextsEndTheReadingOfBodies(t *testing.T) {
	for name, getBody := range map[string]func() (io.ReadCloser, error){
		"once":  nil,
		"again": func() (io.ReadCloser, error) { return http.NoBody, nil },
	} {
		ctx, cancel := context.WithCancelCause(t.Context())
		body, rest := &tracked{}, longBody(1<<20)
		if getBody == nil {
			never, _ := io.Pipe()
			body.Reader = io.MultiReader(cancels{func() { cancel(nil) }}, never)
		} else {
			body.Reader = io.MultiReader(cancels{func() { cancel(nil) }}, &rest)
		}
		r := clientRequest(t, "POST", "https://resource.example/a", "").WithContext(ctx)
		r.Header.Set("Content-Type", "text/plain")
		r.Body, r.GetBody, r.ContentLength = body, getBody, -1
		s := new(stage)
		if _, err := signingTransport(t, s, nil).RoundTrip(r); !errors.Is(err, context.Canceled) || !body.isClosed() || len(s.seen) > 0 || rest == 0 {
			t.Errorf("%s: %v, %d bytes left", name, err, rest)
		}
	}
}

// cancels is a part of a body that ends the context.
type cancels struct{ cancel func() }

func (c cancels) Read([]byte) (int, error) { c.cancel(); return 0, io.EOF }
