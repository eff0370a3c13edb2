package bootstrap_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/bootstrap"
	"github.com/keywright/keywright/store"
)

// TestAttackVectors sends every token of testdata/attacks/bootstrap.json, each
// to a server of its own, and then a good token: a refusal leaves nothing behind.
func TestAttackVectors(t *testing.T) {
	var file struct {
		Secret string `json:"secret_base64"`
		Now    int64  `json:"now"`
		Cases  []struct {
			ID            string   `json:"id"`
			Name          string   `json:"name"`
			Authorization []string `json:"authorization"`
			Expect        struct {
				Status int    `json:"status"`
				Code   string `json:"code"`
			} `json:"expect"`
		} `json:"cases"`
	}
	b, err := os.ReadFile("testdata/attacks/bootstrap.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	if file.Secret != secret || file.Now != t0.Unix() || len(file.Cases) < 50 {
		t.Fatalf("not the vectors this test is made for: %d cases", len(file.Cases))
	}
	for _, c := range file.Cases {
		t.Run(c.ID+" "+c.Name, func(t *testing.T) {
			f := newFixture(t)
			srv := f.serve(f.config())
			got := f.post(srv, c.Authorization...)
			if got.status != c.Expect.Status || got.code() != c.Expect.Code {
				t.Errorf("got %d %q (%s), want %d %q", got.status, got.code(), f.lastDetail(), c.Expect.Status, c.Expect.Code)
			}
			if got.status == http.StatusOK {
				return
			}
			f.wantUntouched()
			if again := f.redeem(srv, f.token()); again.status != http.StatusOK {
				t.Errorf("a good token afterwards: got %d, want 200", again.status)
			}
		})
	}
}

// A claims set is the payload of a token, to be bent.
type claims map[string]any

func goodClaims() claims {
	return claims{"iss": "rsconnect-python", "aud": "rsconnect", "scope": "bootstrap", "iat": t0.Unix() - 5, "exp": t0.Unix() + 895}
}

// TestEachCheck has, for each check of a token, one token that differs from a
// good one in nothing else, and the cause that must stand in the audit.
func TestEachCheck(t *testing.T) {
	now := t0.Unix()
	tests := []struct {
		name   string
		header string // empty: {"alg":"HS256","typ":"JWT"}
		set    claims // replaces or, with nil, removes claims
		status int
		cause  string
	}{
		{"good", "", nil, 200, ""},
		{"BST-05 HS512", `{"alg":"HS512","typ":"JWT"}`, nil, 401, "unsupported algorithm"},
		{"another typ", `{"alg":"HS256","typ":"at+jwt"}`, nil, 401, "typ"},
		{"typ in lower case", `{"alg":"HS256","typ":"jwt"}`, nil, 200, ""},
		{"no typ", `{"alg":"HS256"}`, nil, 200, ""},
		{"BST-24 crit", `{"alg":"HS256","crit":["exp"]}`, nil, 401, "crit"},
		{"BST-17 iss", "", claims{"iss": "rsconnect"}, 401, "iss is not"},
		{"BST-17 iss missing", "", claims{"iss": nil}, 401, "iss"},
		{"BST-18 aud", "", claims{"aud": "connect"}, 401, "aud is not"},
		{"BST-18 aud in an array of one", "", claims{"aud": []string{"rsconnect"}}, 200, ""},
		{"BST-18 aud in an array of two", "", claims{"aud": []string{"rsconnect", "x"}}, 401, "aud"},
		{"BST-18 aud missing", "", claims{"aud": nil}, 401, "aud"},
		{"BST-20 scope", "", claims{"scope": "bootstrap admin"}, 401, "scope is not"},
		{"BST-20 scope missing", "", claims{"scope": nil}, 401, "scope"},
		{"iat missing", "", claims{"iat": nil}, 401, "iat"},
		{"iat ahead within the skew", "", claims{"iat": now + 30}, 200, ""},
		{"iat ahead beyond the skew", "", claims{"iat": now + 31}, 401, "issued in the future"},
		{"BST-11 exp missing", "", claims{"exp": nil}, 401, "exp"},
		{"BST-12 exp = now - 31", "", claims{"exp": now - 31, "iat": now - 60}, 401, "expired"},
		{"BST-12 exp = now - 30", "", claims{"exp": now - 30, "iat": now - 60}, 401, "expired"},
		{"BST-12 exp = now - 29", "", claims{"exp": now - 29, "iat": now - 60}, 200, ""},
		{"BST-12 exp = now", "", claims{"exp": now, "iat": now - 60}, 200, ""},
		{"BST-13 exactly 900 s", "", claims{"iat": now, "exp": now + 900}, 200, ""},
		{"BST-13 901 s", "", claims{"iat": now, "exp": now + 901}, 401, "at most 15m0s"},
		{"BST-13 100 years", "", claims{"iat": now, "exp": now + 100*365*86400}, 401, "at most 15m0s"},
		{"exp before iat", "", claims{"iat": now, "exp": now - 1}, 401, "iat"},
		{"nbf ahead", "", claims{"nbf": now + 31}, 401, "not valid yet"},
		{"jti of another type", "", claims{"jti": 5}, 401, "jti"},
		{"jti empty", "", claims{"jti": ""}, 401, "jti"},
		{"further claims", "", claims{"sub": "x", "x": claims{"y": 1}}, 200, ""},
		{"claim in other case beside it", "", claims{"EXP": now + 10_000}, 200, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			header := tt.header
			if header == "" {
				header = `{"alg":"HS256","typ":"JWT"}`
			}
			got := f.redeem(f.serve(f.config()), signed(t, header, goodClaims().with(tt.set)))
			if got.status != tt.status {
				t.Errorf("got %d (%s), want %d", got.status, f.lastDetail(), tt.status)
			}
			if !strings.Contains(f.lastDetail(), tt.cause) {
				t.Errorf("the audit says %q, want it to name %q", f.lastDetail(), tt.cause)
			}
		})
	}
}

