package exchange_test

import (
	"context"
	"slices"
	"testing"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/exchange"
	"github.com/keywright/keywright/exchange/exchangetest"
	"github.com/keywright/keywright/store"
)

func otherRepository(id, subject, repository string) exchange.Publisher {
	return named(id, subject, claims("repository", "octo-org/"+repository, "repository_id", repository))
}

func (w *world) jobOf(repository string) string {
	return w.issuer.GitHub(map[string]any{"repository": "octo-org/" + repository, "repository_id": repository})
}

// version is how often the publishers have changed.
func (w *world) version() int64 {
	w.t.Helper()
	records, err := w.db.Get(w.t.Context(), store.Key{Kind: exchange.KindEpoch, ID: "publishers"})
	if err != nil {
		w.t.Fatal(err)
	}
	return records[0].Version
}

// A publisher's first key writes what the later ones hang on too; they do not
// make all processes read the publishers again.
func TestFirstKeysOfPublishersWithOneIssuer(t *testing.T) {
	w := newWorld(t, []exchange.Publisher{otherRepository("a", "x", "1"), otherRepository("b", "y", "2")})
	w.create(otherRepository("c", "z", "3"))
	other := w.twin(w.own(otherRepository("a", "x", "1")), w.own(otherRepository("b", "y", "2")))
	for range 2 {
		for _, repository := range []string{"1", "2", "3"} {
			w.wantKey(w.jobOf(repository))
			other.wantKey(w.jobOf(repository))
		}
	}
	before := w.version()
	for _, repository := range []string{"1", "2", "3"} {
		w.wantKey(w.jobOf(repository))
	}
	if after := w.version(); after != before {
		t.Errorf("the publishers have changed from %d to %d", before, after)
	}
}

// A store that goes away between any two reads is trouble, and costs no token.
func TestStoreGoesAwayMeanwhile(t *testing.T) {
	failed := 0
	for at := int64(1); at <= 4; at++ {
		c := new(clock)
		issuer := exchangetest.NewIssuer(t)
		issuer.Now, issuer.Audience = c.Now, audience
		db := &between{Store: &store.Memory{Now: c.Now}}
		w := worldOn(t, db, c, issuer, "", []exchange.Publisher{github()})
		token := issuer.GitHub(nil)
		db.do = func() { w.db.reads.Store(&errAway) }
		db.left.Store(at)
		a := w.post(token)
		w.db.reads.Store(nil)
		db.left.Store(0)
		if a.status == 200 {
			continue
		}
		failed++
		if a.status != 503 || a.text("error") != "temporarily_unavailable" {
			t.Errorf("after read %d: got %d %s", at, a.status, a.body)
		}
		w.wantKey(token)
	}
	if failed == 0 {
		t.Error("it never failed")
	}
}

func TestListsAreInOrder(t *testing.T) {
	var publishers []exchange.Publisher
	for _, id := range many(20, 2) {
		publishers = append(publishers, named("p"+id, "s", func(p *exchange.Publisher) { p.Issuer = "https://ci" + id + ".example" }))
	}
	w := newWorld(t, publishers)
	infos, err := w.Publishers(t.Context(), "", 0)
	if err != nil || len(infos) != 20 || !slices.IsSortedFunc(infos, func(a, b exchange.PublisherInfo) int { return slices.Compare([]string{a.ID}, []string{b.ID}) }) {
		t.Errorf("publishers: %v, %v", infos, err)
	}
	issuers, err := w.Issuers(t.Context())
	if err != nil || len(issuers) != 20 || !slices.IsSortedFunc(issuers, func(a, b exchange.IssuerInfo) int { return slices.Compare([]string{a.Issuer}, []string{b.Issuer}) }) {
		t.Errorf("issuers: %v, %v", issuers, err)
	}
}

// Google's address names an account only where it is verified.
func TestSubjectOfAnAddress(t *testing.T) {
	p := of(exchange.Google, "sub", "110432109876543210987")
	p.Subject, p.SubjectClaim = "", "email"
	w := newWorld(t, []exchange.Publisher{p}, func(c *exchange.Config) {
		c.Account = func(context.Context, keywright.Principal) (bool, error) { return true, nil }
	})
	w.judge(w.issuer.Google, []job{
		{"verified", nil, ""},
		{"not verified", map[string]any{"email_verified": false}, "email_verified"},
		{"verified in words", map[string]any{"email_verified": "true"}, "email_verified"},
	})
}
