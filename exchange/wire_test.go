package exchange_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/exchange"
)

func TestPublisherJSON(t *testing.T) {
	full := exchange.Publisher{
		ID: "p", Provider: exchange.GitHub, Issuer: "https://a.example", Claims: map[string]exchange.Values{"a": {"b", "c"}},
		Patterns: map[string]exchange.Values{"d": {"e*"}}, Subject: "s", SubjectClaim: "t", Scopes: []string{"f"}, Targets: []string{"g"},
		Lifetime: 90 * time.Second, PendingUntil: t0.UTC(), Disabled: true, ReportOnly: true, Description: "h",
	}
	for _, want := range []exchange.Publisher{full, {ID: "p", Provider: exchange.Generic, Scopes: []string{"x"}}} {
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got exchange.Publisher
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
	var p exchange.Publisher
	if err := json.Unmarshal([]byte(`{"claims":{"a":"one","b":["one","two"]},"lifetime":"1h"}`), &p); err != nil {
		t.Fatal(err)
	}
	want := exchange.Publisher{Claims: map[string]exchange.Values{"a": {"one"}, "b": {"one", "two"}}, Lifetime: time.Hour}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, text := range map[string]string{
		"a misspelt member": `{"claim":{"a":"b"}}`, "a member of the admin API": `{"static":true}`, "a value that is a number": `{"claims":{"a":1}}`,
		"a value that is an object": `{"claims":{"a":{}}}`, "a list with a number": `{"claims":{"a":["x",1]}}`, "a lifetime that is a number": `{"lifetime":900}`,
		"a lifetime without a unit": `{"lifetime":"900"}`, "a date that is none": `{"pending_until":"tomorrow"}`, "a list": `[]`, "claims that are a list": `{"claims":["a"]}`,
		"a claim twice": `{"claims":{"a":"b","a":"c"}}`, "claims twice": `{"claims":{"a":"b"},"claims":{"c":"d"}}`, "a member with a letter that folds": "{\"claims\":{\"a\":\"b\"},\"claim\u017f\":{\"a\":\"c\"}}", "a member in another case": `{"claims":{"a":"b"},"Claims":{"a":"c"}}`,
	} {
		var p exchange.Publisher
		if err := json.Unmarshal([]byte(text), &p); err == nil {
			t.Errorf("%s: got %+v, want an error", name, p)
		}
	}
	// null is no way to say anything.
	if err := json.Unmarshal([]byte(`{"claims":{"ref":null}}`), &p); err == nil && p.Claims["ref"] != nil && len(p.Claims["ref"]) > 0 && p.Claims["ref"][0] != "" {
		t.Errorf("got %+v", p.Claims)
	}
}

// Nobody changes a publisher by what they hold of it.
func TestPublishersShareNothing(t *testing.T) {
	p := github(func(p *exchange.Publisher) {
		p.Targets = []string{"urn:a"}
		p.Patterns = map[string]exchange.Values{"ref": {"refs/heads/*"}}
	})
	spoil := func(p exchange.Publisher) {
		p.Claims["repository_id"][0], p.Patterns["ref"][0], p.Scopes[0], p.Targets[0] = "1", "x*", "admin", "urn:b"
		p.Claims["actor"], p.Patterns["environment"] = exchange.Values{"nobody"}, exchange.Values{"x*"}
	}
	w := newWorld(t, []exchange.Publisher{p})
	spoil(p)
	info, err := w.Publisher(t.Context(), "deploy")
	if err != nil {
		t.Fatal(err)
	}
	spoil(info.Publisher)
	other := stored(func(p *exchange.Publisher) {
		p.Targets = []string{"urn:a"}
		p.Patterns = map[string]exchange.Values{"ref": {"refs/heads/*"}}
	})
	created := w.create(other)
	spoil(other)
	spoil(created.Publisher)
	for _, token := range []string{w.issuer.GitHub(nil), w.otherJob()} {
		info, err := w.host.Keys.Check(t.Context(), w.wantKey(token))
		if err != nil || info.Attrs["targets"] != "urn:a" {
			t.Errorf("got %+v, %v", info, err)
		}
		for _, s := range info.Scopes {
			if s == "admin" {
				t.Error("the key has a scope that nobody gave it")
			}
		}
	}
}
