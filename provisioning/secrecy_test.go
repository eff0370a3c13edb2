package provisioning_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/keywright/keywright/provisioning"
)

func TestSecretsAreNotPrinted(t *testing.T) {
	const secret = "ck_runner_verysecret"
	for _, v := range []any{
		provisioning.Provisioned{ID: "a", Token: secret, APIKey: secret, ConfigYAML: secret},
		provisioning.NewKey{APIKey: secret}, provisioning.Rotated{ID: "a", APIKey: secret},
		provisioning.EnrollRequest{ID: "a", Token: secret, APIKey: secret, Proof: secret}, provisioning.KeyState{Key: secret, Next: secret},
	} {
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", v)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			fmt.Fprintf(&log, verb, v)
			fmt.Fprintf(&log, verb, []any{v})
		}
		if strings.Contains(log.String(), secret) || strings.Contains(log.String(), fmt.Sprintf("%x", secret)) {
			t.Errorf("%T: %s", v, log.String())
		}
	}
}
