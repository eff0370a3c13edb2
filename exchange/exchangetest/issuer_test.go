package exchangetest_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/exchange/exchangetest"
	"github.com/keywright/keywright/internal/jose"
)

func ExampleGitHubClaims() {
	claims := exchangetest.GitHubClaims()
	fmt.Println(claims["iss"], claims["repository"], claims["repository_id"])
	// Output: https://token.actions.githubusercontent.com octo-org/octo-repo 74
}

// verify checks a token with a key set and returns its claims.
func verify(t *testing.T, token string, jwks []byte) (map[string]any, error) {
	t.Helper()
	parsed, err := jose.Parse(token)
	if err != nil {
		t.Fatal(err)
	}
	set, err := jose.ParseJWKS(jwks)
	if err != nil {
		t.Fatal(err)
	}
	if parsed.KeyID() == "" {
		t.Error("no kid")
	}
	claims, err := parsed.Verify(set.Keys...)
	if err != nil {
		return nil, err
	}
	var all map[string]any
	return all, json.Unmarshal(claims.JSON(), &all)
}

func fetch(ctx context.Context, url string) (*http.Response, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, err
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res, body, err
}

func TestToken(t *testing.T) {
	now := time.Unix(1_800_000_000, 5)
	for _, alg := range []string{"", "RS256", "ES256", "EdDSA"} {
		i := exchangetest.NewIssuerAt(t, "/org/one")
		i.Algorithm, i.Audience, i.Now = alg, "aud-1", func() time.Time { return now }
		got, err := verify(t, i.Token(map[string]any{"sub": "a", "jti": nil, "n": 5}), i.JWKS())
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		want := map[string]any{"iss": i.URL(), "aud": "aud-1", "sub": "a", "n": 5.0, "iat": 1.8e9, "nbf": 1.8e9, "exp": 1.8e9 + 300}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-want +got):\n%s", alg, diff)
		}
		got, err = verify(t, i.Token(map[string]any{"iss": "x", "exp": 1, "aud": json.RawMessage("null")}), i.JWKS())
		if err != nil || got["iss"] != "x" || got["exp"] != 1.0 || got["aud"] != nil || got["jti"] == nil {
			t.Errorf("%s: changed claims: %v, %v", alg, got, err)
		}
	}
	i := exchangetest.NewIssuer(t)
	got, err := verify(t, i.Token(nil), i.JWKS())
	if age := time.Since(time.Unix(int64(got["iat"].(float64)), 0)); err != nil || got["aud"] != nil || age < 0 || age > time.Minute {
		t.Errorf("by default: %v, %v", got, err)
	}
}

