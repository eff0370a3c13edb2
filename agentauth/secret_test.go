package agentauth_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/agentauth"
	keytext "github.com/keywright/keywright/internal/token"
	"github.com/keywright/keywright/store"
)

// newSecretWorld is a world that admits who has a secret.
func newSecretWorld(t *testing.T) (*world, *agentauth.EnrollmentSecrets) {
	t.Helper()
	var secrets *agentauth.EnrollmentSecrets
	w := newWorld(t, worldConfig{provider: func(c *agentauth.ProviderConfig) {
		var err error
		secrets, err = agentauth.NewEnrollmentSecrets(c.Host)
		must(t, err)
		c.Admission = secrets.Admit
		c.Limits = agentauth.ProviderLimits{PerMinute: -1, AllPerMinute: -1}
	}})
	return w, secrets
}

func makeSecret(t *testing.T, secrets *agentauth.EnrollmentSecrets, s agentauth.SecretSettings) agentauth.NewSecret {
	t.Helper()
	made, err := secrets.Create(t.Context(), keywright.Principal{Subject: "ops", Credential: "admin-key"}, s)
	must(t, err)
	return made
}

// usedOf is how often a secret was used.
func usedOf(t *testing.T, secrets *agentauth.EnrollmentSecrets, id string) int64 {
	t.Helper()
	list, err := secrets.List(t.Context(), "", 0)
	must(t, err)
	i := slices.IndexFunc(list, func(s agentauth.Secret) bool { return s.ID == id })
	if i < 0 {
		t.Fatalf("no secret %s among %v", id, list)
	}
	return list[i].Used
}

// TestSecretsThatAreRefused: section 7.2, items 5 and 6. The answers do not differ
// in a byte, and nothing is written.
func TestSecretsThatAreRefused(t *testing.T) {
	w, secrets := newSecretWorld(t)
	ends := w.clock.Now().Add(time.Hour)
	spent := makeSecret(t, secrets, agentauth.SecretSettings{})
	w.wantToken(w.enrollBy(newEd25519(t), `{"agent_id":"aauth:taken@ap.example"}`, "Bearer "+spent.Text))
	good := makeSecret(t, secrets, agentauth.SecretSettings{})
	other := makeSecret(t, secrets, agentauth.SecretSettings{})
	expired := makeSecret(t, secrets, agentauth.SecretSettings{Life: time.Hour})
	deleted := makeSecret(t, secrets, agentauth.SecretSettings{})
	must(t, secrets.Delete(t.Context(), principal("admin-key"), deleted.ID))
	bound := makeSecret(t, secrets, agentauth.SecretSettings{AgentID: "aauth:a@ap.example", PersonServer: "https://ps.example"})
	key, err := w.host.Keys.Issue(t.Context(), principal("ops"), keywright.KeySpec{Kind: "ci", Subject: "job"})
	must(t, err)
	w.clock.advance(time.Hour)
	if !w.clock.Now().Equal(ends) {
		t.Fatal("the clock")
	}
	forge := func(prefix, id string) string {
		return "Bearer " + keytext.FromEntropy(prefix, id, make([]byte, keytext.SecretEntropy)).Text
	}
	parsed, err := keytext.Parse(good.Text)
	must(t, err)
	tests := []struct {
		name, body  string
		credentials []string
	}{
		{"none", `{}`, nil},
		{"another scheme", `{}`, []string{"Basic " + good.Text}},
		{"scheme AAuth", `{}`, []string{"AAuth " + good.Text}},
		{"no scheme", `{}`, []string{good.Text}},
		{"empty", `{}`, []string{"Bearer "}},
		{"cut off", `{}`, []string{"Bearer " + good.Text[:len(good.Text)-1]}},
		{"of another case", `{}`, []string{"Bearer " + strings.ToUpper(good.Text)}},
		{"the public id alone", `{}`, []string{"Bearer " + good.ID}},
		{"a wrong secret of a right id", `{}`, []string{forge(parsed.Prefix, good.ID)}},
		{"another's secret behind a right id", `{}`, []string{"Bearer " + strings.Replace(other.Text, other.ID, good.ID, 1)}},
		{"an unknown id", `{}`, []string{forge(parsed.Prefix, keytext.NewID())}},
		{"another prefix", `{}`, []string{forge("kw_ci", good.ID)}},
		{"a key of the host", `{}`, []string{"Bearer " + key.Text}},
		{"used up", `{}`, []string{"Bearer " + spent.Text}},
		{"used up, and the identifier is taken", `{"agent_id":"aauth:taken@ap.example"}`, []string{"Bearer " + spent.Text}},
		{"expired", `{}`, []string{"Bearer " + expired.Text}},
		{"deleted", `{}`, []string{"Bearer " + deleted.Text}},
		{"another identifier", `{"agent_id":"aauth:b@ap.example"}`, []string{"Bearer " + bound.Text}},
		{"another person server", `{"ps":"https://other.example"}`, []string{"Bearer " + bound.Text}},
		{"two in one field", `{}`, []string{"Bearer " + good.Text + ", Bearer " + other.Text}},
	}
	before := w.dump()
	want := w.tryEnroll(newEd25519(t), `{}`)
	w.wantError(want, 403, "denied")
	for _, tt := range tests {
		got := w.enrollBy(newEd25519(t), tt.body, tt.credentials...)
		if got.status != want.status || got.body != want.body || !cmp.Equal(got.header, want.header) {
			t.Errorf("%s: got %d %s %v, want %s", tt.name, got.status, got.body, got.header, want.body)
		}
	}
	if diff := cmp.Diff(before, w.dump()); diff != "" {
		t.Errorf("the store was changed:\n%s", diff)
	}
	w.wantToken(w.enrollBy(newEd25519(t), `{}`, "Bearer "+good.Text))
	w.wantToken(w.enrollBy(newEd25519(t), `{"agent_id":"aauth:a@ap.example","ps":"https://ps.example"}`, "Bearer "+bound.Text))
}

