package apptoken

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/store"
)

// A Spec says what token is wanted.
type Spec struct {
	Name     string        // for people; 1 to 255 characters, none of them a control character
	Scopes   []string      // at least one
	Lifetime time.Duration // in whole seconds; 0: the server's default, which is ten years with Quay
	Never    bool          // the token does not end; servers have reason to refuse that
}

// A Token is what is known of a token without its secret.
type Token struct {
	ID           string // a UUID
	Name         string
	Scopes       []string // as asked for, without the implied ones
	CreatedBy    string
	Created      time.Time
	Expires      time.Time // zero: never
	LastAccessed time.Time // to the minute or so; zero: never, as far as is known
}

// A NewToken is one that was just made. Text is the only copy of its secret,
// and is left out wherever the struct is printed or encoded: to hand it out,
// write Text.
type NewToken struct {
	Token
	Text string // secret
}

// String names the token without its secret.
func (t NewToken) String() string { return "token " + t.ID }

// Format keeps the secret out of errors, whichever verb prints it.
func (t NewToken) Format(s fmt.State, _ rune) { io.WriteString(s, t.String()) }

// MarshalText keeps the secret out of logs and JSON.
func (t NewToken) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// prefix is how the IDs of an application's tokens begin.
func (a application) prefix() string {
	return store.ID(a.app.Organization, a.app.ClientID, a.Instance) + "/"
}

func (a application) tokenKey(id uuid) store.Key {
	return store.Key{Kind: KindToken, ID: a.prefix() + id.String()}
}

func readToken(r store.Record) (tokenRecord, error) {
	var t tokenRecord
	if err := json.Unmarshal(r.Data, &t); err != nil {
		return tokenRecord{}, keywright.Wrap(keywright.CodeInternal, fmt.Errorf("apptoken: record of token %s: %w", r.ID, err))
	}
	return t, nil
}

func (t tokenRecord) token(info keywright.KeyInfo) Token {
	return Token{
		ID: t.ID, Name: t.Name, Scopes: strings.Fields(t.Scope), CreatedBy: t.CreatedBy,
		Created: t.Created, Expires: t.Expires, LastAccessed: info.LastUsed,
	}
}

// event tells of a token all that Quay's log does, and what it lacks.
func (t tokenRecord) event(name, kind string, a admitted) keywright.Event {
	expires := "never"
	if !t.Expires.IsZero() {
		expires = t.Expires.UTC().Format(time.RFC3339)
	}
	return keywright.Event{Name: name, Actor: actor(a.caller), Target: t.ID, Attrs: map[string]string{
		"kind": kind, "oauth_token_uuid": t.ID, "token_display_name": t.Name, "scope": t.Scope, "expires_at": expires, "key": t.Key,
		AttrCreatedBy: t.CreatedBy, "created": t.Created.UTC().Format(time.RFC3339), "created_auth_method": t.AuthMethod,
		AttrOrganization: a.app.Organization, "client_id": a.app.ClientID, "application_name": a.app.Name,
		"by": a.caller.Subject, "auth_method": authMethod(a.caller),
	}}
}

// checkName returns the name without the space around it.
func checkName(name string) (string, error) {
	trimmed := strings.TrimSpace(name)
	switch {
	case !utf8.ValidString(name) || hasControl(name):
		return "", keywright.Errorf(keywright.CodeInvalidRequest, "'name' must not have control characters")
	case trimmed == "":
		return "", keywright.Errorf(keywright.CodeInvalidRequest, "'name' must not be empty")
	case utf8.RuneCountInString(trimmed) > maxName:
		return "", keywright.Errorf(keywright.CodeInvalidRequest, "'name' must have at most %d characters", maxName)
	}
	return trimmed, nil
}

// hasControl reports whether s has characters that end lines, steer terminals
// or turn the direction of writing: in a log they make one line look like
// others. Those that join letters and emoji are none of them.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool {
		return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
	})
}
