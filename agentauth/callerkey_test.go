package agentauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/store"
)

// authFunc is an Authenticator.
type authFunc func(*http.Request) (keywright.Principal, error)

func (f authFunc) Authenticate(r *http.Request) (keywright.Principal, error) { return f(r) }
func (f authFunc) Challenge() string                                         { return "Bearer" }

// TestTroubleIsNoDenial: who cannot be authenticated now is not unwelcome, and no
// other admission is asked in place of the one that is in trouble.
func TestTroubleIsNoDenial(t *testing.T) {
	for name, tt := range map[string]struct {
		err    error
		status int
		code   string
	}{
		"no credential":    {keywright.ErrNoCredential, 403, "denied"},
		"a bad one":        {keywright.Errorf(keywright.CodeInvalidToken, "x"), 403, "denied"},
		"one without more": {keywright.Errorf(keywright.CodeInsufficientScope, "x"), 403, "denied"},
		"a bad signature":  {keywright.Errorf(keywright.CodeInvalidSignature, "x"), 403, "denied"},
		"a store":          {keywright.Wrap(keywright.CodeUnavailable, errStore), 503, "unavailable"},
		"a defect":         {keywright.Wrap(keywright.CodeInternal, errStore), 500, "server_error"},
		"an unknown error": {errStore, 500, "server_error"},
		"two credentials":  {keywright.Errorf(keywright.CodeInvalidRequest, "x"), 400, "invalid_request"},
		"too many":         {keywright.Errorf(keywright.CodeRateLimited, "x"), 429, "rate_limited"},
	} {
		t.Run(name, func(t *testing.T) {
			callers := agentauth.AdmitCallers(authFunc(func(*http.Request) (keywright.Principal, error) { return keywright.Principal{}, tt.err }), nil)
			alone := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) { c.Admission = callers }})
			alone.wantError(alone.tryEnroll(newEd25519(t), "{}"), tt.status, tt.code)
			first := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
				c.Admission = agentauth.AdmitFirst(callers, agentauth.AdmitAnybody)
			}})
			a := first.tryEnroll(newEd25519(t), "{}")
			if tt.code == "denied" {
				first.wantToken(a)
				return
			}
			first.wantError(a, tt.status, tt.code)
		})
	}
}

// TestOtherErrorsDeny: those of an admission of one's own.
func TestOtherErrorsDeny(t *testing.T) {
	w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
		c.Admission = func(context.Context, agentauth.Applicant) (agentauth.Admitted, error) {
			return agentauth.Admitted{}, errors.New("no")
		}
	}})
	w.wantError(w.tryEnroll(newEd25519(t), "{}"), 403, "denied")
}