func TestSecretSettingsAreChecked(t *testing.T) {
	w, secrets := newSecretWorld(t)
	before := w.dump()
	for name, s := range map[string]agentauth.SecretSettings{
		"uses": {Uses: -1}, "uses ": {Uses: 1 << 31}, "expires_in": {Life: -time.Hour}, "expires_in ": {Life: 30*24*time.Hour + time.Second},
		"expires_in  ": {Life: time.Millisecond}, "agent_id": {AgentID: "a@ap.example"}, "agent_id ": {AgentID: "aauth:a+b@ap.example"},
		"ps": {PersonServer: "http://ps.example"}, "scopes": {Scopes: []string{"a b"}}, "scopes ": {Scopes: []string{""}}, "scopes  ": {Scopes: make([]string, 101)},
		"token_expires_in": {TokenLife: 5 * time.Minute}, "token_expires_in ": {TokenLife: 24*time.Hour + 1}, "description": {Description: "a\nb"},
		"description ": {Description: strings.Repeat("a", 201)},
	} {
		made, err := secrets.Create(t.Context(), principal("admin-key"), s)
		if e := keywright.AsError(err); err == nil || e.Code != keywright.CodeInvalidRequest || !strings.HasPrefix(e.Detail, strings.TrimSpace(name)+":") || made.Text != "" {
			t.Errorf("%s: got %+v, %v", name, made, err)
		}
	}
	if diff := cmp.Diff(before, w.dump()); diff != "" {
		t.Errorf("the store was changed:\n%s", diff)
	}
	if _, err := agentauth.NewEnrollmentSecrets(keywright.Host{}); err == nil {
		t.Error("secrets without a store")
	}
}