func (c claims) with(set claims) claims {
	for name, v := range set {
		if c[name] = v; v == nil {
			delete(c, name)
		}
	}
	return c
}

// TestAuthorizationForms covers BST-27, BST-28 and BST-30 and duplicates.
func TestAuthorizationForms(t *testing.T) {
	f := newFixture(t)
	tok := f.token()
	tests := []struct {
		name          string
		authorization []string
		status        int
	}{
		{"no header", nil, 401},
		{"BST-28 another scheme", []string{"Bearer " + tok}, 401},
		{"BST-28 lower case", []string{"connect-bootstrap " + tok}, 200},
		{"BST-28 scheme alone", []string{"Connect-Bootstrap"}, 401},
		{"BST-28 scheme and a space", []string{"Connect-Bootstrap "}, 401},
		{"BST-28 two spaces", []string{"Connect-Bootstrap  " + tok}, 200},
		{"BST-28 tab", []string{"Connect-Bootstrap\t" + tok}, 401},
		{"BST-28 no space", []string{"Connect-Bootstrap" + tok}, 401},
		{"two fields", []string{"Connect-Bootstrap " + tok, "Connect-Bootstrap " + tok}, 401},
		{"a list", []string{"Connect-Bootstrap " + tok + ", Connect-Bootstrap " + tok}, 401},
		{"something behind", []string{"Connect-Bootstrap " + tok + " x"}, 401},
		{"BST-27 space behind", []string{"Connect-Bootstrap " + tok + " "}, 401},
		{"BST-27 line break inside", []string{"Connect-Bootstrap " + tok[:60] + "\n" + tok[60:]}, 401},
		{"BST-27 padding", []string{"Connect-Bootstrap " + tok + "="}, 401},
		{"BST-31 9 KiB", []string{"Connect-Bootstrap " + strings.Repeat("a", 9<<10)}, 401},
		{"BST-32 1 MiB of dots", []string{"Connect-Bootstrap " + strings.Repeat(".", 1<<20)}, 401},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			h, err := bootstrap.New(f.config())
			if err != nil {
				t.Fatal(err)
			}
			// Called directly: net/http would trim or refuse some of these first.
			r := httptest.NewRequest(http.MethodPost, bootstrap.Path, nil)
			r.Header["Authorization"] = tt.authorization
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Errorf("got %d (%s), want %d", w.Code, f.lastDetail(), tt.status)
			}
			if w.Code == 401 && w.Header().Get("WWW-Authenticate") != "Connect-Bootstrap" {
				t.Errorf("WWW-Authenticate is %q", w.Header().Get("WWW-Authenticate"))
			}
		})
	}
}

func TestBST30TokenElsewhere(t *testing.T) {
	f := newFixture(t)
	srv := f.serve(f.config())
	tok := f.token()
	for name, send := range map[string]func(*http.Request){
		"query":  func(r *http.Request) { r.URL.RawQuery = "token=" + tok },
		"cookie": func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "token", Value: tok}) },
		"body":   func(r *http.Request) { r.Body = io.NopCloser(strings.NewReader(tok)) },
	} {
		req, err := http.NewRequest(http.MethodPost, srv.URL+bootstrap.Path, nil)
		if err != nil {
			t.Fatal(err)
		}
		send(req)
		if got := f.do(req); got.status != 401 {
			t.Errorf("%s: got %d, want 401", name, got.status)
		}
	}
	f.wantUntouched()
}

