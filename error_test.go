package keywright_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright"
)

// inText and inQuay say in another dialect what a problem document says.
func inText(t *testing.T, document string) string {
	var p struct{ Detail, Code string }
	if err := json.Unmarshal([]byte(document), &p); err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(p.Detail)
	return fmt.Sprintf(`{"error":%s,"code":"%s"}`, text, p.Code)
}

func inQuay(t *testing.T, document string) string {
	var p struct {
		Detail, Code string
		Status       int
	}
	if err := json.Unmarshal([]byte(document), &p); err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(p.Detail)
	return fmt.Sprintf(`{"detail":%s,"error_message":%[1]s,"error_type":"%s","title":"%[2]s","type":"/api/v1/error/%[2]s","status":%d,"message":%[1]s}`, text, p.Code, p.Status)
}

func TestWriteError(t *testing.T) {
	cause := errors.New("pq: password authentication failed for user root")
	tests := []struct {
		name             string
		err              error
		status           int
		problem, connect string
		oauth            string
	}{
		{"the code's own text", &keywright.Error{Code: keywright.CodeInvalidToken, Err: cause}, 401,
			`{"type":"about:blank","title":"Unauthorized","status":401,"detail":"No valid credential","code":"invalid_token"}`,
			`{"code":30,"error":"No valid credential","payload":null}`,
			`{"error":"invalid_client","error_description":"No valid credential"}`},
		{"a detail", keywright.Errorf(keywright.CodeInsufficientScope, "missing scope: %s", "<a>&\""), 403,
			`{"type":"about:blank","title":"Forbidden","status":403,"detail":"missing scope: \u003ca\u003e\u0026\"","code":"insufficient_scope"}`,
			`{"code":22,"error":"missing scope: \u003ca\u003e\u0026\"","payload":null}`,
			`{"error":"access_denied","error_description":"missing scope: \u003ca\u003e\u0026'"}`},
		{"claimed", &keywright.Error{Code: keywright.CodeBootstrapComplete}, 403,
			`{"type":"about:blank","title":"Forbidden","status":403,"detail":"The first admin key has been issued already","code":"bootstrap_complete"}`,
			`{"code":22,"error":"The first admin key has been issued already","payload":null}`,
			`{"error":"access_denied","error_description":"The first admin key has been issued already"}`},
		{"absent", &keywright.Error{Code: keywright.CodeNotFound}, 404,
			`{"type":"about:blank","title":"Not Found","status":404,"detail":"Not found","code":"not_found"}`,
			`{"code":4,"error":"Not found","payload":null}`,
			`{"error":"invalid_request","error_description":"Not found"}`},
		{"wrapped", fmt.Errorf("handler: %w", keywright.Errorf(keywright.CodeConflict, "gone")), 409,
			`{"type":"about:blank","title":"Conflict","status":409,"detail":"gone","code":"conflict"}`,
			`{"code":0,"error":"gone","payload":null}`,
			`{"error":"invalid_request","error_description":"gone"}`},
		{"store in trouble", keywright.Wrap(keywright.CodeUnavailable, cause), 503,
			`{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"Temporarily unavailable","code":"unavailable"}`,
			`{"code":0,"error":"Temporarily unavailable","payload":null}`,
			`{"error":"temporarily_unavailable","error_description":"Temporarily unavailable"}`},
		{"not an Error", cause, 500,
			`{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"Internal error","code":"server_error"}`,
			`{"code":0,"error":"Internal error","payload":null}`,
			`{"error":"server_error","error_description":"Internal error"}`},
		{"an Error that is nil", (*keywright.Error)(nil), 500,
			`{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"Internal error","code":"server_error"}`,
			`{"code":0,"error":"Internal error","payload":null}`,
			`{"error":"server_error","error_description":"Internal error"}`},
	}
	for _, tt := range tests {
		for _, d := range []struct {
			dialect     keywright.Dialect
			contentType string
			body        string
		}{
			{keywright.Problem, "application/problem+json", tt.problem},
			{keywright.Connect, "application/json", tt.connect},
			{keywright.OAuth, "application/json", tt.oauth},
			{keywright.Text, "application/json", inText(t, tt.problem)},
			{keywright.Quay, "application/problem+json", inQuay(t, tt.problem)},
		} {
			w := httptest.NewRecorder()
			w.Header().Set("Content-Length", "7") // of what a handler meant to write
			d.dialect.WriteError(w, tt.err)
			want := http.Header{"Content-Type": {d.contentType}, "Cache-Control": {"no-store"}, "X-Content-Type-Options": {"nosniff"}}
			if d.dialect == keywright.OAuth {
				want.Set("Pragma", "no-cache")
			}
			if diff := cmp.Diff(want, w.Header()); diff != "" {
				t.Errorf("%s: header (-want +got):\n%s", tt.name, diff)
			}
			if w.Code != tt.status || w.Body.String() != d.body+"\n" {
				t.Errorf("%s: got %d %s, want %d %s", tt.name, w.Code, w.Body, tt.status, d.body)
			}
		}
	}
}

