package apptoken

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/exchange/exchangetest"
)

// B3: which algorithms an issuer may use is the operator's to say, and how long
// its tokens may live, and where its keys are.
func TestSettingsOfIssuers(t *testing.T) {
	w := newOIDCWorld(t)
	w.issuer.Algorithm = "ES256"
	w.check("ES256, not configured", w.token(nil), "algorithm")
	settings := func(s Issuer) {
		w.zeroTouch = w.another(append(w.edits, func(c *ZeroTouch) { s.URL = w.issuer.URL(); c.Network.Issuers = []Issuer{s} })...)
	}
	settings(Issuer{Algorithms: []string{"ES256"}, MaxLifetime: 10 * time.Minute})
	w.check("ES256", w.token(nil), "")
	w.check("ten minutes", w.token(suClaims{"exp": suStart.Unix() + 600}), "")
	w.check("a second more", w.token(suClaims{"exp": suStart.Unix() + 601}), "time")
	_, before := w.issuer.Fetches()
	settings(Issuer{Algorithms: []string{"ES256"}, JWKS: w.issuer.JWKS()})
	w.check("known keys", w.token(nil), "")
	if _, after := w.issuer.Fetches(); after != before {
		t.Error("fetched keys that are known")
	}
	settings(Issuer{Algorithms: []string{"ES256"}, JWKSURL: w.issuer.URL() + "/nowhere"})
	w.wantOut("keys elsewhere", suRequest("Bearer "+w.token(nil)), keywright.CodeUnavailable, "keys unavailable")
	w.zeroTouch = w.another(append(w.edits, func(c *ZeroTouch) { c.Audience = "quay-bootstrap" })...)
	w.issuer.Algorithm = ""
	w.check("the host's URL, where another audience is configured", w.token(nil), "audience")
	w.check("the configured audience", w.token(suClaims{"aud": "quay-bootstrap"}), "")
	w.zeroTouch = w.another(append(w.edits, func(c *ZeroTouch) {
		c.Network.InsecureLoopback = true
		c.ServiceAccounts[0].Claims = map[string]string{"azp": "cli", "x.y/z": "1"}
	})...)
	for _, tt := range []struct {
		name   string
		change suClaims
		class  string
	}{
		{"both", suClaims{"azp": "cli", "x.y/z": "1"}, ""},
		{"one", suClaims{"azp": "cli"}, "no match"},
		{"the other", suClaims{"x.y/z": "1"}, "no match"},
		{"another value", suClaims{"azp": "CLI", "x.y/z": "1"}, "no match"},
		{"a number", suClaims{"azp": "cli", "x.y/z": 1}, "no match"},
		{"a list", suClaims{"azp": []string{"cli"}, "x.y/z": "1"}, "no match"},
	} {
		w.check("claims: "+tt.name, w.token(tt.change), tt.class)
	}
}

// B2, E6: the keys, and the subjects, of one issuer are not those of another.
func TestIssuersOfServiceAccounts(t *testing.T) {
	other := exchangetest.NewIssuer(t)
	w := newOIDCWorld(t, func(c *ZeroTouch) {
		c.ServiceAccounts = append(c.ServiceAccounts, ServiceAccount{Issuer: other.URL(), Subject: "other", Name: "second"})
	})
	other.Now, other.Audience = w.now, suURL
	w.check("the other's key", other.Token(suClaims{"sub": suSub, "iss": w.issuer.URL()}), "key")
	w.check("the other's key by our key's id", other.RawToken(w.header(""), suPayload(w.token(nil))), "signature")
	w.check("our subject of the other", other.Token(suClaims{"sub": suSub}), "no match")
	w.check("the other's subject of ours", w.token(suClaims{"sub": "other"}), "no match")
	if p := w.wantIn("the other", suRequest("Bearer "+other.Token(suClaims{"sub": "other"}))); p.Subject != "second" || p.Issuer != other.URL() {
		t.Errorf("got %+v", p)
	}
}

// Of an issuer that nobody trusts nothing is fetched, nor before the cheap checks.
func TestNothingIsFetchedForStrangers(t *testing.T) {
	stranger := exchangetest.NewIssuer(t)
	w := newOIDCWorld(t)
	stranger.Now, stranger.Audience = w.now, suURL
	w.check("a stranger", stranger.Token(suClaims{"sub": suSub}), "issuer")
	if !strings.Contains(w.last().Detail, "no service account is of it") || w.last().Attrs["issuer"] != stranger.URL() {
		t.Errorf("heard %+v", w.last())
	}
	w.check("no kid", w.issuer.RawToken([]byte(`{"alg":"RS256"}`), suPayload(w.token(nil))), "key")
	insecure := suRequest("Bearer " + w.token(nil))
	insecure.TLS = nil
	w.wantOut("without TLS", insecure, keywright.CodeInsufficientScope, "without TLS")
	for _, i := range []*exchangetest.Issuer{w.issuer, stranger} {
		if discovery, jwks := i.Fetches(); discovery+jwks != 0 {
			t.Errorf("%d and %d fetches, want none", discovery, jwks)
		}
	}
}