// TestBST31BoundedCost measures that a hostile header or body costs nothing to
// speak of.
func TestBST31BoundedCost(t *testing.T) {
	f := newFixture(t)
	h, err := bootstrap.New(f.config())
	if err != nil {
		t.Fatal(err)
	}
	for name, tok := range map[string]string{
		"64 KiB": strings.Repeat("a", 64<<10),
		"dots":   strings.Repeat(".", 1<<20),
		"parts":  strings.Repeat("e30.", 1<<18),
	} {
		body := &countingReader{}
		r := httptest.NewRequest(http.MethodPost, bootstrap.Path, body)
		r.Header.Set("Authorization", "Connect-Bootstrap "+tok)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		runtime.ReadMemStats(&after)
		if w.Code != 401 {
			t.Errorf("%s: got %d, want 401", name, w.Code)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 64<<10 {
			t.Errorf("%s: %d bytes allocated, want at most 64 KiB", name, n)
		}
		if body.n != 0 {
			t.Errorf("%s: %d bytes of the body were read, want none", name, body.n)
		}
	}
}

// A countingReader is a body without an end.
type countingReader struct{ n int }

func (r *countingReader) Read(p []byte) (int, error) { r.n += len(p); return len(p), nil }

// TestBST41NoSecretsInLogs sends good and bad tokens and looks for anything
// secret in what was logged, audited or answered with an error.
func TestBST41NoSecretsInLogs(t *testing.T) {
	f := newFixture(t)
	srv := f.serve(f.config())
	tok := f.token()
	bad := tok[:len(tok)-4] + "AAAA"
	f.redeem(srv, bad)
	f.redeem(srv, "junk")
	good := f.redeem(srv, tok)
	f.redeem(srv, tok)
	f.whoami(srv, good.key())
	f.whoami(srv, good.key()+"x")

	raw, err := base64.StdEncoding.DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	said := f.log.String()
	if !strings.Contains(said, "bootstrap.claimed") || !strings.Contains(said, "bootstrap.refused") {
		t.Fatalf("the log lacks the events it should hold: %s", said)
	}
	parts := strings.Split(tok, ".")
	for name, s := range map[string]string{
		"secret": secret, "raw secret": string(raw), "token": tok, "bad token": bad, "claims": parts[1], "signature": parts[2],
		"key": good.key(), "secret part of the key": good.key()[len("kw_admin_")+12:],
		"base64 of the key": base64.StdEncoding.EncodeToString([]byte(good.key())),
	} {
		if strings.Contains(said, s) {
			t.Errorf("the log holds the %s", name)
		}
	}
}

func TestBST42Headers(t *testing.T) {
	f := newFixture(t)
	got := f.redeem(f.serve(f.config()), f.token())
	want := map[string]string{
		"Content-Type": "application/json", "Cache-Control": "no-store", "Pragma": "no-cache", "X-Content-Type-Options": "nosniff",
	}
	for name, value := range want {
		if got.header.Get(name) != value {
			t.Errorf("%s: got %q, want %q", name, got.header.Get(name), value)
		}
	}
}

// A brokenStore fails the calls it is told to.
type brokenStore struct {
	store.Store
	getErr, commitErr error
}

func (s *brokenStore) Get(ctx context.Context, keys ...store.Key) ([]store.Record, error) {
	if s.getErr != nil {
		return nil, s.getErr
	}
	return s.Store.Get(ctx, keys...)
}

func (s *brokenStore) Commit(ctx context.Context, ops ...store.Op) error {
	if s.commitErr != nil {
		return s.commitErr
	}
	return s.Store.Commit(ctx, ops...)
}

var errDown = errors.New("database is down")

// TestBST38StoreFailure: trouble of the store is 503, gives no key, and the
// next try succeeds.
func TestBST38StoreFailure(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(*brokenStore)
	}{
		{"on reading the claim", func(s *brokenStore) { s.getErr = errDown }},
		{"on commit", func(s *brokenStore) { s.commitErr = errDown }},
		{"timeout on commit", func(s *brokenStore) { s.commitErr = context.DeadlineExceeded }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			broken := &brokenStore{Store: f.store}
			f.setStore(broken)
			srv := f.serve(f.config())
			tt.spoil(broken)
			if got := f.redeem(srv, f.token()); got.status != 503 || got.code() != string(keywright.CodeUnavailable) {
				t.Errorf("got %d %q, want 503 unavailable", got.status, got.code())
			}
			broken.getErr, broken.commitErr = nil, nil
			f.wantUntouched()
			if got := f.redeem(srv, f.token()); got.status != 200 {
				t.Errorf("after recovery: got %d, want 200", got.status)
			}
		})
	}
}
