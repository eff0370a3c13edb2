package agentauth

import (
	"context"
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"github.com/keywright/keywright"
)

// maxTokens bounds the verified tokens that a process remembers: some 20 MB.
const maxTokens = 1 << 14

// A tokenCache remembers tokens whose signatures were verified, so that each is
// verified once and not with every request. It is a cache: forgetting costs time
// only. When it is full newcomers are not remembered, so that a flood of tokens
// does not drive out those in use.
type tokenCache struct {
	max int

	mu     sync.RWMutex
	tokens map[[sha256.Size]byte]*token // guarded by mu; by the digest of the text
	looked time.Time                    // guarded by mu: when forget last went through tokens
}

func newTokenCache(max int) *tokenCache {
	return &tokenCache{max: max, tokens: make(map[[sha256.Size]byte]*token)}
}

func (c *tokenCache) get(text string) *token {
	key := sha256.Sum256([]byte(text))
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.tokens[key]
}

func (c *tokenCache) put(text string, t *token, now time.Time) {
	key := sha256.Sum256([]byte(text))
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tokens) >= c.max {
		c.forget(now)
	}
	if len(c.tokens) < c.max {
		c.tokens[key] = t
	}
}

func (c *tokenCache) drop(text string) {
	key := sha256.Sum256([]byte(text))
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.tokens, key)
}

// forget drops what has expired. It goes through all tokens, so it does so once
// a second at most.
func (c *tokenCache) forget(now time.Time) {
	if since := now.Sub(c.looked); since >= 0 && since < time.Second {
		return
	}
	c.looked = now
	for key, t := range c.tokens {
		if now.After(t.expires.Add(maxExpSkew)) {
			delete(c.tokens, key)
		}
	}
}

// known returns a token that was verified before, if its issuer still publishes
// the key that has signed it. Without such a token it returns nil.
func (v *Verifier) known(ctx context.Context, text string, now time.Time) (*token, error) {
	t := v.tokens.get(text)
	if t == nil {
		return nil, nil
	}
	if !now.Before(t.expires.Add(v.profile.Compat.ExpSkew)) {
		v.tokens.drop(text)
		return nil, refuse(keywright.CodeExpiredJWT, "", nil)
	}
	keys, err := v.keysOf(t.issuer, t.role)
	if err != nil {
		return nil, err
	}
	candidates, _ := keys.Keys(ctx, t.kid) // without any, the token is read again, and refused
	if slices.ContainsFunc(candidates, t.by.Same) {
		return t, nil
	}
	v.tokens.drop(text)
	return nil, nil
}
