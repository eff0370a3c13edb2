package apptoken

import (
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/limit"
)

// Why a request is refused: for the audit, never for the caller.
var (
	errFlagOff    = errors.New("zero-touch is not enabled")
	errNoPassword = errors.New("zero-touch has no passwords")
	errInsecure   = errors.New("the credential came without TLS: it may have been read on its way")
	errOutside    = errors.New("the address is in none of the networks of super users")
	errNotBasic   = errors.New("not a name and a password as in RFC 7617")
	errBadText    = errors.New("a name or a password that is empty, too long, not UTF-8 or has control characters")
)

// textRefused is the one answer for every cause: who asks must not learn which
// names exist. The audit learns all of it.
const textRefused = "no valid super user credential"

// refuse counts a failure and makes the answer.
func (z *zeroTouch) refuse(addr, user string, cause error, facts map[string]string) error {
	z.guesses.fail(addr, user)
	return z.refusal(cause, facts)
}

func (z *zeroTouch) refusal(cause error, facts map[string]string) error {
	var challenges []string
	if facts[attrAuthMethod] == methodOIDC {
		challenges = append(challenges, `Bearer error="invalid_token"`) // RFC 6750, section 3
	}
	if c := z.Challenge(); c != "" {
		challenges = append(challenges, c)
	}
	if len(challenges) == 0 {
		challenges = append(challenges, "Bearer") // a 401 has one (RFC 9110, section 15.5.2), and keys are always taken
	}
	header := http.Header{"Www-Authenticate": {strings.Join(challenges, ", ")}}
	return &keywright.Error{Code: keywright.CodeInvalidToken, Detail: textRefused, Header: header, Err: cause, Attrs: facts}
}

func tooManyGuesses(wait time.Duration, facts map[string]string) error {
	e := tooMany("too many wrong credentials: try again later", limit.RetryAfter(wait))
	e.Attrs = facts
	return e
}

func inTrouble(err error, facts map[string]string) error {
	return &keywright.Error{Code: keywright.CodeUnavailable, Err: err, Attrs: facts}
}

// asFact is a stranger's text for logs: without what ends lines or cannot be
// seen, and not too long.
func asFact(s string) string {
	const most = 120
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\uFFFD', !unicode.IsPrint(r): // the directions of text are not printed either
			return -1
		}
		return r
	}, s)
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
