package apptoken_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"testing"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/provisioning/apptoken"
	"github.com/keywright/keywright/store"
)

// BenchmarkCreate makes tokens in applications of a hundred each: the decision,
// the key, the record and the event, in one Commit. With a limit the others
// are counted.
func BenchmarkCreate(b *testing.B) {
	for _, most := range []int{0, 100} {
		b.Run(fmt.Sprintf("limit=%d", most), func(b *testing.B) {
			host, err := keywright.NewHost(keywright.HostConfig{
				Store: &store.Memory{}, URL: &url.URL{Scheme: "https", Host: "quay.example"}, Kinds: map[string]string{"app": "quay_oat"},
				Hooks: keywright.Hooks{Logger: slog.New(slog.DiscardHandler), Audit: func(context.Context, keywright.Event) {}},
			})
			if err != nil {
				b.Fatal(err)
			}
			any := &hostDirectory{Directory: directory(), app: func(string, string) (apptoken.Application, error) { return apptoken.Application{Name: "x"}, nil }}
			h, err := apptoken.New(apptoken.Config{Host: host, Directory: any, Policy: apptoken.Policy{MaxTokens: most}})
			if err != nil {
				b.Fatal(err)
			}
			spec := apptoken.Spec{Name: "ci", Scopes: []string{"repo:write", "org:admin"}}
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if _, err := h.Create(b.Context(), root, "myorg", fmt.Sprint("app", n/100), spec); err != nil {
					b.Fatal(err)
				}
				n++
			}
		})
	}
}
