package pkcs11store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/miekg/pkcs11"
)

// A session is one with the token, logged in. One goroutine at a time has it.
type session struct {
	module *pkcs11.Ctx
	turns  *turns
	slot   uint
	serial string // of the token
	handle pkcs11.SessionHandle
	era    int
}

var errClosed = errors.New("the store is closed")

// with lends a session to do. After an error that may pass, that sessions have
// ended for one, it is called once more, with another session, unless its error
// is final.
func (s *Store) with(ctx context.Context, do func(*session) error) error {
	err := s.once(ctx, do)
	var f final
	if passes(err) && !errors.As(err, &f) {
		err = s.once(ctx, do)
	}
	return typed(err)
}

// final is an error after which something must not be tried again.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

func (s *Store) once(ctx context.Context, do func(*session) error) (err error) {
	n, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	reusable := false // when do panics
	defer func() { s.release(n, err, reusable) }()
	err = do(n)
	var e pkcs11.Error
	reusable = !errors.As(err, &e) // otherwise an operation may still be active
	return err
}

// acquire waits for a session, and opens one if there are fewer than may be.
func (s *Store) acquire(ctx context.Context) (*session, error) {
	for {
		if err := hold(ctx, s.permits); err != nil {
			return nil, err
		}
		n, err := s.take(ctx)
		if err == nil {
			return n, nil
		}
		<-s.permits
		if !is(err, pkcs11.CKR_SESSION_COUNT) || !s.waitable() {
			return nil, err
		}
		if err := pause(ctx); err != nil {
			return nil, err
		}
	}
}

// take returns an idle session or a new one.
func (s *Store) take(ctx context.Context) (*session, error) {
	n, err := s.takeIdle()
	if n != nil || err != nil {
		return n, err
	}
	return s.openSession(ctx)
}

func (s *Store) takeIdle() (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	if len(s.idle) == 0 {
		return nil, nil
	}
	n := s.idle[len(s.idle)-1]
	s.idle = s.idle[:len(s.idle)-1]
	return n, nil
}

// waitable reports whether others of this store have sessions, which come back.
func (s *Store) waitable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open > 0
}

// release takes a session back, and closes it if it is not to be used again.
func (s *Store) release(n *session, err error, reusable bool) {
	defer func() { <-s.permits }()
	if endsSessions(err) {
		s.endEra(n.era, !loggedOut(err))
	}
	s.mu.Lock()
	current, dead := n.era == s.era, n.era < s.living
	reusable = reusable && current && !s.closed
	switch {
	case reusable:
		s.idle = append(s.idle, n)
	case current:
		s.open--
	}
	s.mu.Unlock()
	if !reusable && !dead {
		n.close()
	}
}

// endEra makes all sessions of an era unused. If they are dead their numbers may
// already be those of other sessions, so they are not closed.
func (s *Store) endEra(era int, dead bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if era != s.era {
		return
	}
	if !dead {
		for _, n := range s.idle {
			n.close()
		}
	}
	s.era++
	if dead {
		s.living = s.era
	}
	s.idle, s.open, s.connected = nil, 0, false
}

// Close gives the sessions back, which logs out if nobody else in this process
// has one. Those in use are closed after it. Whatever is called later fails.
// Close does not unload the module.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	for _, n := range s.idle {
		if err := n.close(); err != nil && !endsSessions(err) {
			errs = append(errs, fmt.Errorf("pkcs11store: %w", err))
		}
	}
	s.idle = nil
	return errors.Join(errs...)
}

// check fails when what was not found need not be absent: a token that was
// removed, or whose user is logged out, shows no private keys either.
func (n *session) check() error {
	info, err := n.info()
	if err != nil {
		return err
	}
	if !userIsIn(info) {
		return pkcs11.Error(pkcs11.CKR_USER_NOT_LOGGED_IN)
	}
	token, err := n.token()
	if err == nil && token.SerialNumber != n.serial {
		err = pkcs11.Error(pkcs11.CKR_DEVICE_REMOVED)
	}
	return err
}

func userIsIn(info pkcs11.SessionInfo) bool {
	return info.State == pkcs11.CKS_RW_USER_FUNCTIONS || info.State == pkcs11.CKS_RO_USER_FUNCTIONS
}

// is reports whether the module answered with one of codes.
func is(err error, codes ...pkcs11.Error) bool {
	var e pkcs11.Error
	return errors.As(err, &e) && slices.Contains(codes, e)
}

// passes reports answers that another attempt may not get.
func passes(err error) bool {
	return endsSessions(err) || isGone(err) || is(err,
		pkcs11.CKR_GENERAL_ERROR, pkcs11.CKR_FUNCTION_FAILED, pkcs11.CKR_DEVICE_ERROR, pkcs11.CKR_OPERATION_ACTIVE)
}

func isGone(err error) bool {
	return is(err, pkcs11.CKR_OBJECT_HANDLE_INVALID, pkcs11.CKR_KEY_HANDLE_INVALID)
}

func endsSessions(err error) bool {
	return loggedOut(err) || removed(err) || is(err,
		pkcs11.CKR_SESSION_HANDLE_INVALID, pkcs11.CKR_SESSION_CLOSED, pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED)
}

func loggedOut(err error) bool { return is(err, pkcs11.CKR_USER_NOT_LOGGED_IN) }

func removed(err error) bool {
	return is(err, pkcs11.CKR_DEVICE_REMOVED, pkcs11.CKR_TOKEN_NOT_PRESENT, pkcs11.CKR_TOKEN_NOT_RECOGNIZED, pkcs11.CKR_SLOT_ID_INVALID)
}

// typed gives the module's answer the error that a caller branches on.
func typed(err error) error {
	switch {
	case removed(err):
		return fmt.Errorf("%w: %w", ErrTokenNotFound, err)
	case is(err, pkcs11.CKR_SESSION_COUNT):
		return fmt.Errorf("%w: %w", ErrSessionLimit, err)
	}
	return err
}
