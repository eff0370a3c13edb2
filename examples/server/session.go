package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

const (
	sessionCookie = "session_token"
	csrfCookie    = "csrf_token"
	sessionLife   = 24 * time.Hour // after the last use

	// kindSession is the store kind of sessions. A record's ID is the SHA-256
	// of the token, and it is kept for a day after the session's end, which can
	// then be told from a token that never was one.
	kindSession = "example.session"
)

type sessionRecord struct {
	Expires time.Time `json:"expires"`
	Account string    `json:"account"` // ends with the name and the password
}

// sessions are those of the one administrator who logs in by password.
type sessions struct {
	host  keywright.Host
	admin adminConfig
}

func sessionID(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// csrfToken follows from the session's token, so that nobody can plant one.
func csrfToken(token string) string { return sessionID("csrf " + token) }

// begin makes a session and returns its token.
func (s *sessions) begin(ctx context.Context) (string, error) {
	token := rand.Text()
	record, err := s.record(sessionID(token))
	if err != nil {
		return "", err
	}
	e := keywright.Event{Name: "session.begun", Actor: publicID(record.ID), Target: s.admin.Username}
	return token, s.host.Commit(ctx, e, store.Insert(record))
}

func (s *sessions) record(id string) (store.Record, error) {
	expires := s.host.Hooks.Now().Add(sessionLife)
	data, err := json.Marshal(sessionRecord{expires, s.admin.fingerprint()})
	return store.Record{Kind: kindSession, ID: id, Expires: expires.Add(sessionLife), Data: data}, err
}

// end deletes the session that r came with, even while others extend it.
func (s *sessions) end(r *http.Request) error {
	for {
		record, err := s.find(r)
		if err != nil {
			return err
		}
		e := keywright.Event{Name: "session.ended", Actor: publicID(record.ID), Target: s.admin.Username}
		err = s.host.Commit(keywright.WithRequestAddr(r), e, store.Delete(record))
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
}

// publicID names a session in the audit trail.
func publicID(id string) string { return "session-" + id[:12] }

func noSession(text string) error {
	return &keywright.Error{Code: keywright.CodeInvalidToken, Detail: text, Header: http.Header{"Www-Authenticate": {"Bearer"}}}
}

// find returns the record of the session that r claims to be part of.
func (s *sessions) find(r *http.Request) (store.Record, error) {
	cookies := r.CookiesNamed(sessionCookie)
	switch {
	case len(cookies) == 0:
		return store.Record{}, keywright.ErrNoCredential
	case len(cookies) > 1 || cookies[0].Value == "":
		return store.Record{}, noSession("Missing or invalid session")
	}
	records, err := s.host.Store.Get(r.Context(), store.Key{Kind: kindSession, ID: sessionID(cookies[0].Value)})
	switch {
	case err != nil:
		return store.Record{}, keywright.Wrap(keywright.CodeUnavailable, err)
	case !records[0].Exists():
		return store.Record{}, noSession("Invalid or expired session")
	}
	return records[0], nil
}

// Authenticate accepts the cookie of a session, and moves the session's end.
func (s *sessions) Authenticate(r *http.Request) (keywright.Principal, error) {
	p, err := s.authenticate(r)
	if err != nil && !errors.Is(err, keywright.ErrNoCredential) {
		s.host.Hooks.Refused(keywright.WithRequestAddr(r), "session.refused", err)
	}
	return p, err
}

func (s *sessions) authenticate(r *http.Request) (keywright.Principal, error) {
	record, err := s.find(r)
	if err != nil {
		return keywright.Principal{}, err
	}
	var session sessionRecord
	if err := json.Unmarshal(record.Data, &session); err != nil {
		return keywright.Principal{}, err
	}
	left := session.Expires.Sub(s.host.Hooks.Now())
	switch {
	case session.Account != s.admin.fingerprint():
		return keywright.Principal{}, noSession("Invalid or expired session")
	case left <= 0:
		return keywright.Principal{}, noSession("Session expired")
	}
	if err := s.checkCSRF(r); err != nil {
		return keywright.Principal{}, err
	}
	if left < sessionLife-time.Minute {
		if err := s.extend(r.Context(), record); err != nil {
			return keywright.Principal{}, err
		}
	}
	return keywright.Principal{
		Method: "session", Issuer: s.host.URL.String(), Subject: s.admin.Username, Credential: publicID(record.ID),
		Scopes: append([]string{"admin"}, s.admin.permissions()...), Expires: session.Expires,
	}, nil
}

// checkCSRF refuses a CSRF cookie of another session. All else is the
// business of keywright.CookieGuard.
func (s *sessions) checkCSRF(r *http.Request) error {
	cookies := r.CookiesNamed(csrfCookie)
	if r.Method == http.MethodGet || r.Method == http.MethodHead || len(cookies) != 1 || cookies[0].Value == "" {
		return nil
	}
	want := csrfToken(r.CookiesNamed(sessionCookie)[0].Value)
	if subtle.ConstantTimeCompare([]byte(cookies[0].Value), []byte(want)) != 1 {
		return keywright.Errorf(keywright.CodeInsufficientScope, "CSRF token invalid")
	}
	return nil
}

// extend replaces exactly what was read, so that it revives no session that
// has been ended meanwhile.
func (s *sessions) extend(ctx context.Context, old store.Record) error {
	record, err := s.record(old.ID)
	if err != nil {
		return err
	}
	record.Version = old.Version
	err = s.host.Store.Commit(ctx, store.Replace(record))
	if err != nil && !errors.Is(err, store.ErrConflict) { // else another request was quicker
		return keywright.Wrap(keywright.CodeUnavailable, err)
	}
	return nil
}
