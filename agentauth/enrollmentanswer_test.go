package agentauth_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/agentauth"
)

// TestAgentTokensThatAreAnswered has, for each check of the answer, one that differs
// from a good one in nothing else.
func TestAgentTokensThatAreAnswered(t *testing.T) {
	at := func(iat, exp time.Duration) claims {
		return claims{"iat": t0.Add(iat).Unix(), "exp": t0.Add(exp).Unix()}
	}
	for name, tt := range map[string]struct {
		header, claims, answer claims
		says                   string // "": it is good
	}{
		"a good one":                   {says: ""},
		"no typ":                       {header: claims{"typ": nil}, says: "typ: want aa-agent+jwt"},
		"another typ":                  {header: claims{"typ": "aa-person+jwt"}, says: "typ: want aa-agent+jwt"},
		"no alg":                       {header: claims{"alg": nil}, says: "it is no compact JWS"},
		"alg none":                     {header: claims{"alg": "none"}, says: "it is no compact JWS"},
		"alg of before 2026":           {header: claims{"alg": "EdDSA"}},
		"no iss":                       {claims: claims{"iss": nil}, says: "iss: want the identifier"},
		"iss that is no server":        {claims: claims{"iss": "ap.example"}, says: "iss: want the identifier"},
		"iss of another":               {claims: claims{"iss": "https://other.example"}, says: "iss: want https://ap.example"},
		"no dwk":                       {claims: claims{"dwk": nil}},
		"another dwk":                  {claims: claims{"dwk": "aauth-person.json"}, says: "dwk: want aauth-agent.json"},
		"no sub":                       {claims: claims{"sub": nil}, says: "sub: want the identifier"},
		"sub of another":               {claims: claims{"sub": "aauth:b@ap.example"}, says: "sub: want aauth:a@ap.example"},
		"sub that is no agent":         {claims: claims{"sub": "a"}, says: "sub: want the identifier"},
		"sub is a number":              {claims: claims{"sub": 1}, says: "sub: want the identifier"},
		"a parent":                     {claims: claims{"parent_agent": "aauth:p@ap.example"}, says: "sub is a sub-agent"},
		"no ps":                        {claims: claims{"ps": nil}, says: "ps: want https://ps.example"},
		"another ps":                   {claims: claims{"ps": "https://other.example"}, says: "ps: want https://ps.example"},
		"no cnf":                       {claims: claims{"cnf": nil}, says: "cnf: want jwk, the key"},
		"cnf without jwk":              {claims: claims{"cnf": claims{"jkt": "x"}}, says: "cnf: want jwk, the key"},
		"cnf of another key":           {claims: claims{"cnf": claims{"jwk": jwk(t, seedKey("other"))}}, says: "cnf: want jwk, the key"},
		"cnf of another kind of key":   {claims: claims{"cnf": claims{"jwk": jwk(t, newP256(t))}}, says: "cnf: want jwk, the key"},
		"no jti":                       {claims: claims{"jti": nil}, says: "jti: want the identifier"},
		"jti is empty":                 {claims: claims{"jti": ""}, says: "jti: want the identifier"},
		"no iat":                       {claims: claims{"iat": nil}, says: "iat: want a time"},
		"no exp":                       {claims: claims{"exp": nil}, says: "exp: want a time"},
		"exp is a text":                {claims: claims{"exp": "1"}, says: "exp: want a time"},
		"exp before iat":               {claims: at(2*time.Hour, time.Hour), says: "exp: want a time within"},
		"exp a day after iat":          {claims: at(0, 24*time.Hour)},
		"exp later":                    {claims: at(0, 24*time.Hour+time.Second), says: "exp: want a time within"},
		"exp now":                      {claims: at(-time.Hour, 0), says: "exp is past"},
		"exp in a second":              {claims: at(-time.Hour, time.Second)},
		"no token":                     {answer: claims{"agent_token": nil}, says: "an answer of success without a token"},
		"an empty token":               {answer: claims{"agent_token": ""}, says: "an answer of success without a token"},
		"a token that is a number":     {answer: claims{"agent_token": 1}, says: "an answer of success without a token"},
		"a token that is a word":       {answer: claims{"agent_token": "averysecret"}, says: "it is no compact JWS"},
		"an encrypted token":           {answer: claims{"agent_token": "a.averysecret.c.d.e"}, says: "it is no compact JWS"},
		"claims that are no object":    {answer: claims{"agent_token": compactText(t, seedKey("issuer"), `{"alg":"Ed25519","typ":"aa-agent+jwt"}`, `["averysecret"]`)}, says: "its claims are no JSON"},
		"a claim twice":                {answer: claims{"agent_token": compactText(t, seedKey("issuer"), `{"alg":"Ed25519","typ":"aa-agent+jwt"}`, `{"sub":"averysecret","sub":"b"}`)}, says: "its claims are no JSON"},
		"another agent beside it":      {answer: claims{"agent_id": "aauth:b@ap.example"}, says: "agent_id is not that of the token"},
		"an agent that is a number":    {answer: claims{"agent_id": 1}, says: "agent_id: want a string"},
		"keys without TLS":             {answer: claims{"jwks_uri": "http://ap.example/a.json"}, says: "jwks_uri: want https"},
		"keys without a host":          {answer: claims{"jwks_uri": "/a.json"}, says: "jwks_uri: want a URL"},
		"keys with a line break":       {answer: claims{"jwks_uri": "https://ap.example/\n"}, says: "jwks_uri: want a string"},
		"a kid that is a number":       {answer: claims{"key_id": 1}, says: "key_id: want a string"},
		"a kid that no field can hold": {answer: claims{"key_id": "clé"}, says: "key_id: want a string"},
		"a long kid":                   {answer: claims{"key_id": strings.Repeat("k", 1025)}, says: "key_id: want a string"},
		"nothing beside it":            {answer: claims{"jwks_uri": nil, "expires_in": nil}},
		"null beside it":               {answer: claims{"jwks_uri": null, "expires_in": null, "key_id": null, "agent_id": null}},
		"more beside it":               {answer: claims{"key_id": "k", "x": claims{"y": 1}, "Agent_Token": 1}},
		"a life that is no number":     {answer: claims{"expires_in": "an hour"}},
	} {
		p := &foreignProvider{t: t, header: tt.header, claims: tt.claims, answer: tt.answer}
		c := p.config()
		c.Provider, c.PersonServer = issuer, "https://ps.example"
		e, err := agentauth.Enroll(t.Context(), c)
		if tt.says == "" {
			if err != nil || e.AgentID != c.AgentID || e.AgentToken == "" || e.Provider != issuer {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), ": "+tt.says) || !strings.HasPrefix(err.Error(), "agentauth: ") || e != (agentauth.Enrollment{}) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && (strings.Contains(err.Error(), "averysecret") || strings.Contains(err.Error(), "eyJ")) || errors.Is(err, agentauth.ErrLost) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTheProviderChooses what is not asked for. Providers of before 2026, and those
// of others, tell less than ours.
func TestTheProviderChooses(t *testing.T) {
	p := &foreignProvider{t: t, claims: claims{"ps": "https://ps.example"}, answer: claims{"jwks_uri": nil, "expires_in": nil}}
	c := p.config()
	c.AgentID = ""
	e, err := agentauth.Enroll(t.Context(), c)
	must(t, err)
	want := agentauth.Enrollment{
		Provider: issuer, AgentID: "aauth:chosen@ap.example", AgentToken: e.AgentToken, Issued: t0, Expires: t0.Add(time.Hour), Key: e.Key, LocalKeyHandle: e.Key.Handle(),
	}
	if diff := cmp.Diff(want, e, sameKey); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if body := p.requests[0].body; len(body) != 1 || body["jwk"] == nil {
		t.Errorf("sent: %v", body)
	}
}

// TestTheEndOfATokenIsTheEarlier of the two that an answer tells.
func TestTheEndOfATokenIsTheEarlier(t *testing.T) {
	for seconds, want := range map[any]time.Duration{60: time.Minute, 7200: time.Hour, 1 << 62: time.Hour, 0: time.Hour, -5: time.Hour, 0.5: time.Hour} {
		p := &foreignProvider{t: t, answer: claims{"expires_in": seconds}}
		e, err := agentauth.Enroll(t.Context(), p.config())
		if err != nil || !e.Expires.Equal(t0.Add(want)) {
			t.Errorf("expires_in %v: %v, %v", seconds, e.Expires, err)
		}
	}
}

// TestAnEnrollmentIsPrintedWithoutItsToken, whichever way.
func TestAnEnrollmentIsPrintedWithoutItsToken(t *testing.T) {
	e, err := agentauth.Enroll(t.Context(), (&foreignProvider{t: t}).config())
	must(t, err)
	encoded, err := json.Marshal(map[string]any{"e": e, "p": &e})
	must(t, err)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("got", "e", e, "p", &e)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("got", "e", e, "p", &e)
	all := fmt.Sprintf("%v %+v %#v %s %q %x %d %v %v", e, e, e, e, &e, e, e, []any{e}, struct{ E agentauth.Enrollment }{e}) + string(encoded) + log.String() + e.String()
	if strings.Contains(all, "eyJ") || strings.Contains(all, fmt.Sprintf("%x", e.AgentToken[:20])) || !strings.Contains(all, e.AgentID) {
		t.Errorf("printed: %s", all)
	}
}

// TestTheEarlierEndCounts has both times be of the clock that the end is of.
func TestTheEarlierEndCounts(t *testing.T) {
	p := &foreignProvider{t: t, claims: claims{"iat": t0.Add(-10 * time.Minute).Unix()}, answer: claims{"expires_in": 600}}
	e, err := agentauth.Enroll(t.Context(), p.config())
	must(t, err)
	if !e.Issued.Equal(t0) || !e.Expires.Equal(t0.Add(10*time.Minute)) {
		t.Errorf("issued %v, ends %v: want ten minutes from %v", e.Issued, e.Expires, t0)
	}
}
