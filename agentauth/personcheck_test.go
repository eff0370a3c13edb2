package agentauth_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/agentauth"
)

// refusedAs checks that a request was refused with a ChallengeError that says why.
func refusedAs(t *testing.T, name string, status int, err error, requirement, why string) {
	t.Helper()
	e, ok := errors.AsType[*agentauth.ChallengeError](err)
	if !ok || e.Requirement.Name != requirement || e.Origin != "https://shop.example" || !strings.Contains(err.Error(), why) {
		t.Errorf("%s: %d, %v; want a ChallengeError of %s with %q", name, status, err, requirement, why)
	}
	if err != nil && strings.Contains(err.Error(), "ey") && strings.Contains(err.Error(), ".ey") {
		t.Errorf("%s: a token in %v", name, err)
	}
}

func TestResourceTokensAreChecked(t *testing.T) {
	now := time.Unix(1_767_225_600, 0)
	stranger := newEd25519(t)
	for name, tt := range map[string]struct {
		changes map[string]any
		edit    func(*shop)
		why     string
	}{
		"another resource":       {map[string]any{"iss": "https://other.example"}, nil, "iss"},
		"another key":            {map[string]any{"agent_jkt": jktText(t, stranger)}, nil, "agent_jkt"},
		"no key":                 {map[string]any{"agent_jkt": nil}, nil, "agent_jkt"},
		"another person server":  {map[string]any{"ps": "https://other.example"}, nil, "ps"},
		"no person server":       {map[string]any{"ps": nil}, nil, "ps"},
		"another person":         {map[string]any{"sub": "person-2"}, nil, "sub"},
		"no person":              {map[string]any{"sub": nil}, nil, "sub"},
		"another presented":      {map[string]any{"presented_jti": "other"}, nil, "presented_jti"},
		"no presented":           {map[string]any{"presented_jti": nil}, nil, "presented_jti"},
		"another of older":       {map[string]any{"presented_jti": nil, "person_token_jti": "other"}, nil, "person_token_jti"},
		"one right, one not":     {map[string]any{"person_token_jti": "other"}, nil, "person_token_jti"},
		"an audience that is no": {map[string]any{"aud": "http://as.example"}, nil, "aud"},
		"no audience":            {map[string]any{"aud": nil}, nil, "aud"},
		"another document":       {map[string]any{"dwk": "aauth-person.json"}, nil, "dwk"},
		"ended":                  {map[string]any{"iat": now.Unix() - 60, "exp": now.Unix()}, nil, "exp"},
		"no end":                 {map[string]any{"exp": nil}, nil, "exp"},
		"too long":               {map[string]any{"exp": now.Unix() + 301}, nil, "exp"},
		"too far":                {map[string]any{"iat": now.Unix() + 3600, "exp": now.Unix() + 3700}, nil, "exp"},
		"a scope that is none":   {map[string]any{"scope": 1}, nil, "scope"},
		"another type":           {nil, func(s *shop) { s.typ = "aa-auth+jwt" }, "typ"},
		"another's signature":    {nil, func(s *shop) { s.signer = stranger }, "not signed"},
	} {
		w := newErrandWorld(t, nil)
		w.shop.changes = tt.changes
		if tt.edit != nil {
			tt.edit(w.shop)
		}
		status, err := w.fetch(shopURL)
		refusedAs(t, name, status, err, "auth-token", "resource token: "+tt.why)
		if name == "another's signature" {
			continue
		}
		if got := w.desk.tookPaths(); got != "POST /person" {
			t.Errorf("%s: the person server saw %s", name, got)
		}
	}
}

func TestGrantedTokensAreChecked(t *testing.T) {
	stranger := &personServer{t: t, key: newEd25519(t), id: "https://ps.example"}
	other := jwkText(t, newEd25519(t), "")
	rows := map[string]struct {
		changes map[string]any
		why     string
	}{
		"another issuer":   {map[string]any{"iss": "https://other.example"}, "iss"},
		"another resource": {map[string]any{"aud": "https://other.example"}, "aud"},
		"another key":      {map[string]any{"cnf": map[string]any{"jwk": json.RawMessage(other)}}, "cnf"},
		"no key":           {map[string]any{"cnf": nil}, "cnf"},
		"another document": {map[string]any{"dwk": "aauth-access.json"}, "dwk"},
		"ended":            {map[string]any{"exp": 1_767_225_600}, "exp"},
		"no end":           {map[string]any{"exp": nil}, "exp"},
		"no jti":           {map[string]any{"jti": nil}, "jti"},
	}
	for _, kind := range []string{"person", "auth"} {
		for name, tt := range rows {
			w := newErrandWorld(t, nil)
			w.shop.serve = func(rw http.ResponseWriter, r *http.Request, typ string, c map[string]any) bool {
				if typ == "aa-person+jwt" {
					w.desk.set(func() { w.desk.changes = tt.changes })
				}
				return false
			}
			if kind == "person" {
				w.desk.changes = tt.changes
			}
			status, err := w.fetch(shopURL)
			refusedAs(t, kind+": "+name, status, err, kind+"-token", kind+" token: "+tt.why)
		}
		w := newErrandWorld(t, nil)
		stranger.clock = w.clock
		w.shop.serve = func(http.ResponseWriter, *http.Request, string, map[string]any) bool {
			w.desk.set(func() {
				if kind == "person" || len(w.desk.seen) > 0 {
					w.desk.signer = stranger
				}
			})
			return false
		}
		status, err := w.fetch(shopURL)
		refusedAs(t, kind+": another's signature", status, err, kind+"-token", kind+" token: not signed")
	}
}

func TestGrantedTokensAreCheckedByType(t *testing.T) {
	w := newErrandWorld(t, nil)
	w.desk.changes = map[string]any{"scope": "all"}
	status, err := w.fetch(shopURL)
	refusedAs(t, "a person token with scope", status, err, "person-token", "scope")

	for name, change := range map[string]map[string]any{
		"sub": {"sub": "person-2"}, "ps": {"ps": "https://other.example"},
	} {
		w = newErrandWorld(t, nil)
		w.shop.serve = func(_ http.ResponseWriter, _ *http.Request, typ string, _ map[string]any) bool {
			if typ == "aa-person+jwt" {
				w.desk.set(func() { w.desk.changes = change })
			}
			return false
		}
		status, err = w.fetch(shopURL)
		refusedAs(t, "an auth token of another "+name, status, err, "auth-token", "auth token: "+name)
	}
}
