package apptoken

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"github.com/keywright/keywright"
)

// The costs of bcrypt that are accepted: some 60 ms to 2 s.
const (
	minCost = 10
	maxCost = 15
)

// maxBcrypt is how much of a password bcrypt reads.
const maxBcrypt = 72

// bcryptHash is the form of a hash, as htpasswd -B writes it too.
var bcryptHash = regexp.MustCompile(`^\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}$`)

// Accounts is a list of super users with the bcrypt hashes of their passwords:
// a [PasswordVerifier] for hosts without a directory. It is safe for
// concurrent use.
//
// Each attempt costs exactly one bcrypt, whether or not the user exists, and
// only half of the processors are ever busy with it; others wait.
type Accounts struct {
	hashes  map[string][]byte
	nobody  []byte        // what unknown users are compared with: the hash of no password
	slots   chan struct{} // one for each bcrypt under way
	compare func(hash, password []byte) error
}

// Why a password is refused: for the audit, never for the caller.
var (
	errUnknownUser   = errors.New("not one of the super users")
	errWrongPassword = errors.New("wrong password")
	errUnusable      = errors.New("a password that bcrypt would not read to its end: empty, longer than 72 bytes, or with a NUL")
)

// NewAccounts makes Accounts of names and bcrypt hashes, as
// "htpasswd -nBC 12 NAME" prints them. Names are compared byte for byte, so
// two that differ only in case are refused. All hashes have the same cost, 10
// to 15: by another one a user's name could be told from one that is unknown.
func NewAccounts(hashes map[string]string) (*Accounts, error) {
	a := &Accounts{
		hashes: make(map[string][]byte, len(hashes)), compare: bcrypt.CompareHashAndPassword,
		slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
	}
	if len(hashes) == 0 {
		return nil, errors.New("apptoken: accounts: none")
	}
	common, folded := 0, make(map[string]string, len(hashes))
	for _, name := range slices.Sorted(maps.Keys(hashes)) {
		if err := checkUserName(name); err != nil || strings.TrimSpace(name) != name {
			return nil, fmt.Errorf("apptoken: accounts: %q: want a name of 1 to %d bytes without colons, control characters and spaces around", asFact(name), maxUserName)
		}
		low := strings.ToLower(name)
		if other, taken := folded[low]; taken {
			return nil, fmt.Errorf("apptoken: accounts: %q and %q differ only in case", other, name)
		}
		folded[low] = name
		cost, err := costOf(hashes[name])
		switch {
		case err != nil:
			return nil, fmt.Errorf("apptoken: accounts: %q: %w", name, err)
		case common != 0 && cost != common:
			return nil, fmt.Errorf("apptoken: accounts: %q: bcrypt cost %d, while others have %d: want one for all", name, cost, common)
		}
		common = cost
		a.hashes[name] = []byte(hashes[name])
	}
	// Of no password known to anybody, and without the time to make one.
	a.nobody = fmt.Appendf(nil, "$2a$%02d$%.53s", common, rand.Text()+rand.Text()+rand.Text())
	return a, nil
}

// costOf checks a hash. Its errors hold nothing of it.
func costOf(hash string) (int, error) {
	if !bcryptHash.MatchString(hash) {
		return 0, errors.New("not a bcrypt hash")
	}
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil || cost < minCost || cost > maxCost {
		return 0, fmt.Errorf("bcrypt cost: want %d to %d", minCost, maxCost)
	}
	return cost, nil
}

// VerifyPassword implements [PasswordVerifier]. The subject is the name.
func (a *Accounts) VerifyPassword(ctx context.Context, username, password string) (string, error) {
	hash, known := a.hashes[username]
	if !known {
		hash = a.nobody
	}
	// bcrypt passes over what follows 72 bytes, and takes "x\x00x" for "x".
	usable := password != "" && len(password) <= maxBcrypt && !strings.Contains(password, "\x00")
	if !usable {
		password = "-" // it costs the same
	}
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	matches := a.compare(hash, []byte(password)) == nil
	var cause error
	switch {
	case !known:
		cause = errUnknownUser
	case !usable:
		cause = errUnusable
	case !matches:
		cause = errWrongPassword
	default:
		return username, nil
	}
	return "", keywright.Wrap(keywright.CodeInvalidToken, cause)
}
