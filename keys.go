package keywright

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/authorization"
	"github.com/keywright/keywright/internal/token"
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
	host    Host              // without Keys
	kinds   map[string]string // prefix by kind
	byName  map[string]string // kind by prefix
	begin   []string          // how keys begin: each prefix with its underscore
	imports bool              // HostConfig.ImportedKeys
	hasher  *token.Hasher
	known   knownKeys
	slow    chan struct{} // a slot for each slow hash under way
	writes  chan struct{} // a slot for each last-use write under way
	flush   chan struct{} // one slot: two that gather all of writes would wait for each other
}

func newKeys(h Host, c HostConfig, hasher *token.Hasher) (*Keys, error) {
	k := &Keys{
		host: h, kinds: maps.Clone(c.Kinds), byName: make(map[string]string, len(c.Kinds)), imports: c.ImportedKeys, hasher: hasher,
		known: knownKeys{byID: make(map[string]*known)}, slow: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		writes: make(chan struct{}, maxWrites), flush: make(chan struct{}, 1),
	}
	for kind, prefix := range c.Kinds {
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
		k.begin = append(k.begin, prefix+"_")
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
// 401, more than one credential 400. A text that does not begin like any key
// of this host, and is that of no imported key, is left to other
// Authenticators. Without kinds nothing is admitted.
func (k *Keys) Of(kinds ...string) Authenticator { return keyAuthenticator{k, slices.Clone(kinds)} }

type keyAuthenticator struct {
	keys  *Keys
	kinds []string
}

func (a keyAuthenticator) Challenge() string { return "Bearer" }

func (a keyAuthenticator) Authenticate(r *http.Request) (Principal, error) {
	p, err := a.authenticate(r)
	if err != nil && err != ErrNoCredential { // ours, and never wrapped
		a.keys.refused(r, err)
	}
	return p, err
}

// refused tells of a refusal. Keys can be invented faster than anything else,
// so where nobody listens not even the event is made.
func (k *Keys) refused(r *http.Request, err error) {
	if e, ok := err.(*Error); ok && e.Code == CodeInvalidToken && !k.host.audited {
		return
	}
	k.host.Hooks.refused(r.Context(), "key.refused", err, requestAddr(r))
}

func (a keyAuthenticator) authenticate(r *http.Request) (Principal, error) {
	scheme, text, err := authorization.Parse(r.Header)
	ours := authorization.Is(scheme, "Bearer") || authorization.Is(scheme, "Key")
	switch {
	case !ours && scheme != "":
		return Principal{}, ErrNoCredential
	case err == authorization.ErrMultiple:
		return Principal{}, twoCredentials()
	case !ours:
		return Principal{}, ErrNoCredential
	case err != nil:
		return Principal{}, a.keys.invalid(err)
	}
	key, err := a.keys.parse(text)
	if err == ErrNoCredential {
		key, err = a.keys.findImported(r.Context(), text)
	}
	switch {
	case err != nil:
		return Principal{}, err
	case sentElsewhere(r):
		return Principal{}, twoCredentials()
	}
	c, err := a.keys.verify(r.Context(), key)
	if err != nil {
		return Principal{}, err
	}
	if !slices.Contains(a.kinds, c.Kind) {
		return Principal{}, &Error{
			Code: CodeInsufficientScope, Detail: "this kind of key is not accepted here",
			Header: bearerError(CodeInsufficientScope), Err: fmt.Errorf("key %s of kind %q", c.id, c.Kind),
		}
	}
	if err := a.keys.used(r, c, key); err != nil {
		return Principal{}, err
	}
	return c.principal(c.id), nil
}

func twoCredentials() error {
	return &Error{Code: CodeInvalidRequest, Detail: "more than one credential", Header: bearerError(CodeInvalidRequest)}
}

// sentElsewhere reports whether r carries a credential in one of the other
// places that clients use, beside the header (RFC 6750, section 2: never two).
func sentElsewhere(r *http.Request) bool {
	return len(r.Header["X-Api-Key"]) > 0 || r.URL.RawQuery != "" && r.URL.Query().Has("access_token")
}

// parse reads a key's text. A text that is not meant to be one of our keys is
// ErrNoCredential, so that a host can use Bearer for something else as well.
func (k *Keys) parse(text string) (token.Key, error) {
	if !k.beginsLikeOurs(text) {
		return token.Key{}, ErrNoCredential
	}
	key, err := token.Parse(text)
	switch {
	case err != nil:
		return token.Key{}, errMalformedKey
	case k.byName[key.Prefix] == "":
		return token.Key{}, ErrNoCredential
	}
	return key, nil
}

func (k *Keys) beginsLikeOurs(text string) bool {
	return slices.ContainsFunc(k.begin, func(s string) bool { return strings.HasPrefix(text, s) })
}

// invalid is the one answer to every bad key: unknown, wrong, expired and
// disabled look alike to the caller.
func (k *Keys) invalid(cause error) error {
	return &Error{Code: CodeInvalidToken, Header: bearerInvalid, Err: cause}
}

// Shared by all refusals: nobody writes to them.
var (
	bearerInvalid   = bearerError(CodeInvalidToken)
	errMalformedKey = &Error{Code: CodeInvalidToken, Header: bearerInvalid, Err: token.ErrMalformed}
)

// bearerError is the challenge of RFC 6750, section 3.1, which names three of
// the codes.
func bearerError(code Code) http.Header {
	return challenge([]string{fmt.Sprintf("Bearer error=%q", code)})
}

// ID returns the public id in the text of a key of this host, whether or not
// there is such a key. The text of an imported key holds none.
func (k *Keys) ID(text string) (id string, ok bool) {
	key, err := k.parse(text)
	return key.ID, err == nil
}
