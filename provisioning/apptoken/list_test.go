package apptoken_test

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning/apptoken"
)

var root = keywright.Principal{Method: keywright.MethodHost, Subject: "root", Scopes: []string{"admin"}}

// make makes n tokens with the names 0 to n-1, and returns what the answers had.
func (w *world) makeTokens(n int, org, clientID string) []apptoken.NewToken {
	w.t.Helper()
	var all []apptoken.NewToken
	for i := range n {
		made, err := w.Create(w.t.Context(), root, org, clientID, apptoken.Spec{Name: fmt.Sprint(i), Scopes: []string{"org:admin"}})
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, made)
	}
	return all
}

// wantNames lists the names that pages of the given size have, one after the other.
func (w *world) pages(path, authorization, query string) (names []string, sizes []int) {
	w.t.Helper()
	next := ""
	for {
		q := query
		if next != "" {
			q += "&next_page=" + url.QueryEscape(next)
		}
		a := w.send("GET", path+"?"+strings.TrimPrefix(q, "&"), authorization, "")
		if a.status != 200 {
			w.t.Fatalf("%s: got %d %s", q, a.status, a.body)
		}
		names, sizes = append(names, strings.Fields(a.names())...), append(sizes, len(a.list()))
		if _, ok := a.fields["next_page"]; !ok {
			return names, sizes
		}
		if next = a.text("next_page"); next == "" {
			w.t.Fatalf("an empty cursor: %s", a.body)
		}
	}
}

// Newest first, in the order of creation though the clock stands still, in
// pages that join without a gap or an overlap.
func TestPages(t *testing.T) {
	w := newWorld(t)
	w.makeTokens(120, "myorg", "app123")
	w.makeTokens(3, "myorg", "app456")
	w.makeTokens(3, "other", "app123")
	var want []string
	for i := 119; i >= 0; i-- {
		want = append(want, fmt.Sprint(i))
	}
	admin := w.admin()
	for _, tt := range []struct {
		query string
		sizes []int
	}{
		{"", []int{50, 50, 20}}, {"&limit=50", []int{50, 50, 20}}, {"&limit=100", []int{100, 20}}, {"&limit=40", []int{40, 40, 40}},
		{"&limit=60", []int{60, 60}}, {"&limit=99", []int{99, 21}},
	} {
		names, sizes := w.pages(tokensPath, admin, tt.query)
		if !slices.Equal(names, want) || !slices.Equal(sizes, tt.sizes) {
			t.Errorf("%q: got pages of %v, %v", tt.query, sizes, names)
		}
	}
	if names, _ := w.pages(otherAppPath, admin, "&limit=2"); strings.Join(names, " ") != "2 1 0" {
		t.Errorf("another application: got %v", names)
	}
	if names, sizes := w.pages(tokensPath, admin, "&limit=1"); !slices.Equal(names, want) || len(sizes) != 120 {
		t.Errorf("pages of one: got %v", names)
	}
}

// Between two pages tokens come, go and end: nothing is shown twice.
func TestPagesMeanwhile(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	all := w.makeTokens(6, "myorg", "app123")
	first := w.send("GET", tokensPath+"?limit=3", admin, "")
	if first.names() != "5 4 3" {
		t.Fatalf("first page: %s", first.body)
	}
	w.makeTokens(1, "myorg", "app123")
	for _, i := range []int{3, 2} { // that of the cursor, and the next
		if err := w.Delete(t.Context(), root, "myorg", "app123", all[i].ID); err != nil {
			t.Fatal(err)
		}
	}
	second := w.send("GET", tokensPath+"?limit=3&next_page="+first.text("next_page"), admin, "")
	if second.names() != "1 0" || second.fields["next_page"] != nil {
		t.Errorf("second page: got %s", second.body)
	}
	w.clock.Advance(30 * 24 * time.Hour)
	if list := w.send("GET", tokensPath, admin, ""); list.names() != "" {
		t.Errorf("expired tokens: got %s", list.body)
	}
}

// A cursor is one of ours or an error: never a silent start at page one.
func TestCursor(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	w.makeTokens(3, "myorg", "app123")
	good := w.send("GET", tokensPath+"?limit=1", admin, "").text("next_page")
	raw, err := base64.RawURLEncoding.DecodeString(good)
	if err != nil || len(raw) != 17 {
		t.Fatalf("cursor %q: %v", good, err)
	}
	encode := func(edit func([]byte) []byte) string {
		return base64.RawURLEncoding.EncodeToString(edit(slices.Clone(raw)))
	}
	for name, cursor := range map[string]string{
		"empty": "", "a number": "2", "junk": "!!!", "its beginning": good[:20], "padded": good + "=", "with more": good + "AA", "twice": good + good,
		"with a line end": good[:5] + "\n" + good[5:], "with a space": good + " ",
		"another version":           encode(func(b []byte) []byte { b[0] = 2; return b }),
		"a UUID of another version": encode(func(b []byte) []byte { b[7] = b[7]&0xf | 0x40; return b }),
		"a UUID of another variant": encode(func(b []byte) []byte { b[9] |= 0xc0; return b }),
		"no UUID":                   encode(func(b []byte) []byte { return b[:1] }),
		"bits left over":            good[:len(good)-1] + string(good[len(good)-1]+1),
		"Quay's":                    "gAAAAABm" + strings.Repeat("A", 90),
	} {
		w.want(name, w.send("GET", tokensPath+"?next_page="+url.QueryEscape(cursor), admin, ""), 400, "invalid_request", "next_page")
	}
	w.want("twice", w.send("GET", tokensPath+"?next_page="+good+"&next_page="+good, admin, ""), 400, "invalid_request", "twice")
	w.want("a malformed query", w.send("GET", tokensPath+"?next_page="+good+"&x=%zz", admin, ""), 400, "invalid_request", "malformed")
	for _, limit := range []string{"0", "-1", "101", "1e1", "", "+5", "5.0", "٣", "99999999999999999999", "0x10", " 5"} {
		w.want("limit "+limit, w.send("GET", tokensPath+"?limit="+url.QueryEscape(limit), admin, ""), 400, "invalid_request", "limit")
	}
	w.want("two limits", w.send("GET", tokensPath+"?limit=1&limit=2", admin, ""), 400, "invalid_request", "twice")
	// A cursor of another application is a place in this one's list, no more.
	if a := w.send("GET", otherAppPath+"?next_page="+good, admin, ""); a.status != 200 || a.names() != "" {
		t.Errorf("in another application: got %d %s", a.status, a.body)
	}
	for _, p := range []apptoken.Page{{Limit: -1}, {Limit: 101}, {Cursor: "junk"}} {
		if _, err := w.List(t.Context(), root, "myorg", "app123", p); err == nil || keywright.AsError(err).Code != keywright.CodeInvalidRequest {
			t.Errorf("%+v: got %v", p, err)
		}
	}
}

// last_accessed is what the host's keys know, of each token its own.
func TestLastAccessed(t *testing.T) {
	w := newWorld(t)
	admin := w.admin()
	all := w.makeTokens(3, "myorg", "app123")
	w.clock.Advance(time.Hour + 500*time.Millisecond)
	w.works(all[1].Text)
	if err := w.host.Keys.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, one := range w.send("GET", tokensPath, admin, "").list() {
		want := any(nil)
		if one["name"] == "1" {
			want = "2026-01-01T01:00:00Z"
		}
		if one["last_accessed"] != want {
			t.Errorf("token %s: last accessed %v, want %v", one["name"], one["last_accessed"], want)
		}
	}
}
