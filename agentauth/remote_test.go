package agentauth_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/agentauth"
	"github.com/keywright/keywright/keystore"
)

// TestServersThatHaveNoTime are asked again when they say, but not for long.
func TestServersThatHaveNoTime(t *testing.T) {
	busy := fails
	for name, tt := range map[string]struct {
		refused []http.HandlerFunc
		status  int // in the end; 0: enrolled
		asked   int
		took    time.Duration
	}{
		"429 for a while":            {[]http.HandlerFunc{busy(429, "", "Retry-After", "30")}, 0, 2, 30 * time.Second},
		"429 twice":                  {[]http.HandlerFunc{busy(429, "", "Retry-After", "2"), busy(429, "", "Retry-After", "3")}, 0, 3, 5 * time.Second},
		"429 three times":            {[]http.HandlerFunc{busy(429, "", "Retry-After", "1"), busy(429, "", "Retry-After", "1"), busy(429, "", "Retry-After", "1")}, 429, 3, 2 * time.Second},
		"429 for longer":             {[]http.HandlerFunc{busy(429, "", "Retry-After", "31")}, 429, 1, 0},
		"429 for good":               {[]http.HandlerFunc{busy(429, "")}, 429, 1, 0},
		"503":                        {[]http.HandlerFunc{busy(503, "")}, 0, 2, time.Second},
		"503 that says when":         {[]http.HandlerFunc{busy(503, "", "Retry-After", "7")}, 0, 2, 7 * time.Second},
		"503 for longer":             {[]http.HandlerFunc{busy(503, "", "Retry-After", "60")}, 503, 1, 0},
		"500":                        {[]http.HandlerFunc{busy(500, "")}, 500, 1, 0},
		"400":                        {[]http.HandlerFunc{busy(400, "", "Retry-After", "1")}, 400, 1, 0},
		"a signature that is known":  {[]http.HandlerFunc{busy(401, "", "Signature-Error", "error=invalid_signature")}, 0, 2, 0},
		"as older servers say it":    {[]http.HandlerFunc{busy(401, "", "Signature-Error", "invalid_signature")}, 0, 2, 0},
		"a signature that is no use": {[]http.HandlerFunc{busy(401, "", "Signature-Error", "error=invalid_signature"), busy(401, "", "Signature-Error", "error=invalid_signature")}, 401, 2, 0},
		"a clock that is wrong":      {[]http.HandlerFunc{busy(401, "", "Signature-Error", "error=clock_skew")}, 401, 1, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := &foreignProvider{t: t, refused: tt.refused}
			began := time.Now()
			_, err := agentauth.Enroll(t.Context(), p.config())
			took := time.Since(began).Truncate(time.Second)
			if name, ok := strings.CutPrefix(name, "a signature"); ok || strings.HasPrefix(name, "as older") {
				took -= time.Second // until the next begins
			}
			if statusOf(err) != tt.status || (err == nil) != (tt.status == 0) || len(p.requests) != tt.asked || took != tt.took {
				t.Errorf("%s: %v, after %d requests and %v", name, err, len(p.requests), took)
			}
			if n := len(p.requests); n > 1 && p.requests[0].header.Get("Signature") == p.requests[n-1].header.Get("Signature") {
				t.Errorf("%s: one signature for two requests", name)
			}
		})
	}
}

// TestMetadataOfAServerThatHasNoTime are asked for again too.
func TestMetadataOfAServerThatHasNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &foreignProvider{t: t, metadata: claims{"issuer": issuer}}
		c, asked := p.config(), 0
		c.Provider, c.Endpoint = issuer, ""
		c.HTTP.Transport = local{"ap.example": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if asked++; asked < 3 {
				fails(503, "")(w, r)
				return
			}
			p.ServeHTTP(w, r)
		})}
		if _, err := agentauth.Enroll(t.Context(), c); err != nil || asked != 4 {
			t.Errorf("%v, after %d requests", err, asked)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		c.HTTP.Transport = local{"ap.example": fails(503, "", "Retry-After", "20")}
		began := time.Now()
		if _, err := agentauth.Enroll(ctx, c); statusOf(err) != 503 || time.Since(began) > 0 {
			t.Errorf("a wait that is longer than ctx: %v after %v", err, time.Since(began))
		}
	})
}

// TestStatusErrors have the server's words, in the forms of the drafts and of before.
func TestStatusErrors(t *testing.T) {
	const secret = "averysecretword"
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   agentauth.StatusError
		text   string
	}{
		"problem+json": {
			fails(403, `{"type":"about:blank","status":403,"error":"denied","detail":"no"}`),
			agentauth.StatusError{Status: 403, Code: "denied", Text: "no"}, "403 Forbidden: denied: no",
		},
		"of OAuth": {
			fails(400, `{"error":"invalid_key","error_description":"want OKP"}`),
			agentauth.StatusError{Status: 400, Code: "invalid_key", Text: "want OKP"}, "400 Bad Request: invalid_key: want OKP",
		},
		"of signatures": {
			fails(401, "", "Signature-Error", `error=unsupported_scheme`),
			agentauth.StatusError{Status: 401, Code: "unsupported_scheme"}, "401 Unauthorized: unsupported_scheme",
		},
		"none": {fails(418, "<html>"), agentauth.StatusError{Status: 418}, "418 I'm a teapot"},
		"of no name": {
			fails(429, `{"error":["a"]}`, "Retry-After", "600"),
			agentauth.StatusError{Status: 429, RetryAfter: 10 * time.Minute}, "429 Too Many Requests",
		},
		"of nobody":    {fails(499, ""), agentauth.StatusError{Status: 499}, "499"},
		"of a printer": {fails(400, `{"error":"a\u001b[1mb\n"}`), agentauth.StatusError{Status: 400, Code: "a[1mb"}, "400 Bad Request: a[1mb"},
		"of a parrot": {
			fails(400, `{"error":"`+secret+`","detail":"attested `+secret+`"}`, "Signature-Error", `error="`+secret+`"`),
			agentauth.StatusError{Status: 400, Code: "(withheld, for it repeats a secret)", Text: "(withheld, for it repeats a secret)"},
			"400 Bad Request: (withheld, for it repeats a secret): (withheld, for it repeats a secret)",
		},
		"of a parrot that signs": {
			fails(401, "", "Signature-Error", `error="`+secret+`"`),
			agentauth.StatusError{Status: 401, Code: "(withheld, for it repeats a secret)"}, "401 Unauthorized: (withheld, for it repeats a secret)",
		},
	} {
		p := &foreignProvider{t: t, instead: tt.answer}
		c := p.config()
		c.Secret = secretOf(secret)
		_, err := agentauth.Enroll(t.Context(), c)
		got, ok := errors.AsType[*agentauth.StatusError](err)
		if !ok {
			t.Errorf("%s: %v", name, err)
			continue
		}
		tt.want.Server = issuer
		if diff := cmp.Diff(&tt.want, got); diff != "" || err.Error() != "agentauth: https://ap.example answers "+tt.text {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
		c.Secret, c.Options.Attest = nil, func(context.Context, keystore.Key) (string, error) { return secret, nil }
		if _, err := agentauth.Enroll(t.Context(), c); strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, want := (&agentauth.StatusError{Status: 403}).Error(), "agentauth: the server answers 403 Forbidden"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
