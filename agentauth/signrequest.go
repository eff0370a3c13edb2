package agentauth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/httpsig"
	"github.com/keywright/keywright/internal/jose"
)

// SignOptions say as whom to sign. At most one of Token, Durable, Server and URL
// is set; with none of them the key signs for itself, by scheme hwk.
type SignOptions struct {
	Token   string        // an AAuth token that is bound to the key: scheme jwt
	Durable crypto.Signer // the enrolled key, which vouches for the one that signs: scheme jkt-jwt
	Rekey   bool          // with Durable: the one that signs is to take its place

	Server string // the identifier of a server that publishes the key: scheme jwks_uri
	Role   Role   // in which Server publishes it
	URL    string // that the key is published at: scheme jwks
	KeyID  string // of the key, with Server and URL

	Components []string  // to cover beside those that are always covered
	Created    time.Time // zero: now
	Expires    time.Time // of the signature; zero: not said
}

const tokenCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

const namingLife = 5 * time.Minute

// SignRequest signs r with key, which is Ed25519 or P-256, and sets the fields
// Signature, Signature-Input and Signature-Key (AAuth, section "Signing"). It
// covers the method, the authority, the path and Signature-Key; with a body its
// type, which must be there, and its digest, which is set; and Authorization,
// where it is. Nothing of r must change after that. The body is read, and put
// back. The host of r's URL, or r.Host, is part of what is signed: it must be one
// that the server knows as its own. A key with SignContext, see [keystore.Sign], is
// called with r's context.
func SignRequest(r *http.Request, key crypto.Signer, o SignOptions) error {
	if key == nil {
		return errors.New("agentauth: sign: no key")
	}
	if o.Created.IsZero() {
		o.Created = time.Now()
	}
	components, err := prepare(r)
	if err != nil {
		return fmt.Errorf("agentauth: sign: %w", err)
	}
	for _, name := range o.Components {
		components = addComponent(components, name)
	}
	k, err := o.compile(r.Context(), key)
	if err != nil {
		return err
	}
	return k.sign(r, components, func([]byte) (created, expires time.Time) { return o.Created, o.Expires })
}

// A signingKey is a key with what the requests say of it that it signs.
type signingKey struct {
	signer crypto.Signer
	key    httpsig.SigningKey
}

// compile checks o and key, and prepares key to sign so. The result is good until
// o.Durable's word for it ends, if there is one.
func (o SignOptions) compile(ctx context.Context, key crypto.Signer) (signingKey, error) {
	member := ""
	err := o.check()
	if err == nil {
		member, err = o.keyMember(ctx, key)
	}
	if err != nil {
		return signingKey{}, fmt.Errorf("agentauth: sign: %w", err)
	}
	k, err := httpsig.NewSigningKey(key.Public(), "", member)
	if err != nil {
		return signingKey{}, fmt.Errorf("agentauth: sign: %w", err)
	}
	return signingKey{key, k}, nil
}

// sign sets the fields of a signature of r, which stamp dates.
func (k signingKey) sign(r *http.Request, components []string, stamp func(covered []byte) (created, expires time.Time)) error {
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	err := k.key.Sign(r, httpsig.Signing{
		Authority:  httpsig.Authority(host, r.URL.Scheme == "https" || r.URL.Scheme == "" && r.TLS != nil),
		Components: components, Stamp: stamp,
	}, contextSigner{k.signer, r.Context()})
	if err != nil {
		return fmt.Errorf("agentauth: sign: %w", err)
	}
	return nil
}

// check wants one way to tell the key, whole.
func (o SignOptions) check() error {
	ways := 0
	for _, set := range []bool{o.Token != "", o.Durable != nil, o.Server != "", o.URL != ""} {
		if set {
			ways++
		}
	}
	switch {
	case ways > 1:
		return errors.New("SignOptions: want one of Token, Durable, Server and URL")
	case o.Rekey && o.Durable == nil:
		return errors.New("SignOptions: Rekey wants Durable")
	case strings.Trim(o.Token, tokenCharacters) != "":
		return errors.New("SignOptions.Token is not the text of a token")
	case o.Server != "" && (o.Role == "" || o.KeyID == ""):
		return errors.New("SignOptions: Server wants Role and KeyID")
	case o.URL != "" && o.KeyID == "":
		return errors.New("SignOptions: URL wants KeyID")
	}
	return nil
}

// prepare sets the digest of r's body and lists what is to be covered.
func prepare(r *http.Request) ([]string, error) {
	if r.Header == nil {
		r.Header = make(http.Header)
	}
	var body []byte
	if r.Body != nil && r.Body != http.NoBody {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body.Close()
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		r.ContentLength = int64(len(body))
	}
	digest := ""
	if len(body) > 0 {
		digest = httpsig.Digest(body)
	}
	return cover(r.Header, digest)
}

// cover sets the digest of a body, "" for none, and lists what is always covered.
func cover(h http.Header, digest string) ([]string, error) {
	components := make([]string, 0, 8)
	components = append(components, "@method", "@authority", "@path")
	if digest == "" {
		components = append(components, "signature-key")
	} else {
		if h.Get("Content-Type") == "" {
			return nil, errors.New("a body without Content-Type")
		}
		h.Set("Content-Digest", digest)
		components = append(components, "content-type", "signature-key", "content-digest")
	}
	if len(h["Authorization"]) > 0 {
		components = append(components, "authorization")
	}
	return components, nil
}

// keyMember is the value of Signature-Key.
func (o SignOptions) keyMember(ctx context.Context, key crypto.Signer) (string, error) {
	public, err := jose.PublicKey(key.Public())
	if err != nil {
		return "", err
	}
	switch {
	case o.Token != "":
		return fmt.Sprintf("jwt;jwt=%q", o.Token), nil
	case o.Durable != nil:
		naming, err := o.nameKey(ctx, public)
		return fmt.Sprintf("jkt-jwt;jwt=%q", naming), err
	case o.Server != "":
		return fmt.Sprintf("jwks_uri;id=%q;dwk=%q;kid=%q", o.Server, o.Role, o.KeyID), nil
	case o.URL != "":
		return fmt.Sprintf("jwks;url=%q;kid=%q", o.URL, o.KeyID), nil
	}
	plain, err := jose.MarshalJWK(public, algorithmOf(public))
	if err != nil {
		return "", err
	}
	var jwk wireJWK
	if err := json.Unmarshal(plain, &jwk); err != nil {
		return "", err
	}
	member := fmt.Sprintf("hwk;alg=%q;kty=%q;crv=%q;x=%q", jwk.Algorithm, jwk.Type, jwk.Curve, jwk.X)
	if jwk.Y != "" {
		member += fmt.Sprintf(";y=%q", jwk.Y)
	}
	return member, nil
}

// nameKey makes a naming JWT, in which the durable key vouches for key.
func (o SignOptions) nameKey(ctx context.Context, key jose.Key) (string, error) {
	public, err := jose.PublicKey(o.Durable.Public())
	if err != nil {
		return "", err
	}
	jkt, err := public.Thumbprint()
	if err != nil {
		return "", err
	}
	jwk, err := jose.MarshalJWK(key.WithKeyID(""), algorithmOf(key))
	if err != nil {
		return "", err
	}
	return jose.Sign(contextSigner{o.Durable, ctx}, jose.Header{Algorithm: algorithmOf(public), Type: namingType, SelfSigned: true}, namingClaims{
		Issuer: urnPrefix + jkt, IssuedAt: o.Created.Unix(), Expires: o.Created.Add(namingLife).Unix(), ID: rand.Text(),
		Confirmation: confirmation{jwk}, Rekey: o.Rekey,
	})
}
