package exchangetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/keywright/keywright/internal/jose"
)

// A signingKey is one that the issuer's key set has.
type signingKey struct {
	signer crypto.Signer
	id     string
	jwk    json.RawMessage
}

// pool keeps the RSA keys that no issuer has at the moment: making one takes
// long. Two issuers never share a key, or a test could not tell them apart.
var pool rsaPool

type rsaPool struct {
	mu   sync.Mutex
	free []*rsa.PrivateKey // guarded by mu
}

func (p *rsaPool) take() (*rsa.PrivateKey, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) == 0 {
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	key := p.free[0]
	p.free = p.free[1:]
	return key, nil
}

func (p *rsaPool) give(key *rsa.PrivateKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free = append(p.free, key)
}

// Rotate withdraws all keys. Tokens from now on have a new key and key id, and
// JWKS has no other.
func (i *Issuer) Rotate() {
	if key := i.withdraw(); key != nil {
		// No other issuer may sign with it while this one's old tokens are around.
		i.t.Cleanup(func() { pool.give(key) })
	}
}

// withdraw drops the keys and returns the one that came from the pool, if any.
func (i *Issuer) withdraw() *rsa.PrivateKey {
	i.mu.Lock()
	defer i.mu.Unlock()
	key, _ := i.keys[rs256].signer.(*rsa.PrivateKey)
	i.keys = make(map[string]signingKey)
	return key
}

// KeyID returns the kid of the tokens of now.
func (i *Issuer) KeyID() string {
	i.t.Helper()
	return i.key(i.algorithm()).id
}

// JWKS returns the key set as it is served: one key for each Algorithm that was
// used since the last Rotate.
func (i *Issuer) JWKS() []byte {
	i.t.Helper()
	i.key(i.algorithm())
	i.mu.Lock()
	defer i.mu.Unlock()
	set := struct {
		Keys []json.RawMessage `json:"keys"`
	}{}
	for _, alg := range slices.Sorted(maps.Keys(i.keys)) {
		set.Keys = append(set.Keys, i.keys[alg].jwk)
	}
	text, err := json.Marshal(set)
	if err != nil {
		i.t.Errorf("exchangetest: %v", err)
	}
	return text
}

// RawToken signs header and claims as they are, JSON or not, with the RS256 key
// whatever the header says: for tokens that no issuer should make. The header
// that Token would write is {"alg":"RS256","typ":"JWT","kid":KeyID()}.
func (i *Issuer) RawToken(header, claims []byte) string {
	i.t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	input := encode(header) + "." + encode(claims)
	digest := sha256.Sum256([]byte(input))
	signature, err := i.key(rs256).signer.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		i.t.Fatalf("exchangetest: %v", err)
	}
	return input + "." + encode(signature)
}

// The algorithms of an Issuer.
const (
	rs256 = "RS256"
	es256 = "ES256"
	edDSA = "EdDSA"
)

func (i *Issuer) algorithm() string {
	if i.Algorithm == "" {
		return rs256
	}
	return i.Algorithm
}

// key returns the current key of an algorithm, and makes it when it is first needed.
func (i *Issuer) key(alg string) signingKey {
	i.t.Helper()
	i.mu.Lock()
	defer i.mu.Unlock()
	if key, ok := i.keys[alg]; ok {
		return key
	}
	key, err := newKey(alg)
	if err != nil {
		// Not Fatal: the server's goroutines come here too.
		i.t.Errorf("exchangetest: %v", err)
		return signingKey{}
	}
	i.keys[alg] = key
	return key
}

func newKey(alg string) (signingKey, error) {
	signer, err := newSigner(alg)
	if err != nil {
		return signingKey{}, err
	}
	public, err := jose.PublicKey(signer.Public())
	if err != nil {
		return signingKey{}, err
	}
	id, err := public.Thumbprint()
	if err != nil {
		return signingKey{}, err
	}
	jwk, err := jose.MarshalJWK(public.WithKeyID(id), alg)
	return signingKey{signer, id, jwk}, err
}

func newSigner(alg string) (crypto.Signer, error) {
	switch alg {
	case rs256:
		return pool.take()
	case es256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case edDSA:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("no algorithm %q: want RS256, ES256 or EdDSA", alg)
}
