package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/keywright/keywright/keystore"
)

// Config is what [NewStore] needs.
type Config struct {
	URL  string       // of the service
	HTTP *http.Client // nil: one that gives up on a request after 10 seconds
}

// A Store has its keys in a key management service, which makes keys for ES256
// only. A handle is an alias there. It is safe for concurrent use, by any number
// of processes.
type Store struct{ api api }

var (
	_ keystore.KeyStore  = (*Store)(nil)
	_ keystore.Generator = (*Store)(nil)
	_ keystore.Lister    = (*Store)(nil)
	_ keystore.Deleter   = (*Store)(nil)
)

// NewStore checks c. It does no I/O.
func NewStore(c Config) (*Store, error) {
	base, err := url.Parse(c.URL)
	if err != nil || base.Host == "" {
		return nil, errors.New("kms: Config.URL is no URL of a service")
	}
	if c.HTTP == nil {
		c.HTTP = &http.Client{Timeout: 10 * time.Second}
	}
	return &Store{api{base: base, http: c.HTTP}}, nil
}

// Load implements [keystore.KeyStore].
func (s *Store) Load(ctx context.Context, handle string) (keystore.Key, error) {
	if err := begin(ctx, handle); err != nil {
		return nil, err
	}
	found, err := s.api.alias(ctx, handle)
	if err != nil {
		return nil, fmt.Errorf("kms: load %q: %w", handle, err)
	}
	return s.key(handle, found)
}

// Generate implements [keystore.Generator]. The key gets its name last: until
// then it is no key of the Store, and whoever is killed leaves one that nobody uses.
func (s *Store) Generate(ctx context.Context, o keystore.KeyOptions) (keystore.Key, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("kms: %w", err)
	}
	if o.Algorithm != keystore.ES256 {
		return nil, fmt.Errorf("kms: %v: %w", o.Algorithm, keystore.ErrUnsupportedKey)
	}
	if o.Handle != "" {
		if err := keystore.CheckHandle(o.Handle); err != nil {
			return nil, err
		}
		switch _, err := s.api.alias(ctx, o.Handle); {
		case err == nil:
			return nil, fmt.Errorf("kms: %q: %w", o.Handle, keystore.ErrKeyExists)
		case !errors.Is(err, keystore.ErrKeyNotFound):
			return nil, fmt.Errorf("kms: generate: %w", err)
		}
	}
	made, err := s.api.create(ctx, rand.Text())
	if err != nil {
		return nil, fmt.Errorf("kms: generate: %w", err)
	}
	k, err := s.key(o.Handle, made)
	if err == nil {
		err = s.api.name(ctx, k.Handle(), made.ID)
	}
	if err != nil {
		s.discard(ctx, made.ID)
		return nil, fmt.Errorf("kms: generate: %w", err)
	}
	return k, nil
}

// discard deletes a key that has got no name, or perhaps has.
func (s *Store) discard(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	s.api.delete(ctx, id) // if it fails, there is a key that nobody uses, or a whole one
}

// List implements [keystore.Lister].
func (s *Store) List(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		handles, err := s.api.aliases(ctx)
		for _, h := range handles {
			if ctx.Err() != nil {
				break
			}
			if !yield(h, nil) {
				return
			}
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			yield("", fmt.Errorf("kms: list: %w", err))
		}
	}
}

// Delete implements [keystore.Deleter].
func (s *Store) Delete(ctx context.Context, handle string) error {
	if err := begin(ctx, handle); err != nil {
		return err
	}
	found, err := s.api.alias(ctx, handle)
	if err == nil {
		err = s.api.delete(ctx, found.ID)
	}
	if err != nil {
		return fmt.Errorf("kms: delete %q: %w", handle, err)
	}
	return nil
}

func begin(ctx context.Context, handle string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("kms: %w", err)
	}
	return keystore.CheckHandle(handle)
}

// key makes the Key of what the service knows.
func (s *Store) key(handle string, k wireKey) (keystore.Key, error) {
	public, err := x509.ParsePKIXPublicKey(k.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("kms: %w: public key: %w", keystore.ErrKeyCorrupt, err)
	}
	ec, ok := public.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("kms: %w: public key of type %T", keystore.ErrUnsupportedKey, public)
	}
	return keystore.FromSigner(handle, signer{s.api, k.ID, ec})
}

// A signer signs by the ID of the service. FromSigner checks what it is given.
type signer struct {
	api    api
	id     string
	public *ecdsa.PublicKey
}

func (k signer) Public() crypto.PublicKey { return k.public }

func (k signer) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.SignContext(context.Background(), rand, digest, opts)
}

// SignContext is what keystore.Sign calls: ctx ends the call to the service.
func (k signer) SignContext(ctx context.Context, _ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	signature, err := k.api.sign(ctx, k.id, digest)
	if err != nil {
		return nil, fmt.Errorf("kms: %w", err)
	}
	if !ecdsa.VerifyASN1(k.public, digest, signature) {
		return nil, fmt.Errorf("kms: %w: the service's signature is wrong", keystore.ErrKeyCorrupt)
	}
	return signature, nil
}
