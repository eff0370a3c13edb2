package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Fake is a key management service, for tests and to try things out.
type Fake struct {
	Latency   time.Duration // of a signature
	FailEvery int64         // every so many calls fail, by turns before and after they are done; 0: none

	calls atomic.Int64

	mu       sync.Mutex
	keys     map[string]*fakeKey // by ID
	requests map[string]string   // IDs of keys, by those of the requests that made them
	aliases  map[string]string   // IDs of keys
}

type fakeKey struct {
	private *ecdsa.PrivateKey
	wire    wireKey
}

// ServeHTTP is the service. When a call fails its caller cannot know whether it
// was done.
func (f *Fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := f.calls.Add(1)
	fails := f.FailEvery > 0 && n%f.FailEvery == 0
	mux := http.NewServeMux()
	handle := func(pattern string, do func(*http.Request) (int, any)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			status, answer := http.StatusServiceUnavailable, any(nil)
			if !fails || n/f.FailEvery%2 == 0 {
				status, answer = do(r)
			}
			if fails {
				status, answer = http.StatusServiceUnavailable, nil
			}
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			json.NewEncoder(w).Encode(answer) // if it fails the caller has gone
		})
	}
	handle("POST /keys", f.create)
	handle("DELETE /keys/{id}", f.delete)
	handle("POST /keys/{id}/sign", f.sign)
	handle("GET /aliases", f.list)
	handle("GET /aliases/{alias}", f.find)
	handle("PUT /aliases/{alias}", f.name)
	mux.ServeHTTP(w, r)
}

func (f *Fake) create(r *http.Request) (int, any) {
	var w wireCreate
	if json.NewDecoder(r.Body).Decode(&w) != nil || w.RequestID == "" {
		return http.StatusBadRequest, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if k, ok := f.keys[f.requests[w.RequestID]]; ok {
		return http.StatusOK, k.wire
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return http.StatusInternalServerError, nil
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		return http.StatusInternalServerError, nil
	}
	k := &fakeKey{private, wireKey{ID: rand.Text(), PublicKey: der}}
	if f.keys == nil {
		f.keys, f.requests, f.aliases = make(map[string]*fakeKey), make(map[string]string), make(map[string]string)
	}
	f.keys[k.wire.ID], f.requests[w.RequestID] = k, k.wire.ID
	return http.StatusOK, k.wire
}

func (f *Fake) delete(r *http.Request) (int, any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := r.PathValue("id")
	if _, ok := f.keys[id]; !ok {
		return http.StatusNotFound, nil
	}
	delete(f.keys, id)
	maps.DeleteFunc(f.aliases, func(_, of string) bool { return of == id })
	return http.StatusOK, nil
}

func (f *Fake) sign(r *http.Request) (int, any) {
	k, ok := f.key(r.PathValue("id"))
	var w wireDigest
	switch {
	case !ok:
		return http.StatusNotFound, nil
	case json.NewDecoder(r.Body).Decode(&w) != nil || len(w.Digest) != 32:
		return http.StatusBadRequest, nil
	}
	select {
	case <-time.After(f.Latency):
	case <-r.Context().Done():
	}
	signature, err := ecdsa.SignASN1(rand.Reader, k.private, w.Digest)
	if err != nil {
		return http.StatusInternalServerError, nil
	}
	return http.StatusOK, wireSigned{signature}
}

func (f *Fake) key(id string) (*fakeKey, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k, ok := f.keys[id]
	return k, ok
}

func (f *Fake) list(*http.Request) (int, any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return http.StatusOK, wireAliases{slices.Sorted(maps.Keys(f.aliases))}
}

func (f *Fake) find(r *http.Request) (int, any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k, ok := f.keys[f.aliases[r.PathValue("alias")]]
	if !ok {
		return http.StatusNotFound, nil
	}
	return http.StatusOK, k.wire
}

// name gives an alias to a key, of several that want it to the first.
func (f *Fake) name(r *http.Request) (int, any) {
	var w wireName
	if json.NewDecoder(r.Body).Decode(&w) != nil {
		return http.StatusBadRequest, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	alias := r.PathValue("alias")
	owner, taken := f.aliases[alias]
	switch {
	case f.keys[w.Key] == nil:
		return http.StatusNotFound, nil
	case taken && owner != w.Key:
		return http.StatusConflict, nil
	}
	f.aliases[alias] = w.Key
	return http.StatusOK, nil
}
