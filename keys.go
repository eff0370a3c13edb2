package keywright

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/authorization"
	"github.com/keywright/keywright/internal/token"
	"github.com/keywright/keywright/store"
)

// Keys issues, authenticates, rotates and revokes API keys, whichever
// mechanism asked for them. [NewHost] makes it. It is safe for concurrent use,
// by any number of processes on one store.
//
// A key reads <prefix>_<45 base62 characters>: a public id that finds the
// record, at least 160 random bits, and a checksum. The store is asked about
// it, and about its parent, on every request, so that what one process
// disables another refuses at once.
type Keys struct {
	host   Host              // without Keys
	kinds  map[string]string // prefix by kind
	byName map[string]string // kind by prefix
	hasher *token.Hasher
	known  knownKeys
	writes chan struct{} // a slot for each last-use write under way
}

func newKeys(h Host, kinds map[string]string, hasher *token.Hasher) (*Keys, error) {
	k := &Keys{
		host: h, kinds: maps.Clone(kinds), byName: make(map[string]string, len(kinds)), hasher: hasher,
		known: knownKeys{byID: make(map[string]*known)}, writes: make(chan struct{}, maxWrites),
	}
	for kind, prefix := range kinds {
		if kind == "" {
			return nil, errors.New("a kind without a name")
		}
		if err := token.CheckPrefix(prefix); err != nil {
			return nil, fmt.Errorf("kind %q: %w", kind, err)
		}
		if other, taken := k.byName[prefix]; taken {
			return nil, fmt.Errorf("kinds %q and %q share the prefix %q", other, kind, prefix)
		}
		k.byName[prefix] = kind
	}
	return k, nil
}

// Kinds returns the configured kinds in alphabetical order.
func (k *Keys) Kinds() []string { return slices.Sorted(maps.Keys(k.kinds)) }

// Pattern is the regular expression with which a secret scanner finds every
// key of this host in text. It is valid for RE2, PCRE and ECMAScript.
func (k *Keys) Pattern() string {
	return token.Pattern("(?:" + strings.Join(slices.Sorted(maps.Values(k.kinds)), "|") + ")")
}

// Of returns an Authenticator for keys of the given kinds, sent as
// "Authorization: Bearer KEY" or, as Posit Connect's clients do,
// "Authorization: Key KEY". A good key of another kind gets 403, a bad one
// 401, two Authorization headers 400. A text that does not begin like any key
// of this host is left to other Authenticators. Without kinds nothing is admitted.
func (k *Keys) Of(kinds ...string) Authenticator { return keyAuthenticator{k, slices.Clone(kinds)} }

type keyAuthenticator struct {
	keys  *Keys
	kinds []string
}

func (a keyAuthenticator) Challenge() string { return "Bearer" }

func (a keyAuthenticator) Authenticate(r *http.Request) (Principal, error) {
	p, err := a.authenticate(r)
	if err != nil && !errors.Is(err, ErrNoCredential) {
		a.keys.host.Hooks.Refused(WithRequestAddr(r), "key.refused", err)
	}
	return p, err
}

func (a keyAuthenticator) authenticate(r *http.Request) (Principal, error) {
	scheme, text, err := authorization.Parse(r.Header)
	ours := authorization.Is(scheme, "Bearer") || authorization.Is(scheme, "Key")
	switch {
	case errors.Is(err, authorization.ErrMultiple) && (ours || scheme == ""):
		return Principal{}, &Error{Code: CodeInvalidRequest, Detail: err.Error()}
	case !ours:
		return Principal{}, ErrNoCredential
	case err != nil:
		return Principal{}, a.keys.invalid(err)
	}
	key, err := a.keys.parse(text)
	if err != nil {
		return Principal{}, err
	}
	c, err := a.keys.verify(r.Context(), key)
	if err != nil {
		return Principal{}, err
	}
	if !slices.Contains(a.kinds, c.Kind) {
		return Principal{}, &Error{Code: CodeInsufficientScope, Detail: "this kind of key is not accepted here", Err: fmt.Errorf("key %s of kind %q", c.id, c.Kind)}
	}
	if err := a.keys.used(r, c, key); err != nil {
		return Principal{}, err
	}
	return c.principal(c.id), nil
}

// parse reads a key's text. A text that is not meant to be one of our keys is
// ErrNoCredential, so that a host can use Bearer for something else as well.
func (k *Keys) parse(text string) (token.Key, error) {
	key, err := token.Parse(text)
	if err != nil {
		for prefix := range k.byName {
			if len(text) > len(prefix) && text[len(prefix)] == '_' && text[:len(prefix)] == prefix {
				return token.Key{}, k.invalid(err)
			}
		}
		return token.Key{}, ErrNoCredential
	}
	if _, ours := k.byName[key.Prefix]; !ours {
		return token.Key{}, ErrNoCredential
	}
	return key, nil
}