// TestSecretIsShownOnce: neither the store nor the audit nor a list has its text.
func TestSecretIsShownOnce(t *testing.T) {
	var audit []keywright.Event
	w := newWorld(t, worldConfig{})
	host, err := keywright.NewHost(keywright.HostConfig{Store: w.store, Hooks: keywright.Hooks{Now: w.clock.Now, Audit: func(_ context.Context, e keywright.Event) { audit = append(audit, e) }}})
	must(t, err)
	secrets, err := agentauth.NewEnrollmentSecrets(host)
	must(t, err)
	made := makeSecret(t, secrets, agentauth.SecretSettings{Description: "for the build machine", Uses: 3})
	if text, err := keytext.Parse(made.Text); err != nil || text.ID != made.ID || len(text.Secret) != keytext.SecretLen {
		t.Errorf("the text is %v, %v", text, err)
	}
	again := makeSecret(t, secrets, agentauth.SecretSettings{})
	if again.Text == made.Text || again.ID == made.ID {
		t.Error("two secrets are one")
	}
	_, err = secrets.Admit(t.Context(), agentauth.Applicant{Secret: made.Text, AgentID: "aauth:a@ap.example"})
	must(t, err)
	_, wrong := secrets.Admit(t.Context(), agentauth.Applicant{Secret: keytext.FromEntropy("kw_enrol", made.ID, make([]byte, keytext.SecretEntropy)).Text})
	_, malformed := secrets.Admit(t.Context(), agentauth.Applicant{Secret: made.Text + "x"})
	list, err := secrets.List(t.Context(), "", 0)
	must(t, err)
	must(t, secrets.Delete(t.Context(), keywright.Principal{Subject: "ops", Credential: "admin-key"}, made.ID))

	records := ""
	for _, kind := range []string{agentauth.KindSecret, "event"} {
		for r, err := range w.store.List(t.Context(), store.Query{Kind: kind}) {
			must(t, err)
			records += r.ID + string(r.Data)
		}
	}
	secret := made.Text[len("kw_enrol_")+keytext.IDLen:][:keytext.SecretLen]
	for what, text := range map[string]string{"store": records, "audit": fmt.Sprintf("%+v", audit), "list": fmt.Sprintf("%+v", list), "errors": fmt.Sprintf("%+v %+v", wrong, malformed)} {
		if strings.Contains(text, secret) {
			t.Errorf("the %s has the secret", what)
		}
	}
	names := []string{audit[0].Name, audit[1].Name, audit[2].Name}
	if diff := cmp.Diff([]string{"agent.secret_created", "agent.secret_created", "agent.secret_deleted"}, names); diff != "" || audit[2].Actor != "admin-key" || audit[2].Target != made.ID || audit[2].Attrs["by"] != "ops" {
		t.Errorf("audit: %+v", audit)
	}
}

func TestSecretsAreListedAndDeleted(t *testing.T) {
	w, secrets := newSecretWorld(t)
	var ids []string
	for range 5 {
		ids = append(ids, makeSecret(t, secrets, agentauth.SecretSettings{Uses: 2, Description: "d", Scopes: []string{"s"}, TokenLife: time.Hour}).ID)
	}
	slices.Sort(ids)
	first, err := secrets.List(t.Context(), "", 2)
	must(t, err)
	rest, err := secrets.List(t.Context(), ids[1], 0)
	must(t, err)
	var got []string
	for _, s := range append(first, rest...) {
		got = append(got, s.ID)
	}
	if diff := cmp.Diff(ids, got); diff != "" || len(first) != 2 {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	want := agentauth.Secret{
		SecretSettings: agentauth.SecretSettings{Description: "d", Uses: 2, Life: 24 * time.Hour, Scopes: []string{"s"}, TokenLife: time.Hour},
		ID:             ids[0], Expires: w.clock.Now().Add(24 * time.Hour).UTC(), Created: w.clock.Now().UTC(), CreatedBy: "ops",
	}
	if diff := cmp.Diff(want, first[0]); diff != "" {
		t.Errorf("the first (-want +got):\n%s", diff)
	}
	must(t, secrets.Delete(t.Context(), principal("a"), ids[0]))
	for _, id := range []string{ids[0], "", "x", strings.Repeat("a", 2000), "a\x00bcdefghijk"} {
		if err := secrets.Delete(t.Context(), principal("a"), id); keywright.AsError(err).Code != keywright.CodeNotFound {
			t.Errorf("delete %.20q: %v", id, err)
		}
	}
	for _, q := range []struct {
		after string
		limit int
	}{{"a\x00", 1}, {"", -1}} {
		if _, err := secrets.List(t.Context(), q.after, q.limit); keywright.AsError(err).Code != keywright.CodeInvalidRequest {
			t.Errorf("list behind %q, %d: %v", q.after, q.limit, err)
		}
	}
}
