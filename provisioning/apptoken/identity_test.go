package apptoken

import (
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/exchange/exchangetest"
)

// An identity token that was stolen, or that leaked into a log, makes no second
// application token; it may ask for lists.
func TestIdentityTokenMintsOnce(t *testing.T) {
	w := newOIDCWorld(t)
	for _, tt := range []struct {
		name           string
		change, replay suClaims
	}{
		{"the same", suClaims{"jti": "a"}, nil},
		{"another with its jti", suClaims{"jti": "b"}, suClaims{"jti": "b", "x": "y"}},
		{"the same, without a jti", suClaims{"jti": nil, "x": "1"}, nil},
	} {
		token := w.token(tt.change)
		again := token
		if tt.replay != nil {
			again = w.token(tt.replay)
		}
		caller := w.wantIn(tt.name, suRequest("Bearer "+token))
		if most, err := w.mint(w.zeroTouch, caller); err != nil || most != 0 {
			t.Errorf("%s: got %v, %v", tt.name, most, err)
		}
		replayed := w.wantIn(tt.name+", for a list", suRequest("Bearer "+again))
		_, err := w.mint(w.another(w.edits...), replayed)
		w.wantBarred(tt.name, err, errIdentityUsed)
		if h := keywright.AsError(err).Header.Get("Www-Authenticate"); h != `Bearer error="invalid_token", `+suRealm || len(w.last().Attrs["token"]) != 64 {
			t.Errorf("%s: challenge %s, heard %+v", tt.name, h, w.last())
		}
	}
	if _, err := w.mint(w.zeroTouch, w.wantIn("another", suRequest("Bearer "+w.token(suClaims{"jti": nil, "x": "2"})))); err != nil {
		t.Errorf("another without a jti: %v", err)
	}
	until := suStart.Add(5*time.Minute + 30*time.Second + time.Minute) // exp, skew, margin
	marks := w.records(KindIdentity)
	for id, expires := range marks {
		if !expires.Equal(until) {
			t.Errorf("%s stands until %v, want %v", id, expires, until)
		}
	}
	if len(marks) != 4 || len(w.records(KindZeroTouch)) != 0 {
		t.Errorf("marks %v", marks)
	}
}

// To have been refused burns nothing.
func TestRefusedIdentityTokenIsNotUsed(t *testing.T) {
	w := newOIDCWorld(t)
	w.check("another audience", w.token(suClaims{"jti": "a", "aud": "x"}), "audience")
	if _, err := w.mint(w.zeroTouch, w.wantIn("good", suRequest("Bearer "+w.token(suClaims{"jti": "a"})))); err != nil {
		t.Error(err)
	}
}

// The issuer is a part of a token's name: what one does burns nothing of another.
func TestSameTokenIDOfTwoIssuers(t *testing.T) {
	other := exchangetest.NewIssuer(t)
	w := newOIDCWorld(t, func(c *ZeroTouch) {
		c.ServiceAccounts = append(c.ServiceAccounts, ServiceAccount{Issuer: other.URL(), Subject: suSub, Name: "second"})
	})
	other.Now, other.Audience = w.now, suURL
	for _, i := range []*exchangetest.Issuer{w.issuer, other} {
		caller := w.wantIn(i.URL(), suRequest("Bearer "+i.Token(suClaims{"sub": suSub, "jti": "1"})))
		if _, err := w.mint(w.zeroTouch, caller); err != nil {
			t.Errorf("%s: %v", i.URL(), err)
		}
	}
}

func TestIdentityTokenRace(t *testing.T) {
	w := newOIDCWorld(t)
	caller := w.wantIn("good", suRequest("Bearer "+w.token(nil)))
	w.race(caller, errIdentityUsed, w.edits...)
}
