package pkcs11store

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"sync"

	"github.com/miekg/pkcs11"
)

// openSession opens a session and logs in, if nobody has. One goroutine at a
// time does so: many with a wrong PIN would lock the token.
func (s *Store) openSession(ctx context.Context) (*session, error) {
	if err := hold(ctx, s.opening); err != nil {
		return nil, err
	}
	defer func() { <-s.opening }()
	n, err := s.session()
	if endsSessions(err) { // the slot is an old one
		s.endEra(s.currentEra(), true)
		n, err = s.session()
	}
	if err != nil {
		return nil, err
	}
	if err := s.login(ctx, n); err != nil {
		n.close()
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n.era == s.era {
		s.open++
	}
	return n, nil
}

func (s *Store) currentEra() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.era
}

// session opens one that need not be logged in. The caller holds s.opening.
func (s *Store) session() (*session, error) {
	s.mu.Lock()
	connected, era := s.connected, s.era
	s.mu.Unlock()
	if !connected {
		if err := s.connect(); err != nil {
			return nil, err
		}
		s.mu.Lock()
		s.connected = s.era == era
		s.mu.Unlock()
	}
	n := &session{module: s.module, turns: &s.turns, slot: s.slot, era: era}
	token, err := n.token()
	if err != nil {
		return nil, err
	}
	n.serial = token.SerialNumber
	err = n.callAlone("open a session", func() (err error) {
		n.handle, err = n.module.OpenSession(n.slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
		return err
	})
	return n, err
}

// connect loads the module and finds the token. The caller holds s.opening.
func (s *Store) connect() error {
	if s.module == nil {
		module := pkcs11.New(s.config.Module)
		if module == nil {
			return fmt.Errorf("%s is no PKCS #11 module that can be loaded", s.config.Module)
		}
		s.module = module
	}
	initializing.Lock()
	defer initializing.Unlock()
	return s.turns.alone(s.find)
}

// initializing is held by who initializes a module: that is done for the whole
// process, and must not be by two threads at once (PKCS #11, C_Initialize).
var initializing sync.Mutex

// find initializes the module, unless somebody has, and finds the slot. Where
// it is the first and there is no token, it takes that back: SoftHSM looks for
// tokens when it is initialized only.
func (s *Store) find() error {
	err := s.module.Initialize()
	first := err == nil
	if err != nil && !is(err, pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED) {
		return fmt.Errorf("initialize: %w", err)
	}
	slots, err := s.slots()
	switch {
	case err != nil:
		return err
	case len(slots) > 1:
		return fmt.Errorf("%d tokens are %q: name it by its serial number", len(slots), s.config.Token)
	case len(slots) == 1:
		s.slot = slots[0]
		return nil
	}
	if first {
		s.module.Finalize() // if it fails the next attempt fails
	}
	return fmt.Errorf("%q: %w", s.config.Token, ErrTokenNotFound)
}

// slots are those that have a token of this label or serial number.
func (s *Store) slots() (found []uint, err error) {
	all, err := s.module.GetSlotList(true)
	if err != nil {
		return nil, fmt.Errorf("list slots: %w", err)
	}
	for _, slot := range all {
		token, err := s.module.GetTokenInfo(slot)
		if err != nil { // it is no more
			continue
		}
		if token.Label == s.config.Token || token.SerialNumber == s.config.Token {
			found = append(found, slot)
		}
	}
	return found, nil
}

// login makes the user known to the token, if it is not. The caller holds
// s.opening.
func (s *Store) login(ctx context.Context, n *session) error {
	info, err := n.info()
	if err != nil || userIsIn(info) {
		return err
	}
	if s.refusal != nil {
		return s.refusal
	}
	if err := n.spare(); err != nil {
		return err
	}
	pin, err := s.config.PIN(ctx)
	switch {
	case err != nil:
		return fmt.Errorf("ask for the PIN: %w", err)
	case pin == "":
		return errors.New("ask for the PIN: it is empty")
	case s.refused != nil && s.refused(pin):
		s.refusal = fmt.Errorf("%w before, and it is the same", ErrPIN)
		return s.refusal
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err = n.callAlone("log in", func() error { return n.module.Login(n.handle, pkcs11.CKU_USER, pin) })
	if err == nil || is(err, pkcs11.CKR_USER_ALREADY_LOGGED_IN) {
		s.failures, s.refused = 0, nil
		return nil
	}
	return s.count(err, pin)
}

// count remembers that a login failed. The caller holds s.opening.
func (s *Store) count(err error, pin string) error {
	if endsSessions(err) { // so it was not tried
		return err
	}
	s.failures++
	switch {
	case is(err, pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_INVALID, pkcs11.CKR_PIN_LEN_RANGE, pkcs11.CKR_PIN_EXPIRED, pkcs11.CKR_PIN_LOCKED):
		s.refused = func(p string) bool { return subtle.ConstantTimeCompare([]byte(p), []byte(pin)) == 1 }
		s.refusal = fmt.Errorf("%w: %w", ErrPIN, err)
	case s.failures > 1: // whatever it says, it may count
		s.refusal = fmt.Errorf("%w, or the token is in trouble, twice: %w", ErrPIN, err)
	}
	return final{cmp.Or(s.refusal, err)}
}

// spare leaves the last try to a person: a program that a supervisor starts
// again and again would lock the token with it.
func (n *session) spare() error {
	token, err := n.token()
	switch {
	case err != nil:
		return err
	case token.Flags&pkcs11.CKF_USER_PIN_LOCKED != 0:
		return fmt.Errorf("%w: it is locked", ErrPIN)
	case token.Flags&pkcs11.CKF_USER_PIN_FINAL_TRY != 0:
		return fmt.Errorf("%w: another wrong one would lock the token: log in once with another program", ErrPIN)
	}
	return nil
}

// forgive lets the PIN be asked for again.
func (s *Store) forgive(ctx context.Context) error {
	if err := hold(ctx, s.opening); err != nil {
		return err
	}
	s.refusal, s.failures = nil, 0
	<-s.opening
	return nil
}
