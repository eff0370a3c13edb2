package agentauth_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/keywright/keywright/agentauth"
)

// TestNothingPrintsSecrets: whichever verb, encoder or logger.
func TestNothingPrintsSecrets(t *testing.T) {
	need := agentauth.RequirementOf(http.Header{"Aauth-Requirement": {`requirement=auth-token; resource-token="SECRET"; code="SECRET"; url="https://a.example"`}})
	if need.ResourceToken != "SECRET" || need.Code != "SECRET" {
		t.Fatal("not read")
	}
	for _, v := range []any{
		need, &need, agentauth.Interaction{URL: "https://a.example", Code: "SECRET"},
		agentauth.ClarificationReply{ResourceToken: "SECRET", PresentedToken: "SECRET"},
		&agentauth.ChallengeError{Origin: "https://a.example", Requirement: need, Err: &agentauth.CallbackError{Requirement: "interaction"}},
		agentauth.RefusalOf(&http.Response{StatusCode: 401, Header: http.Header{"Aauth-Requirement": {`requirement=auth-token; resource-token="SECRET"`}}}),
	} {
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "v", v)
		data, err := json.Marshal(v)
		must(t, err)
		if all := fmt.Sprintf("%v %+v %#v %s %q %x", v, v, v, v, v, v) + string(data) + log.String(); strings.Contains(all, "SECRET") || strings.Contains(all, fmt.Sprintf("%x", "SECRET")) {
			t.Errorf("%T: %s", v, all)
		}
	}
}
