package bootstrap

import (
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/authorization"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/internal/jose"
	"github.com/keywright/keywright/internal/strictjson"
	"github.com/keywright/keywright/store"
)

// keyEntropy is what keywright.Keys.Derive takes.
const keyEntropy = 36

var errClaimed = errors.New("the installation is claimed")

// bearer returns the token that the Verifier has accepted.
func bearer(r *http.Request) (string, error) {
	_, token, err := authorization.Parse(r.Header)
	return token, err
}

// bootstrap answers a token that has been verified: authentication came first,
// so that a stranger does not learn whether the installation is claimed.
func (h *Handler) bootstrap(ctx context.Context, caller keywright.Principal, token string) (response, error) {
	var key string
	err := endpoint.Retry(func() (err error) {
		key, err = h.redeem(ctx, caller, token)
		return err
	})
	return response{APIKey: key}, err
}

func (h *Handler) redeem(ctx context.Context, caller keywright.Principal, token string) (string, error) {
	proof, err := readProof(caller.Claims, token)
	if err != nil {
		return "", err
	}
	records, err := h.first.host.Store.Get(ctx, claimKey, proof.marker)
	if err != nil {
		return "", keywright.Wrap(keywright.CodeUnavailable, err)
	}
	c, err := decodeClaim(records[0])
	if err != nil {
		return "", err
	}
	switch {
	case c.held():
		return h.redeliver(ctx, c, token)
	case c.Open && proof.issuedAt <= c.At.Unix():
		return "", invalidToken(errors.New("the token was issued before the reset"))
	case records[1].Exists():
		return "", invalidToken(errors.New("the token, or another with its jti, was used before"))
	}
	if err := h.first.open(ctx, c); err != nil {
		return "", err
	}
	return h.claim(ctx, c, caller, proof, token)
}

// claim issues the first key over c, which is absent or open.
func (h *Handler) claim(ctx context.Context, c claim, caller keywright.Principal, proof proof, token string) (string, error) {
	now := h.first.host.Hooks.Now()
	next := claim{Generation: c.Generation + 1, At: now, version: c.version}
	spec, err := h.first.spec(ctx, next.Generation, now)
	if err != nil {
		return "", err
	}
	var m keywright.MintedKey
	if h.redelivery > 0 {
		next.Salt = make([]byte, sha256.Size)
		rand.Read(next.Salt)
		spec.FirstUse = true
		m, err = h.mintDerived(spec, next.Salt, token)
	} else {
		m, err = h.first.host.Keys.Mint(spec)
	}
	if err != nil {
		return "", err
	}
	next.Key, next.Expires = m.ID, spec.Expires
	e := keywright.Event{Name: "bootstrap.claimed", Actor: caller.Credential, Target: m.ID}
	return m.Text, h.first.commit(ctx, c, next, e, proof.op(), m.Op)
}

// redeliver answers the token that made the claim with the same key, as long
// as nobody has used it. Which token it was is not stored: only the right one
// derives a key that is alive.
func (h *Handler) redeliver(ctx context.Context, c claim, token string) (string, error) {
	refused := &keywright.Error{Code: keywright.CodeBootstrapComplete, Err: errClaimed}
	switch {
	case h.redelivery == 0 || c.Salt == nil:
		return "", refused
	case !h.first.host.Hooks.Now().Before(c.At.Add(h.redelivery)):
		return "", errors.Join(refused, h.endRedelivery(ctx, c))
	}
	text, err := h.derive(c.Key, c.Salt, token)
	if err != nil {
		return "", err
	}
	info, err := h.first.host.Keys.Check(ctx, text)
	switch {
	case err != nil && keywright.AsError(err).Code == keywright.CodeInvalidToken:
		return "", refused // another token, or the key has ended
	case err != nil:
		return "", err
	case info.Used || info.Successor != "":
		return "", errors.Join(refused, h.endRedelivery(ctx, c))
	}
	e := keywright.Event{Name: "bootstrap.redelivered", Target: c.Key}
	return text, h.first.host.Commit(ctx, e, c.unchanged())
}

// endRedelivery forgets the salt, without which the token and a copy of the
// database make no key.
func (h *Handler) endRedelivery(ctx context.Context, c claim) error {
	next := c
	next.Salt = nil
	e := keywright.Event{Name: "bootstrap.redelivery_ended", Target: c.Key}
	return h.first.commit(ctx, c, next, e)
}

func (h *Handler) mintDerived(spec keywright.KeySpec, salt []byte, token string) (keywright.MintedKey, error) {
	text, err := h.derive(keywright.NewKeyID(), salt, token)
	if err != nil {
		return keywright.MintedKey{}, err
	}
	return h.first.host.Keys.MintDerived(spec, text)
}

// derive makes the key that follows from the token: HKDF-SHA256 (RFC 5869)
// over the server's secret, if it has one, and the whole token.
func (h *Handler) derive(id string, salt []byte, token string) (string, error) {
	input := binary.BigEndian.AppendUint32(nil, uint32(len(h.secret)))
	input = append(append(input, h.secret...), token...)
	entropy, err := hkdf.Key(sha256.New, input, salt, "keywright bootstrap key "+id, keyEntropy)
	if err != nil {
		return "", err
	}
	return h.first.host.Keys.Derive(h.first.key.Kind, id, entropy)
}

// A proof is what a claim needs to know of a verified token.
type proof struct {
	issuedAt int64
	expires  time.Time
	marker   store.Key // the record that the token has been used
}

// op marks the token as used for as long as it could be accepted, and a minute.
func (p proof) op() store.Op {
	return store.Insert(store.Record{Kind: p.marker.Kind, ID: p.marker.ID, Expires: p.expires.Add(skew + time.Minute), Data: []byte("{}")})
}

// readProof reads the claims that the Verifier has checked. A token is known
// again by its jti or, where it has none, by what was signed: not by its text,
// which for some algorithms can be signed in more than one way.
func readProof(claims json.RawMessage, compact string) (proof, error) {
	members, err := strictjson.Object(claims)
	if err != nil {
		return proof{}, err
	}
	token, err := jose.Parse(compact)
	if err != nil {
		return proof{}, err
	}
	issued, err1 := members.Int("iat")
	expires, err2 := members.Int("exp")
	id, err3 := tokenID(members)
	marker := store.ID("jti", id)
	if id == "" {
		digest := token.Digest()
		marker = store.ID("digest", hex.EncodeToString(digest[:]))
	}
	p := proof{issuedAt: issued, expires: time.Unix(expires, 0), marker: store.Key{Kind: KindToken, ID: marker}}
	return p, errors.Join(err1, err2, err3)
}