// TestCredentialsAreCovered: an Authenticator sees nothing that somebody on the way
// may have added.
func TestCredentialsAreCovered(t *testing.T) {
	var seen *http.Request
	auth := authFunc(func(r *http.Request) (keywright.Principal, error) {
		seen = r
		return keywright.Principal{Credential: "x"}, nil
	})
	var whole http.Header
	as := func(_ keywright.Principal, a agentauth.Applicant) (agentauth.Admitted, error) {
		whole = a.Request.Header
		return agentauth.Admitted{}, nil
	}
	for name, tt := range map[string]struct {
		unsigned bool
		cover    []string
		want     []string // fields that are seen
		query    string
	}{
		"what is usual":        {want: []string{"Authorization", "Content-Digest", "Content-Type", "Signature-Key"}},
		"a field that is, too": {cover: []string{"x-api-key"}, want: []string{"Authorization", "Content-Digest", "Content-Type", "Signature-Key", "X-Api-Key"}},
		"the query":            {cover: []string{"@query"}, want: []string{"Authorization", "Content-Digest", "Content-Type", "Signature-Key"}, query: "access_token=x"},
		"without a signature":  {unsigned: true, want: []string{"Authorization"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newUnsignedWorld(t, agentauth.AdmitCallers(auth, as))
			key := newEd25519(t)
			r := w.request("POST", "/enrol?access_token=x", `{"jwk":`+jwkOf(t, key, "Ed25519")+`}`)
			r.Header.Set("Authorization", "Bearer x")
			r.Header.Set("X-Api-Key", "good")
			if !tt.unsigned {
				w.sign(r, key, agentauth.SignOptions{Components: tt.cover})
			}
			r.Header.Set("Cookie", "session=good")
			w.wantToken(w.do(r))
			var got []string
			for _, name := range []string{"Authorization", "Content-Digest", "Content-Type", "Cookie", "Signature-Key", "X-Api-Key"} {
				if seen.Header.Get(name) != "" {
					got = append(got, name)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || seen.URL.RawQuery != tt.query {
				t.Errorf("query %q, fields (-want +got):\n%s", seen.URL.RawQuery, diff)
			}
			if whole.Get("Cookie") == "" || whole.Get("X-Api-Key") == "" || r.URL.RawQuery == "" {
				t.Errorf("the applicant's request is not whole: %v", whole)
			}
		})
	}
}

// beforeKind calls do, once, before the first Commit with a record of a kind.
type beforeKind struct {
	store.Store
	kind string
	do   func()
}

func (b *beforeKind) Commit(ctx context.Context, ops ...store.Op) error {
	for _, op := range ops {
		if op.Record.Kind != b.kind { // last uses are written beside
			continue
		}
		if do := b.do; do != nil {
			b.do = nil
			do()
		}
	}
	return b.Store.Commit(ctx, ops...)
}

// TestCallersKeyStands: a key that ends while it admits an agent admits none.
func TestCallersKeyStands(t *testing.T) {
	parent := store.Record{Kind: "team", ID: "blue", Data: []byte("{}")}
	for name, end := range map[string]func(w *world, id string) error{
		"disabled": func(w *world, id string) error { return w.host.Keys.Disable(t.Context(), principal("admin"), id) },
		"deleted":  func(w *world, id string) error { return w.host.Keys.Delete(t.Context(), principal("admin"), id) },
		"its parent gone": func(w *world, _ string) error {
			records, err := w.store.Get(t.Context(), parent.Key())
			if err != nil {
				return err
			}
			return w.store.Commit(t.Context(), store.Delete(records[0]))
		},
		"nothing": func(*world, string) error { return nil },
	} {
		for _, when := range []string{"asked", agentauth.KindAgentID, agentauth.KindApplication} {
			t.Run(fmt.Sprintf("%s before %s", name, when), func(t *testing.T) {
				var w *world
				st := &beforeKind{Store: &store.Memory{Now: func() time.Time { return time.Unix(1_767_225_600, 0) }}, kind: when}
				w = newWorld(t, worldConfig{store: st, provider: func(c *agentauth.ProviderConfig) {
					c.Admission = agentauth.AdmitCallers(c.Host.Keys.Of("ci"), func(p keywright.Principal, _ agentauth.Applicant) (agentauth.Admitted, error) {
						if when == "asked" {
							must(t, end(w, p.Credential))
						}
						return agentauth.Admitted{By: "policy", Pending: when == agentauth.KindApplication}, nil
					})
				}})
				must(t, w.store.Commit(t.Context(), store.Insert(parent)))
				m, err := w.host.Keys.Issue(t.Context(), principal("admin"), keywright.KeySpec{Kind: "ci", Subject: "job", Parents: []keywright.Parent{{Key: parent.Key()}}})
				must(t, err)
				st.do = func() { must(t, end(w, m.ID)) }
				a := w.enrollBy(newEd25519(t), "{}", "Bearer "+m.Text)
				switch {
				case name != "nothing":
					w.wantError(a, 403, "denied")
					if n := w.count(agentauth.KindApplication); n != 0 || len(w.agents()) != 0 {
						t.Errorf("%d applications, agents %v", n, w.agents())
					}
				case when == agentauth.KindApplication:
					w.wantPending(a)
				default:
					w.wantToken(a)
				}
			})
		}
	}
}

// TestOpsOnTheCallersKey: an admission may look at the key itself.
func TestOpsOnTheCallersKey(t *testing.T) {
	w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
		c.Admission = agentauth.AdmitCallers(c.Host.Keys.Of("ci"), func(p keywright.Principal, a agentauth.Applicant) (agentauth.Admitted, error) {
			ops, err := c.Host.Keys.Standing(a.Request.Context(), p.Credential)
			return agentauth.Admitted{Ops: append(ops, store.Take("jobs", 1, 1, p.Expires))}, err
		})
	}})
	m, err := w.host.Keys.Issue(t.Context(), principal("admin"), keywright.KeySpec{Kind: "ci", Subject: "job"})
	must(t, err)
	w.wantToken(w.enrollBy(newEd25519(t), "{}", "Bearer "+m.Text))
	w.wantError(w.enrollBy(newEd25519(t), "{}", "Bearer "+m.Text), 403, "denied")
}
