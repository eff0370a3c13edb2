package apptoken

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/strictjson"
)

// Where the endpoints stand, below the prefix that they are mounted at, as
// Quay has them and as the guide to zero-touch bootstrap writes them.
const (
	TokensPath         = "/api/v1/organization/{org}/applications/{client_id}/tokens"
	SingularTokensPath = "/api/v1/organization/{org}/application/{client_id}/tokens"
)

// applicationRecord is what KindApplication keeps. Root reads two of its members.
type applicationRecord struct {
	Instance string `json:"instance"` // see keywright.Parent
	Disabled bool   `json:"disabled,omitempty"`
	Deleted  bool   `json:"deleted,omitempty"` // and so disabled
	Org      string `json:"org"`
	ClientID string `json:"client_id"`
}

// tokenRecord is what KindToken keeps.
type tokenRecord struct {
	ID         string    `json:"id"`
	Name       string    `json:"name"`
	Scope      string    `json:"scope"` // as asked for, with spaces between
	Key        string    `json:"key"`   // public id
	Created    time.Time `json:"created"`
	Expires    time.Time `json:"expires,omitzero"`
	CreatedBy  string    `json:"created_by"`
	AuthMethod string    `json:"auth_method"` // of who created it
	Instance   string    `json:"instance"`    // of the application
}

// createRequest has Quay's members, and scopes. Members of more than one type
// are read below.
type createRequest struct {
	Name       string          `json:"name"`
	Scope      json.RawMessage `json:"scope"`
	Scopes     json.RawMessage `json:"scopes"`
	Expiration json.RawMessage `json:"expiration"`
}

func (r createRequest) spec() (Spec, error) {
	scopes, err := r.scopes()
	if err != nil {
		return Spec{}, err
	}
	l, err := parseExpiration(r.Expiration)
	return Spec{Name: r.Name, Scopes: scopes, Lifetime: l.d, Never: l.never}, err
}

// scopes reads scope, a string, or scopes, a list of strings.
func (r createRequest) scopes() (scopes []string, err error) {
	one, many := isGiven(r.Scope), isGiven(r.Scopes)
	switch {
	case one && many:
		return nil, keywright.Errorf(keywright.CodeInvalidRequest, "scope and scopes: want one of them")
	case !one && !many:
		return nil, keywright.Errorf(keywright.CodeInvalidRequest, "scope is missing, or scopes")
	case many:
		if json.Unmarshal(r.Scopes, &scopes) != nil {
			return nil, keywright.Errorf(keywright.CodeInvalidScope, "scopes: want a list of strings")
		}
		return scopes, nil
	}
	var text string
	if json.Unmarshal(r.Scope, &text) != nil {
		return nil, keywright.Errorf(keywright.CodeInvalidScope, "scope: want a string with spaces or commas between")
	}
	return splitScope(text), nil
}

// isGiven reports whether a member is there: null counts as absent.
func isGiven(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// tokenView is a token as Quay describes it, and what the guide calls its members.
type tokenView struct {
	UUID         string     `json:"uuid"`
	Name         string     `json:"name"`
	Scope        string     `json:"scope"`
	ExpiresAt    *time.Time `json:"expires_at"` // null: never
	Created      *time.Time `json:"created"`
	CreatedBy    string     `json:"created_by"`
	LastAccessed *time.Time `json:"last_accessed"` // null: never
	TokenID      string     `json:"token_id"`      // the uuid
	Scopes       []string   `json:"scopes"`
}

type newTokenView struct {
	tokenView
	Token       string `json:"token"`
	TokenSecret string `json:"token_secret"` // the same
}

type tokensView struct {
	Tokens   []tokenView `json:"tokens"`
	NextPage string      `json:"next_page,omitempty"` // absent: that was all
}

func view(t Token) tokenView {
	return tokenView{
		UUID: t.ID, Name: t.Name, Scope: strings.Join(t.Scopes, " "), ExpiresAt: seconds(t.Expires), Created: seconds(t.Created),
		CreatedBy: t.CreatedBy, LastAccessed: seconds(t.LastAccessed), TokenID: t.ID, Scopes: t.Scopes,
	}
}

// seconds is t in UTC and whole seconds, which every reader of RFC 3339 takes.
func seconds(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}

// clientRequest is what [Client] sends: Quay's spelling, which this package's
// servers read as well.
type clientRequest struct {
	Name       string `json:"name"`
	Scope      string `json:"scope"`
	Expiration any    `json:"expiration,omitempty"` // seconds, or "never"
}

// readMade reads the answer to a clientRequest.
func readMade(m strictjson.Members) (NewToken, error) {
	t, err := readView(m)
	if err != nil {
		return NewToken{}, err
	}
	text, err := m.String("token")
	if err != nil {
		text, err = m.String("token_secret")
	}
	if err != nil || !isHeaderText(text) || strings.Contains(text, " ") {
		return NewToken{}, errors.New("no token in it")
	}
	return NewToken{t, text}, nil
}

func readPageView(m strictjson.Members) (Tokens, error) {
	all, err := m.Array("tokens")
	if err != nil {
		return Tokens{}, errors.New("no list of tokens in it")
	}
	var page Tokens
	for _, raw := range all {
		one, err := strictjson.Object(raw)
		if err != nil {
			return Tokens{}, errors.New("a token is no object")
		}
		t, err := readView(one)
		if err != nil {
			return Tokens{}, err
		}
		page.Tokens = append(page.Tokens, t)
	}
	if raw, ok := m.Raw("next_page"); ok && string(raw) != "null" { // as Quay's documentation has it
		if page.Next, err = m.String("next_page"); err != nil {
			return Tokens{}, errors.New("next_page is no string")
		}
	}
	return page, nil
}

// readView reads what Quay says of a token. What it may lack or spell in its
// own way is left empty, but an end that cannot be read is not taken for none.
func readView(m strictjson.Members) (Token, error) {
	var t Token
	var err error
	if t.ID, err = m.String("uuid"); err != nil || t.ID == "" {
		return Token{}, errors.New("a token without uuid")
	}
	t.Name, _ = m.String("name")
	t.CreatedBy, _ = m.String("created_by")
	scope, _ := m.String("scope")
	t.Scopes = splitScope(scope)
	t.Created, _ = readTime(m, "created")
	t.LastAccessed, _ = readTime(m, "last_accessed")
	t.Expires, err = readTime(m, "expires_at")
	return t, err
}

// readTime reads a member that may be null.
func readTime(m strictjson.Members, name string) (time.Time, error) {
	if raw, ok := m.Raw(name); ok && string(raw) == "null" {
		return time.Time{}, nil
	}
	text, _ := m.String(name)
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s is no time", name)
	}
	return t, nil
}
