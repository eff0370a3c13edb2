package exchange

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/keywright/keywright/exchange/exchangetest"
	"github.com/keywright/keywright/internal/strictjson"
)

// BenchmarkDecide compares one token with all publishers of its issuer, which
// must not cost more with 10,000 than with 10, whatever the provider binds.
func BenchmarkDecide(b *testing.B) {
	for _, tt := range []struct {
		provider Provider
		issuer   string
		claims   map[string]any
		shared   string // the claim that all publishers have in common
		own      string // the one that tells them apart
	}{
		{GitHub, "", exchangetest.GitHubClaims(), "repository_owner_id", "repository_id"},
		{GitLab, "", exchangetest.GitLabClaims(), "namespace_id", "project_id"},
		{Buildkite, "", exchangetest.BuildkiteClaims(), "organization_slug", "pipeline_slug"},
		{Terraform, "", exchangetest.TerraformClaims(), "terraform_organization_id", "terraform_workspace_id"},
		{Generic, "https://ci.example", map[string]any{"env": "prod", "job": "j"}, "env", "job"},
	} {
		text, err := json.Marshal(tt.claims)
		if err != nil {
			b.Fatal(err)
		}
		members, err := strictjson.Object(text)
		if err != nil {
			b.Fatal(err)
		}
		for _, n := range []int{10, 10_000} {
			x := &index{preset: presets[tt.provider]}
			for i := range n {
				own := Values{"other-" + strconv.Itoa(i)}
				if i == n/2 {
					own = Values{tt.claims[tt.own].(string)}
				}
				p := Publisher{
					ID: "p" + strconv.Itoa(i), Provider: tt.provider, Issuer: tt.issuer, Subject: "s", Scopes: []string{"a"},
					Claims: map[string]Values{tt.shared: {tt.claims[tt.shared].(string)}, tt.own: own},
				}
				if err := p.Validate(time.Now()); err != nil {
					b.Fatal(err)
				}
				x.add(newRule(p))
			}
			b.Run(fmt.Sprintf("%s/%d", tt.provider, n), func(b *testing.B) {
				for b.Loop() {
					if d := x.decide(claimSet{members, x.preset}, time.Now()); d.rule == nil {
						b.Fatal("no match")
					}
				}
			})
		}
	}
}
