package provisioning

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ChallengeCtl renders the configuration file of a ChallengeCtl runner. Every
// text in it is a quoted scalar, so that none can become anything else.
func ChallengeCtl(_ context.Context, p Provisioned, r ProvisionRequest) (string, error) {
	verify := r.VerifySSL == nil || *r.VerifySSL
	runner := mapping(
		"runner_id", text(p.ID),
		"server_url", text(p.ServerURL),
		"enrollment_token", text(p.Token),
		"api_key", text(p.APIKey),
		"ca_cert", text(""),
		"verify_ssl", boolean(verify),
		"heartbeat_interval", number(30),
		"poll_interval", number(10),
		"cache_dir", text("cache"),
		"spectrum_paint_before_challenge", boolean(true),
	)
	if p.Challenge != "" {
		add(runner, "enrollment_challenge", text(p.Challenge))
	}
	document := mapping("runner", runner, "radios", mapping("models", models(), "devices", devices(r.Devices)))
	body, err := yaml.Marshal(document)
	if err != nil {
		return "", fmt.Errorf("provisioning: render configuration: %w", err)
	}
	return fmt.Sprintf("---\n# Provisioned for %s\n# Provisioned by %s\n# Valid until %s\n\n%s", comment(p.Name), comment(p.Maker), p.ExpiresAt.Format("2006-01-02T15:04:05Z"), body), nil
}

// comment keeps s on its line, whatever it holds.
func comment(s string) string { return strings.Trim(strconv.QuoteToASCII(s), `"`) }

func models() *yaml.Node {
	var list []*yaml.Node
	for _, m := range []struct {
		model   string
		rf, ifg int // no if_gain: 0
		bias    bool
	}{{"hackrf", 14, 32, true}, {"bladerf", 43, 0, true}, {"usrp", 20, 0, false}} {
		n := mapping("model", text(m.model), "rf_gain", number(m.rf))
		if m.ifg != 0 {
			add(n, "if_gain", number(m.ifg))
		}
		add(n, "bias_t", boolean(m.bias), "rf_samplerate", number(2000000), "ppm", number(0))
		list = append(list, n)
	}
	return sequence(list...)
}

// devices renders the given ones, or the one that ChallengeCtl assumes.
func devices(given []Device) *yaml.Node {
	if len(given) == 0 {
		rf, iff := 14.0, 32.0
		given = []Device{{Name: "0", Model: "hackrf", RFGain: &rf, IFGain: &iff, Limits: []string{"144000000-148000000", "420000000-450000000"}}}
	}
	var list []*yaml.Node
	for _, d := range given {
		name := text(string(d.Name))
		if i, ok := d.Name.number(); ok {
			name = number(i)
		}
		n := mapping("name", name, "model", text(d.Model))
		if d.RFGain != nil {
			add(n, "rf_gain", decimal(*d.RFGain))
		}
		if d.IFGain != nil && d.Model == "hackrf" {
			add(n, "if_gain", decimal(*d.IFGain))
		}
		if len(d.Limits) > 0 {
			var limits []*yaml.Node
			for _, l := range d.Limits {
				limits = append(limits, text(l))
			}
			add(n, "frequency_limits", sequence(limits...))
		}
		list = append(list, n)
	}
	return sequence(list...)
}

// mapping makes a mapping of names, each followed by its *yaml.Node.
func mapping(pairs ...any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	add(n, pairs...)
	return n
}

func add(n *yaml.Node, pairs ...any) {
	for i := 0; i+1 < len(pairs); i += 2 {
		name := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: pairs[i].(string)}
		n.Content = append(n.Content, name, pairs[i+1].(*yaml.Node))
	}
}

func sequence(items ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.SequenceNode, Content: items}
}

func text(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.DoubleQuotedStyle, Value: s}
}

func boolean(b bool) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: strconv.FormatBool(b)}
}

func number(i int) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.Itoa(i)}
}

// decimal writes a whole number as one.
func decimal(f float64) *yaml.Node {
	if f == float64(int(f)) {
		return number(int(f))
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!float", Value: strconv.FormatFloat(f, 'f', -1, 64)}
}
