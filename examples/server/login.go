package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

const (
	loginFailures = 5 // of one address within loginWindow
	loginWindow   = 15 * time.Minute
)

type adminConfig struct {
	Username     string    `json:"username"`
	PasswordHash string    `json:"password_hash"` // bcrypt, such as "htpasswd -nB admin" prints behind the colon
	Permissions  *[]string `json:"permissions"`   // null: all
}

func (c *adminConfig) check() error {
	switch {
	case c == nil:
		return nil
	case c.Username == "":
		return fmt.Errorf("admin.username is missing")
	}
	if _, err := bcrypt.Cost([]byte(c.PasswordHash)); err != nil {
		return fmt.Errorf("admin.password_hash: want bcrypt: %w", err)
	}
	return nil
}

func (c adminConfig) permissions() []string {
	if c.Permissions != nil {
		return *c.Permissions
	}
	return []string{manageKeys}
}

// fingerprint is another one after a change of the name or the password.
func (c adminConfig) fingerprint() string {
	sum := sha256.Sum256([]byte(c.Username + "\x00" + c.PasswordHash))
	return hex.EncodeToString(sum[:16])
}

// accepts takes as long for a wrong name as for a wrong password.
func (c adminConfig) accepts(username, password string) bool {
	const most = 72 // bcrypt looks at no more
	given, want := sha256.Sum256([]byte(username)), sha256.Sum256([]byte(c.Username))
	err := bcrypt.CompareHashAndPassword([]byte(c.PasswordHash), []byte(password)[:min(len(password), most)])
	return err == nil && len(password) <= most && subtle.ConstantTimeCompare(given[:], want[:]) == 1
}

type loginRequest struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

type loginResponse struct {
	Status       string `json:"status"`
	TOTPRequired bool   `json:"totp_required"`
	InitialSetup bool   `json:"initial_setup_required"`
	Username     string `json:"username"`
}

func (s *sessions) login(w http.ResponseWriter, r *http.Request) (any, error) {
	req, token, err := s.tryLogin(w, r)
	if err != nil {
		s.host.Hooks.Refused(keywright.WithRequestAddr(r), "session.login_refused", err)
		return nil, err
	}
	s.setCookies(w, token, csrfToken(token), int(sessionLife/time.Second))
	return loginResponse{Status: "authenticated", Username: req.Username}, nil
}

func (s *sessions) tryLogin(w http.ResponseWriter, r *http.Request) (req loginRequest, token string, err error) {
	// Else another site could log its visitors in as somebody else.
	if err := new(http.CrossOriginProtection).Check(r); err != nil {
		return req, "", &keywright.Error{Code: keywright.CodeInsufficientScope, Detail: "cross-origin request", Err: err}
	}
	if err := readJSON(w, r, &req); err != nil {
		return req, "", err
	}
	ctx := keywright.WithRequestAddr(r)
	giveBack, err := s.takeAttempt(ctx)
	if err != nil {
		return req, "", err
	}
	if !s.admin.accepts(req.Username, req.Password) {
		return req, "", keywright.Errorf(keywright.CodeInvalidToken, "Invalid credentials")
	}
	if err := giveBack(); err != nil {
		return req, "", err
	}
	token, err = s.begin(ctx)
	return req, token, err
}

// takeAttempt counts an attempt as a failure before it is made, or any number
// of them could be made at once.
func (s *sessions) takeAttempt(ctx context.Context) (giveBack func() error, err error) {
	now := s.host.Hooks.Now()
	end := now.Truncate(loginWindow).Add(loginWindow)
	counter := store.ID("example.login", network(keywright.RemoteAddr(ctx)), end.UTC().Format(time.RFC3339))
	add := func(n int64) (int64, error) {
		sum, err := s.host.Store.Add(ctx, counter, n, end)
		if err != nil {
			err = keywright.Wrap(keywright.CodeUnavailable, err)
		}
		return sum, err
	}
	n, err := add(1)
	switch {
	case err != nil:
		return nil, err
	case n > loginFailures:
		seconds := strconv.Itoa(int(math.Ceil(end.Sub(now).Seconds())))
		return nil, &keywright.Error{Code: keywright.CodeRateLimited, Detail: "Too many failed logins", Header: http.Header{"Retry-After": {seconds}}}
	}
	return func() error { _, err := add(-1); return err }, nil
}

// network is an IPv4 address, or the 64 bits of an IPv6 address that one
// client has all the addresses of.
func network(addr string) string {
	ip, err := netip.ParseAddr(addr)
	if err != nil || ip.Unmap().Is4() {
		return addr
	}
	return netip.PrefixFrom(ip.WithZone(""), 64).Masked().String()
}

func (s *sessions) logout(w http.ResponseWriter, r *http.Request) (any, error) {
	if err := s.end(r); err != nil {
		return nil, err
	}
	s.setCookies(w, "", "", -1)
	return map[string]string{"status": "logged_out"}, nil
}

// setCookies sets both cookies, which browsers send over https alone where
// that is how the server is reached. Pages read the second one.
func (s *sessions) setCookies(w http.ResponseWriter, token, csrf string, maxAge int) {
	c := http.Cookie{
		Name: sessionCookie, Value: token, Path: "/", MaxAge: maxAge, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, Secure: s.host.URL.Scheme == "https",
	}
	http.SetCookie(w, &c)
	c.Name, c.Value, c.HttpOnly = csrfCookie, csrf, false
	http.SetCookie(w, &c)
}