func TestWriteErrorAddsTheHeader(t *testing.T) {
	e := &keywright.Error{Code: keywright.CodeMethodNotAllowed, Header: http.Header{"Allow": {"POST"}, "Cache-Control": {"public"}}}
	w := httptest.NewRecorder()
	keywright.WriteError(w, e)
	want := http.Header{"Allow": {"POST"}, "Content-Type": {"application/problem+json"}, "Cache-Control": {"no-store"}, "X-Content-Type-Options": {"nosniff"}}
	if diff := cmp.Diff(want, w.Header()); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(http.Header{"Allow": {"POST"}, "Cache-Control": {"public"}}, e.Header); diff != "" {
		t.Errorf("the Error was changed (-want +got):\n%s", diff)
	}
}

func TestErrorAnswersHEADWithoutBody(t *testing.T) {
	url := serve(t, keywright.Require()(whoami))
	if got := ask(t, "HEAD", url); got.Status != http.StatusUnauthorized || got.Body != "" || got.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %d %v %q, want a bare 401", got.Status, got.Header, got.Body)
	}
}

func TestEveryCodeHasAStatus(t *testing.T) {
	for code, want := range map[keywright.Code]int{
		keywright.CodeInvalidRequest: 400, keywright.CodeInvalidToken: 401, keywright.CodeInsufficientScope: 403,
		keywright.CodeBootstrapComplete: 403, keywright.CodeNotFound: 404, keywright.CodeMethodNotAllowed: 405,
		keywright.CodeTooLarge: 413, keywright.CodeRateLimited: 429, keywright.CodeInvalidGrant: 400, keywright.CodeUnsupportedGrantType: 400,
		keywright.CodeInvalidScope: 400, keywright.CodeInvalidTarget: 400, keywright.CodeUnsupportedTokenType: 400,
		keywright.CodeConflict: 409, keywright.CodeInternal: 500, keywright.CodeUnavailable: 503, "made up": 500,
	} {
		if got := code.Status(); got != want {
			t.Errorf("%s: status %d, want %d", code, got, want)
		}
	}
}

func TestErrorShowsItsCauseToLogsOnly(t *testing.T) {
	e := &keywright.Error{Code: keywright.CodeConflict, Detail: "gone", Err: io.ErrUnexpectedEOF}
	if got := e.Error(); got != "conflict: gone: unexpected EOF" {
		t.Errorf("Error() = %q", got)
	}
	if !errors.Is(e, io.ErrUnexpectedEOF) {
		t.Error("the cause cannot be found")
	}
}

// RFC 6749, section 5.2: what an error_description may hold.
func TestOAuthDescriptionsArePlain(t *testing.T) {
	for detail, want := range map[string]string{
		`say "x" \ y`:                `say 'x'  y`,
		"two\r\nlines\tand a tab":    "twolinesand a tab",
		"caf\u00e9 \u2028 \x7f":      "caf  ",
		strings.Repeat("long ", 100): strings.Repeat("long ", 60),
	} {
		w := httptest.NewRecorder()
		keywright.OAuth.WriteError(w, &keywright.Error{Code: keywright.CodeInvalidGrant, Detail: detail})
		var got struct {
			Description string `json:"error_description"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Description != want {
			t.Errorf("%q: got %q, %v, want %q", detail, got.Description, err, want)
		}
	}
}

// Facts of an error are for the audit and never for the client.
func TestErrorAttrsReachTheAuditAlone(t *testing.T) {
	var heard keywright.Event
	hooks := keywright.Hooks{Audit: func(_ context.Context, e keywright.Event) { heard = e }}.WithDefaults()
	e := &keywright.Error{Code: keywright.CodeInvalidGrant, Attrs: map[string]string{"run": "fact-1234"}}
	hooks.Refused(t.Context(), "x.refused", e)
	if heard.Attrs["run"] != "fact-1234" {
		t.Errorf("heard %+v", heard)
	}
	for _, d := range []keywright.Dialect{keywright.Problem, keywright.Connect, keywright.OAuth} {
		w := httptest.NewRecorder()
		if d.WriteError(w, e); strings.Contains(w.Body.String()+fmt.Sprint(w.Header()), "fact-1234") {
			t.Errorf("dialect %d sends it: %s", d, w.Body)
		}
	}
}

// A host's function may return a nil *Error as an error: that is a defect, and no panic.
func TestNilError(t *testing.T) {
	var err error = (*keywright.Error)(nil)
	if errors.Is(err, keywright.ErrNoCredential) || keywright.AsError(err).Code != keywright.CodeInternal || err.Error() == "" {
		t.Errorf("got %v", err)
	}
}