func TestIssuerThatIsAway(t *testing.T) {
	w := newOIDCWorld(t, func(c *ZeroTouch) { c.Guesses.Burst = 1 })
	w.issuer.SetFault(exchangetest.Down)
	for range 3 { // nobody's fault: not counted
		e := w.wantOut("away", suRequest("Bearer "+w.token(nil)), keywright.CodeUnavailable, "keys unavailable")
		if e.Header.Get("Retry-After") == "" || strings.Contains(e.Detail, w.issuer.URL()) || w.last().Attrs["class"] != "keys unavailable" {
			t.Errorf("told %q %v, heard %+v", e.Detail, e.Header, w.last())
		}
	}
	w.issuer.SetFault(exchangetest.None)
	w.advance(2 * time.Minute)
	w.check("back", w.token(nil), "")
}

func TestServiceAccountConfig(t *testing.T) {
	w := newSuWorld(t)
	good := ServiceAccount{Issuer: "https://idp.example", Subject: "s", Name: "n"}
	for want, edit := range map[string]func(*ServiceAccount){
		`issuer ""`:       func(a *ServiceAccount) { a.Issuer = "" },
		"issuer \"http:":  func(a *ServiceAccount) { a.Issuer = "http://idp.example" },
		"Subject":         func(a *ServiceAccount) { a.Subject = "" },
		"Subject: want":   func(a *ServiceAccount) { a.Subject = "a\n" },
		"Subject: want 1": func(a *ServiceAccount) { a.Subject = strings.Repeat("s", 513) },
		"Name":            func(a *ServiceAccount) { a.Name = "" },
		"Name: want":      func(a *ServiceAccount) { a.Name = "a:b" },
		`Claims: ""`:      func(a *ServiceAccount) { a.Claims = map[string]string{"": "x"} },
		`Claims: "azp"`:   func(a *ServiceAccount) { a.Claims = map[string]string{"azp": ""} },
		`Claims: "aud"`:   func(a *ServiceAccount) { a.Claims = map[string]string{"aud": "x"} },
		"Subject twice":   func(a *ServiceAccount) { a.Name, a.Claims = "other", map[string]string{"x": "y"}; a.Subject = "s2" },
	} {
		c := ZeroTouch{Enabled: true, ServiceAccounts: []ServiceAccount{{Issuer: good.Issuer, Subject: "s2", Name: "n"}, good}}
		edit(&c.ServiceAccounts[1])
		if _, err := newZeroTouch(w.host, c); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "apptoken: Config.ZeroTouch.ServiceAccounts[1]: ") {
			t.Errorf("%s: got %v", want, err)
		}
	}
	if _, err := newZeroTouch(w.host, ZeroTouch{Enabled: true, ServiceAccounts: []ServiceAccount{good, {Issuer: good.Issuer, Subject: "S", Name: "n"}}}); err != nil {
		t.Errorf("two subjects of one name: %v", err)
	}
}

// A caller who has gone is no failure of the issuer.
func TestServiceAccountHangsUp(t *testing.T) {
	w := newOIDCWorld(t)
	w.issuer.SetFault(exchangetest.Silent)
	r := suRequest("Bearer " + w.token(nil))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := w.Authenticate(r.WithContext(ctx))
	if keywright.AsError(err).Code != keywright.CodeUnavailable {
		t.Errorf("got %v", err)
	}
}

// The same through the door that every protected route has.
func TestServiceAccountBesideKeys(t *testing.T) {
	w := newOIDCWorld(t)
	m, err := w.host.Keys.Issue(t.Context(), keywright.Principal{}, keywright.KeySpec{Kind: "app", Subject: "s"})
	if err != nil {
		t.Fatal(err)
	}
	for authorization, want := range map[string]string{"Bearer " + m.Text: "s", "Bearer " + w.token(nil): "deployer", suBasic("admin", suPassword): "admin"} {
		var got keywright.Principal
		h := keywright.Require(w.host.Keys.Of("app"), w.zeroTouch)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			got, _ = keywright.FromContext(r.Context())
		}))
		h.ServeHTTP(httptest.NewRecorder(), suRequest(authorization))
		if got.Subject != want {
			t.Errorf("got %+v, want %s", got, want)
		}
	}
	if _, err := w.Authenticate(suRequest("Bearer " + m.Text)); !errors.Is(err, keywright.ErrNoCredential) {
		t.Errorf("a key: got %v", err)
	}
}