// invalid is the one answer to every bad key: unknown, wrong, expired and
// disabled look alike to the caller.
func (k *Keys) invalid(cause error) error {
	return &Error{Code: CodeInvalidToken, Header: bearerInvalid, Err: cause}
}

// bearerInvalid is RFC 6750, section 3. It is never written to.
var bearerInvalid = challenge([]string{`Bearer error="invalid_token"`})

// Why a key is refused: for the audit, never for the caller.
var (
	errUnknownKey  = errors.New("no such key")
	errWrongSecret = errors.New("wrong secret for this key id")
	errNotValid    = errors.New("key is disabled or has expired")
	errNoParent    = errors.New("the parent of the key is disabled or gone")
)

// verify finds the live credential that key proves.
func (k *Keys) verify(ctx context.Context, key token.Key) (*known, error) {
	c := k.known.get(key.ID)
	for range maxTries {
		records, err := k.read(ctx, key.ID, c)
		switch {
		case err != nil:
			return nil, Wrap(CodeUnavailable, err)
		case !records[0].Exists():
			return nil, k.invalid(fmt.Errorf("%w: %s", errUnknownKey, key.ID))
		}
		fresh := c == nil || c.version != records[0].Version
		if fresh {
			if c, err = decodeCredential(records[0]); err != nil {
				return nil, Wrap(CodeInternal, err)
			}
		}
		if c.Kind != k.byName[key.Prefix] || !k.matches(c, key.Text) {
			return nil, k.invalid(fmt.Errorf("%w: %s", errWrongSecret, key.ID))
		}
		if fresh {
			// Only now is it known which other records to ask for.
			k.known.put(c)
			continue
		}
		if !c.validAt(k.host.Hooks.Now()) {
			return nil, k.invalid(fmt.Errorf("%w: %s", errNotValid, key.ID))
		}
		return c, k.checkParent(c, records[1:])
	}
	return nil, Wrap(CodeUnavailable, fmt.Errorf("key %s changed during each of %d reads", key.ID, maxTries))
}

// read gets the key's record and, when c says what they are, its parent and
// its first use, in this order and one round trip.
func (k *Keys) read(ctx context.Context, id string, c *known) ([]store.Record, error) {
	var keys [3]store.Key
	keys[0] = store.Key{Kind: KindKey, ID: id}
	n := 1
	if c != nil && c.Parent != nil {
		keys[n] = *c.Parent
		n++
	}
	if c != nil && c.FirstUse && !c.firstUsed.Load() {
		keys[n] = store.Key{Kind: KindKeyFirst, ID: id}
		n++
	}
	records, err := k.host.Store.Get(ctx, keys[:n]...)
	if err == nil && n > 1 && keys[n-1].Kind == KindKeyFirst && records[n-1].Exists() {
		c.firstUsed.Store(true)
	}
	return records, err
}

func (k *Keys) checkParent(c *known, records []store.Record) error {
	if c.Parent == nil {
		return nil
	}
	parent := records[0]
	if parent.Exists() && c.parent.Load() == parent.Version {
		return nil
	}
	var state struct {
		Disabled bool `json:"disabled"`
	}
	if !parent.Exists() || json.Unmarshal(parent.Data, &state) != nil || state.Disabled {
		return k.invalid(fmt.Errorf("%w: %s", errNoParent, c.id))
	}
	c.parent.Store(parent.Version)
	return nil
}

// matches compares text with the stored hash. What a slow hash has accepted is
// remembered by its SHA-256, so that it costs its time once per process.
func (k *Keys) matches(c *known, text string) bool {
	if c.Hash.Method != token.Bcrypt {
		return k.hasher.Match(c.Hash, text)
	}
	sum := sha256.Sum256([]byte(text))
	if seen := c.slow.Load(); seen != nil && subtle.ConstantTimeCompare(seen[:], sum[:]) == 1 {
		return true
	}
	if !k.hasher.Match(c.Hash, text) {
		return false
	}
	c.slow.Store(&sum)
	return true
}

// ID returns the public id in the text of a key of this host, whether or not
// there is such a key.
func (k *Keys) ID(text string) (id string, ok bool) {
	key, err := k.parse(text)
	return key.ID, err == nil
}

// Check describes the key with the given text, if it would be accepted now.
// Otherwise the error is an [*Error] of CodeInvalidToken. It is no use of the key.
func (k *Keys) Check(ctx context.Context, text string) (KeyInfo, error) {
	key, err := k.parse(text)
	if err != nil {
		return KeyInfo{}, k.invalid(err)
	}
	c, err := k.verify(ctx, key)
	if err != nil {
		return KeyInfo{}, err
	}
	return c.info(), nil
}
