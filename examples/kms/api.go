package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"github.com/keywright/keywright/keystore"
)

const (
	attempts  = 8
	firstWait = 20 * time.Millisecond // doubled each time
	maxWait   = 500 * time.Millisecond
	maxAnswer = 1 << 20 // bytes
)

// An api is what the service can do. Each call may be made twice with the
// outcome of once, so all are tried again.
type api struct {
	base *url.URL
	http *http.Client
}

// What travels.
type (
	wireKey struct {
		ID        string `json:"id"`
		PublicKey []byte `json:"public_key"` // DER (RFC 5280)
	}
	wireCreate struct {
		RequestID string `json:"request_id"` // another request with it gets the same key
	}
	wireName struct {
		Key string `json:"key"` // its ID
	}
	wireDigest struct {
		Digest []byte `json:"digest"`
	}
	wireSigned struct {
		Signature []byte `json:"signature"` // ASN.1
	}
	wireAliases struct {
		Aliases []string `json:"aliases"`
	}
)

func (a api) alias(ctx context.Context, alias string) (k wireKey, err error) {
	_, err = a.call(ctx, http.MethodGet, "aliases/"+url.PathEscape(alias), nil, &k)
	return k, err
}

func (a api) aliases(ctx context.Context) ([]string, error) {
	var all wireAliases
	_, err := a.call(ctx, http.MethodGet, "aliases", nil, &all)
	return all.Aliases, err
}

func (a api) create(ctx context.Context, requestID string) (k wireKey, err error) {
	_, err = a.call(ctx, http.MethodPost, "keys", wireCreate{requestID}, &k)
	return k, err
}

// name fails with ErrKeyExists when another key has the alias.
func (a api) name(ctx context.Context, alias, id string) error {
	_, err := a.call(ctx, http.MethodPut, "aliases/"+url.PathEscape(alias), wireName{id}, nil)
	return err
}

// delete ends a key and its alias.
func (a api) delete(ctx context.Context, id string) error {
	tries, err := a.call(ctx, http.MethodDelete, "keys/"+url.PathEscape(id), nil, nil)
	if tries > 1 && errors.Is(err, keystore.ErrKeyNotFound) {
		return nil // an attempt has succeeded whose answer did not say so
	}
	return err
}

func (a api) sign(ctx context.Context, id string, digest []byte) ([]byte, error) {
	var signed wireSigned
	_, err := a.call(ctx, http.MethodPost, "keys/"+url.PathEscape(id)+"/sign", wireDigest{digest}, &signed)
	return signed.Signature, err
}

// call makes a call until it succeeds or fails for good, and says how often.
func (a api) call(ctx context.Context, method, path string, body, answer any) (tries int, err error) {
	for wait := firstWait; ; wait = min(2*wait, maxWait) {
		again, err := a.send(ctx, method, path, body, answer)
		tries++
		if err == nil || !again || tries == attempts {
			return tries, err
		}
		t := time.NewTimer(wait/2 + rand.N(wait)) // so that many do not come back at once
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return tries, ctx.Err()
		}
	}
}

// send makes a call once, and says whether another attempt may succeed.
func (a api) send(ctx context.Context, method, path string, body, answer any) (again bool, err error) {
	text, err := json.Marshal(body)
	if err != nil {
		return false, err
	}
	r, err := http.NewRequestWithContext(ctx, method, a.base.JoinPath(path).String(), bytes.NewReader(text))
	if err != nil {
		return false, err
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := a.http.Do(r)
	if err != nil {
		return ctx.Err() == nil, err
	}
	defer res.Body.Close()
	text, err = io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	switch {
	case err != nil:
		return ctx.Err() == nil, err
	case res.StatusCode == http.StatusNotFound:
		return false, keystore.ErrKeyNotFound
	case res.StatusCode == http.StatusConflict:
		return false, keystore.ErrKeyExists
	case res.StatusCode == http.StatusTooManyRequests, res.StatusCode >= 500:
		return true, fmt.Errorf("the service answers %d", res.StatusCode)
	case res.StatusCode >= 300:
		return false, fmt.Errorf("the service answers %d", res.StatusCode)
	case answer == nil:
		return false, nil
	}
	return false, json.Unmarshal(text, answer)
}