// TestShapes: the JSON types are what a server trips over.
func TestShapes(t *testing.T) {
	i := exchangetest.NewIssuer(t)
	for _, tt := range []struct {
		name     string
		sign     func(map[string]any) string
		claims   func() map[string]any
		lifetime float64
		jti, nbf bool
		early    float64 // nbf before iat
		types    string  // some claims and their JSON
	}{
		{"GitHub", i.GitHub, exchangetest.GitHubClaims, 300, true, true, 300, `{"repository_id":"74","run_number":"10","head_ref":"","ref_protected":"true"}`},
		{"GitLab", i.GitLab, exchangetest.GitLabClaims, 3600, true, true, 5, `{"runner_id":1,"ref_protected":"true","project_id":"20","groups_direct":["my-group","my-other-group/my-subgroup"]}`},
		{"Buildkite", i.Buildkite, exchangetest.BuildkiteClaims, 300, false, true, 0, `{"build_number":421,"step_key":"deploy"}`},
		{"CircleCI", i.CircleCI, exchangetest.CircleCIClaims, 3600, false, false, 0, `{"oidc.circleci.com/ssh-rerun":false,"oidc.circleci.com/context-ids":["a74579f1-2e7d-451e-b009-5c082ad2729e"]}`},
		{"Google", i.Google, exchangetest.GoogleClaims, 3600, false, false, 0, `{"email_verified":true,"sub":"110432109876543210987"}`},
		{"Terraform", i.Terraform, exchangetest.TerraformClaims, 300, true, true, 5, `{"terraform_run_phase":"apply","terraform_project_name":"Default Project"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := verify(t, tt.sign(map[string]any{"sub": "changed"}), i.JWKS())
			if err != nil || got["sub"] != "changed" {
				t.Errorf("changed: %v, %v", got, err)
			}
			if bare, err := verify(t, tt.sign(map[string]any{"sub": nil}), i.JWKS()); err != nil || slices.Contains(slices.Collect(maps.Keys(bare)), "sub") {
				t.Errorf("nil does not delete: %v, %v", bare, err)
			}
			if got, err = verify(t, tt.sign(map[string]any{"extra": true}), i.JWKS()); err != nil {
				t.Fatal(err)
			}
			want := tt.claims()
			want["iss"], want["extra"] = i.URL(), true
			names := slices.Collect(maps.Keys(want))
			names = append(names, "iat", "exp")
			if tt.jti {
				names = append(names, "jti")
			}
			if tt.nbf {
				names = append(names, "nbf")
				if early := got["iat"].(float64) - got["nbf"].(float64); early != tt.early {
					t.Errorf("nbf is %v seconds before iat, want %v", early, tt.early)
				}
			}
			slices.Sort(names)
			if diff := cmp.Diff(names, slices.Sorted(maps.Keys(got))); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
			if got["iss"] != i.URL() || got["aud"] != want["aud"] || got["exp"].(float64)-got["iat"].(float64) != tt.lifetime {
				t.Errorf("got %v", got)
			}
			var types map[string]any
			if err := json.Unmarshal([]byte(tt.types), &types); err != nil {
				t.Fatal(err)
			}
			for name, value := range types {
				if diff := cmp.Diff(value, got[name]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
		})
	}
	i.Audience = "ours"
	if got, err := verify(t, i.GitHub(nil), i.JWKS()); err != nil || got["aud"] != "ours" {
		t.Errorf("Audience: %v, %v", got["aud"], err)
	}
}

func TestRotate(t *testing.T) {
	i, other := exchangetest.NewIssuer(t), exchangetest.NewIssuer(t)
	old, kid := i.Token(nil), i.KeyID()
	if _, err := verify(t, old, other.JWKS()); !errors.Is(err, jose.ErrNoKey) {
		t.Errorf("with another issuer's keys: %v", err)
	}
	forged := other.RawToken(fmt.Appendf(nil, `{"alg":"RS256","typ":"JWT","kid":%q}`, kid), []byte(`{}`))
	if _, err := verify(t, forged, i.JWKS()); !errors.Is(err, jose.ErrSignature) {
		t.Errorf("signed by another issuer under this one's key id: got %v, want ErrSignature", err)
	}
	i.Rotate()
	if _, err := verify(t, old, i.JWKS()); !errors.Is(err, jose.ErrNoKey) {
		t.Errorf("with the keys after the rotation: %v", err)
	}
	forged = i.RawToken(fmt.Appendf(nil, `{"alg":"RS256","typ":"JWT","kid":%q}`, i.KeyID()), []byte(`{"a":1,"a":2}`))
	if _, err := verify(t, forged, i.JWKS()); err == nil || errors.Is(err, jose.ErrSignature) {
		t.Errorf("raw claims: got %v, want an error that comes after the signature", err)
	}
	late := exchangetest.NewIssuer(t)
	if late.KeyID() == kid {
		t.Error("a withdrawn key signs for another issuer of the same test")
	}
}

func TestRawToken(t *testing.T) {
	i := exchangetest.NewIssuer(t)
	parts := strings.Split(i.RawToken([]byte(`{"alg":"none"`), []byte{0xff}), ".")
	header, _ := base64.RawURLEncoding.DecodeString(parts[0])
	claims, _ := base64.RawURLEncoding.DecodeString(parts[1])
	if string(header) != `{"alg":"none"` || string(claims) != "\xff" || len(parts) != 3 {
		t.Errorf("got %q, %q", header, claims)
	}
}

// TestKeysAreReused: making an RSA key for each test would take most of its time.
func TestKeysAreReused(t *testing.T) {
	kids := map[string]bool{}
	for n := range 12 {
		t.Run(fmt.Sprint(n), func(t *testing.T) { kids[exchangetest.NewIssuer(t).KeyID()] = true })
	}
	if len(kids) > 6 {
		t.Errorf("%d keys for one issuer at a time", len(kids))
	}
}

func TestServer(t *testing.T) {
	i := exchangetest.NewIssuerAt(t, "/_services/token")
	if !strings.HasPrefix(i.URL(), "http://127.0.0.1:") || !strings.HasSuffix(i.URL(), "/_services/token") {
		t.Fatalf("URL %s", i.URL())
	}
	res, body, err := fetch(t.Context(), i.URL()+"/.well-known/openid-configuration")
	var d struct{ Issuer, JWKS_URI string }
	if err != nil || res.StatusCode != 200 || json.Unmarshal(body, &d) != nil || d.Issuer != i.URL() || !strings.HasPrefix(d.JWKS_URI, i.URL()+"/") {
		t.Fatalf("discovery: %s, %v", body, err)
	}
	_, body, err = fetch(t.Context(), d.JWKS_URI)
	if err != nil || string(body) != string(i.JWKS()) {
		t.Errorf("keys: %s, %v", body, err)
	}
	if res, _, err = fetch(t.Context(), strings.Replace(d.JWKS_URI, "/_services/token", "", 1)); err != nil || res.StatusCode != 404 {
		t.Errorf("outside the path: %v, %v", res, err)
	}
	if discovery, jwks := i.Fetches(); discovery != 1 || jwks != 1 {
		t.Errorf("%d and %d fetches", discovery, jwks)
	}
}

func TestFaults(t *testing.T) {
	i := exchangetest.NewIssuer(t)
	discovery, keys := i.URL()+"/.well-known/openid-configuration", i.URL()+"/.well-known/jwks"
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	ask := func(f exchangetest.Fault, url string) (*http.Response, []byte, error) {
		i.SetFault(f)
		return fetch(short(), url)
	}
	if _, _, err := ask(exchangetest.None, keys); err != nil {
		t.Error(err) // and a client that could use the connection again
	}
	if _, _, err := ask(exchangetest.Down, keys); !errors.Is(err, io.EOF) {
		t.Errorf("Down: %v", err)
	}
	if _, _, err := ask(exchangetest.Silent, keys); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Silent: %v", err)
	}
	if _, body, err := ask(exchangetest.Slow, keys); !errors.Is(err, context.DeadlineExceeded) || len(body) < 1 || len(body) > 2 {
		t.Errorf("Slow: %q, %v", body, err)
	}
	if res, body, err := ask(exchangetest.Huge, keys); err != nil || res.StatusCode != 200 || len(body) < 10<<20 || !json.Valid(body) {
		t.Errorf("Huge: %d bytes, %v", len(body), err)
	}
	if _, body, err := ask(exchangetest.Reset, keys); !errors.Is(err, syscall.ECONNRESET) || len(body) == 0 {
		t.Errorf("Reset: %d bytes, %v", len(body), err)
	}
	for f, status := range map[exchangetest.Fault]int{exchangetest.Status500: 500, exchangetest.NotFound: 404, exchangetest.None: 200} {
		if res, body, err := ask(f, keys); err != nil || res.StatusCode != status || string(body) != string(i.JWKS()) {
			t.Errorf("%d: %s, %v", status, body, err)
		}
	}
	if res, body, err := ask(exchangetest.HTML, discovery); err != nil || !strings.HasPrefix(res.Header.Get("Content-Type"), "text/html") || json.Valid(body) {
		t.Errorf("HTML: %s, %v", body, err)
	}
	if res, _, err := ask(exchangetest.Redirect, discovery); err != nil || res.StatusCode != 302 || res.Header.Get("Location") != "http://169.254.169.254/latest/meta-data" {
		t.Errorf("Redirect: %v", err)
	}
	if _, body, err := ask(exchangetest.WrongIssuer, discovery); err != nil || !strings.Contains(string(body), `"issuer":"https://issuer.invalid"`) {
		t.Errorf("WrongIssuer: %s, %v", body, err)
	}
	if _, body, err := ask(exchangetest.EmptySet, keys); err != nil || string(body) != `{"keys":[]}` {
		t.Errorf("EmptySet: %s, %v", body, err)
	}
	i.SetFault(exchangetest.None)
	i.SetKeysFault(exchangetest.Status500)
	one, _, err1 := fetch(short(), discovery)
	two, _, err2 := fetch(short(), keys)
	if err1 != nil || err2 != nil || one.StatusCode != 200 || two.StatusCode != 500 {
		t.Errorf("SetKeysFault: %v, %v", err1, err2)
	}
	if d, k := i.Fetches(); d != 4 || k != 11 {
		t.Errorf("%d and %d fetches", d, k)
	}
}

// TestFaultsEnd: a held request does not outlive the test, even if its client
// would wait.
func TestFaultsEnd(t *testing.T) {
	for _, f := range []exchangetest.Fault{exchangetest.Silent, exchangetest.Slow} {
		failed := make(chan error)
		t.Run("held", func(t *testing.T) {
			i := exchangetest.NewIssuer(t)
			i.SetFault(f)
			go func() {
				_, _, err := fetch(context.Background(), i.URL()+"/.well-known/jwks")
				failed <- err
			}()
			for asked := 0; asked == 0; _, asked = i.Fetches() {
				time.Sleep(time.Millisecond)
			}
		})
		select {
		case err := <-failed:
			if err == nil {
				t.Error("the document came whole")
			}
		case <-time.After(5 * time.Second):
			t.Fatal("still held")
		}
	}
}
