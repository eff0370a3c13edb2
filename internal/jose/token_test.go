package jose_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"hash"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/jose"
)

const (
	goodHeader = `{"alg":"HS256","typ":"JWT"}`
	goodClaims = `{"exp":1795320944,"iss":"rsconnect-python","aud":"rsconnect","iat":1795320044,"scope":"bootstrap"}`
)

var (
	secret = []byte("0123456789abcdef0123456789abcdef")

	b64 = base64.RawURLEncoding.EncodeToString
)

// build makes a token of exactly these texts; sign gets what is to be signed.
func build(header, claims string, sign func(input []byte) []byte) string {
	input := b64([]byte(header)) + "." + b64([]byte(claims))
	return input + "." + b64(sign([]byte(input)))
}

func mac(newHash func() hash.Hash, key []byte) func([]byte) []byte {
	return func(input []byte) []byte {
		m := hmac.New(newHash, key)
		m.Write(input)
		return m.Sum(nil)
	}
}

var hs256 = mac(sha256.New, secret)

// read does what every mechanism does with a token.
func read(token string, keys ...jose.Key) (jose.Claims, error) {
	t, err := jose.Parse(token)
	if err != nil {
		return jose.Claims{}, err
	}
	return t.Verify(keys...)
}

func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func hsKey(t testing.TB) jose.Key { return must[jose.Key](t)(jose.HS256(secret)) }

func TestVerifyReturnsTheClaims(t *testing.T) {
	token := must[*jose.Token](t)(jose.Parse(build(`{"alg":"HS256","typ":"JWT","kid":"k","x5t":"YQ","x5t#S256":"YQ"}`, goodClaims, hs256)))
	if token.Algorithm() != "HS256" || token.Type() != "JWT" || token.KeyID() != "k" {
		t.Errorf("header: %q, %q, %q", token.Algorithm(), token.Type(), token.KeyID())
	}
	if iss, err := token.UnverifiedIssuer(); iss != "rsconnect-python" || err != nil {
		t.Errorf("UnverifiedIssuer: %q, %v", iss, err)
	}
	claims := must[jose.Claims](t)(token.Verify(hsKey(t)))
	if string(claims.JSON()) != goodClaims {
		t.Errorf("claims: %s", claims.JSON())
	}
	if exp, err := claims.Int("exp"); exp != 1795320944 || err != nil {
		t.Errorf("exp: %d, %v", exp, err)
	}
}

// TestHeaderRefused has correctly signed tokens with headers that must not pass.
func TestHeaderRefused(t *testing.T) {
	tests := []struct {
		name, header string
		unsupported  bool
	}{
		{"J01a alg none", `{"alg":"none","typ":"JWT"}`, true},
		{"J01b alg of an asymmetric kind we do not do", `{"alg":"PS256"}`, true},
		{"J01c alg None", `{"alg":"None"}`, true},
		{"J01c alg NONE", `{"alg":"NONE"}`, true},
		{"J01c alg empty", `{"alg":""}`, true},
		{"J01d alg HS512 over an HS256 MAC", `{"alg":"HS512"}`, true},
		{"J01d alg HS384 over an HS256 MAC", `{"alg":"HS384"}`, true},
		{"J01e no alg", `{"typ":"JWT"}`, false},
		{"alg in another case", `{"alg":"hs256"}`, true},
		{"alg with a space", `{"alg":"HS256 "}`, true},
		{"alg a list", `{"alg":["HS256"]}`, false},
		{"alg null", `{"alg":null}`, false},
		{"the name alg in another case", `{"Alg":"HS256"}`, false},
		{"J05 alg twice", `{"alg":"none","alg":"HS256","typ":"JWT"}`, false},
		{"J05 alg twice, once escaped", `{"\u0061lg":"none","alg":"HS256"}`, false},
		{"J05 kid twice", `{"alg":"HS256","kid":"a","kid":"b"}`, false},
		{"J07a unknown crit", `{"alg":"HS256","crit":["exp2"],"exp2":1}`, false},
		{"J07b crit b64", `{"alg":"HS256","b64":false,"crit":["b64"]}`, false},
		{"J07c b64 without crit", `{"alg":"HS256","b64":true}`, false},
		{"J07d empty crit", `{"alg":"HS256","crit":[]}`, false},
		{"J11 jwk", `{"alg":"HS256","jwk":{"kty":"oct","k":"eA"}}`, false},
		{"J11 jku", `{"alg":"HS256","jku":"http://127.0.0.1:9/"}`, false},
		{"J11 x5u", `{"alg":"HS256","x5u":"http://127.0.0.1:9/"}`, false},
		{"J11 x5c", `{"alg":"HS256","x5c":["YQ=="]}`, false},
		{"zip", `{"alg":"HS256","zip":"DEF"}`, false},
		{"enc", `{"alg":"HS256","enc":"A256GCM"}`, false},
		{"cty", `{"alg":"HS256","cty":"JWT"}`, false},
		{"an unknown member", `{"alg":"HS256","foo":1}`, false},
		{"typ not a string", `{"alg":"HS256","typ":1}`, false},
		{"typ null", `{"alg":"HS256","typ":null}`, false},
		{"kid not a string", `{"alg":"HS256","kid":1}`, false},
		{"kid too long", `{"alg":"HS256","kid":"` + strings.Repeat("k", jose.MaxKeyID+1) + `"}`, false},
		{"not an object", `["HS256"]`, false},
		{"not JSON", `alg=HS256`, false},
		{"trailing data", `{"alg":"HS256"}{}`, false},
		{"a byte order mark", "\ufeff" + `{"alg":"HS256"}`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := read(build(tt.header, goodClaims, hs256), hsKey(t))
			if err == nil {
				t.Fatal("accepted")
			}
			if got := errors.Is(err, jose.ErrUnsupportedAlgorithm); got != tt.unsupported {
				t.Errorf("ErrUnsupportedAlgorithm is %v, want %v: %v", got, tt.unsupported, err)
			}
		})
	}
}

func TestTokenText(t *testing.T) {
	good := build(goodHeader, goodClaims, hs256)
	parts := strings.Split(good, ".")
	flattened := `{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`
	general := `{"payload":"` + parts[1] + `","signatures":[{"protected":"` + parts[0] + `","signature":"` + parts[2] + `"}]}`
	// A MAC of 32 bytes ends in a character with two spare bits.
	end := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", good[len(good)-1])
	spare := string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[end|1])
	// A header of 28 bytes ends in a character with four.
	spaced := build(goodHeader+" ", goodClaims, hs256)
	standard := findToken(t, "-_")

	tests := []struct{ name, token string }{
		{"J06 flattened JSON", flattened},
		{"J06 flattened JSON in base64url", b64([]byte(flattened))},
		{"J06 general JSON", general},
		{"J06 general JSON in base64url", b64([]byte(general))},
		{"J10 spare bits of the signature", good[:len(good)-1] + spare},
		{"J10 spare bits of the header", resign(t, "J"+spaced[1:], spaced)},
		{"J10 padding", good + "="},
		{"J10 padding of the header", resign(t, strings.Replace(spaced, ".", "==.", 1), spaced)},
		{"J10 newline in the signature", good[:len(good)-5] + "\n" + good[len(good)-5:]},
		{"J10 carriage return in the claims", good[:len(parts[0])+9] + "\r" + good[len(parts[0])+9:]},
		{"J10 newline at the end", good + "\n"},
		{"J10 newline at the start", "\n" + good},
		{"J10 space before", " " + good},
		{"J10 space behind", good + " "},
		{"J10 tab behind", good + "\t"},
		{"J10 standard alphabet", strings.NewReplacer("-", "+", "_", "/").Replace(standard)},
		{"J10 a character of no alphabet", good[:len(good)-1] + "~"},
		{"a length that base64 does not have", good + "AA"},
		{"nothing", ""},
		{"one part", parts[0]},
		{"two parts", parts[0] + "." + parts[1]},
		{"four parts", good + "." + parts[2]},
		{"five parts", good + "." + parts[2] + "." + parts[2]},
		{"an empty header", "." + parts[1] + "." + parts[2]},
		{"empty claims", parts[0] + ".." + parts[2]},
		{"an empty signature", parts[0] + "." + parts[1] + "."},
		{"two dots", ".."},
		{"a dot behind", good + "."},
		{"a dot before", "." + good},
		{"NUL behind", good + "\x00"},
		{"J14 one byte too long", sized(t, jose.MaxToken+1)},
		{"J14 16 MiB", strings.Repeat("a", 16<<20)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := jose.Parse(tt.token); err == nil {
				t.Error("accepted")
			}
		})
	}
	for _, token := range []string{good, spaced, standard, sized(t, jose.MaxToken)} {
		if _, err := read(token, hsKey(t)); err != nil {
			t.Errorf("a good token of %d bytes: %v", len(token), err)
		}
	}
}

// resign signs the text of another spelling of a token's first two parts.
func resign(t *testing.T, token, original string) string {
	t.Helper()
	if token == original {
		t.Fatal("the test did not change the token")
	}
	input := token[:strings.LastIndexByte(token, '.')]
	return input + "." + b64(hs256([]byte(input)))
}

// findToken returns a good token that has all of these characters.
func findToken(t *testing.T, chars string) string {
	for i := range 1000 {
		token := build(goodHeader, `{"jti":"`+strings.Repeat("?>~", i%50)+`","n":`+strings.Repeat("1", i%17+1)+`}`, hs256)
		if strings.Contains(token, chars[:1]) && strings.Contains(token, chars[1:]) {
			return token
		}
	}
	t.Fatal("no such token")
	return ""
}

// sized returns a good token of n bytes, where base64 has that length.
func sized(t *testing.T, n int) string {
	for pad := range n {
		for _, header := range []string{goodHeader, goodHeader + " ", goodHeader + "  "} {
			token := build(header, `{"a":"`+strings.Repeat("a", max(0, (n-120)*3/4+pad-20))+`"}`, hs256)
			if len(token) == n {
				return token
			}
		}
	}
	t.Fatal("no such token")
	return ""
}

func TestJ14DotsCostNothing(t *testing.T) {
	dots := strings.Repeat(".", 1<<20)
	for _, text := range []string{dots, dots[:jose.MaxToken], dots[:jose.MaxToken-1] + "a"} {
		var err error
		if n := testing.AllocsPerRun(10, func() { _, err = jose.Parse(text) }); n != 0 || err == nil {
			t.Errorf("%d bytes: %v allocations, %v", len(text), n, err)
		}
	}
}

func TestJ14DeepNesting(t *testing.T) {
	deep := strings.Repeat("[", 1000) + strings.Repeat("]", 1000)
	if _, err := read(build(goodHeader, `{"a":`+deep+`}`, hs256), hsKey(t)); err == nil {
		t.Error("accepted as claims")
	}
	if _, err := jose.Parse(build(`{"alg":"HS256","typ":`+deep+`}`, `{}`, hs256)); err == nil {
		t.Error("accepted as header")
	}
}

func TestClaimsRefused(t *testing.T) {
	for name, claims := range map[string]string{
		"J05 a claim twice":           `{"sub":"a","sub":"b"}`,
		"J05 a claim twice deep down": `{"cnf":{"jwk":1,"jwk":2}}`,
		"not an object":               `[]`,
		"not JSON":                    `sub=a`,
		"not UTF-8":                   "{\"sub\":\"\xff\"}",
		"trailing data":               `{}{}`,
	} {
		t.Run(name, func(t *testing.T) {
			token := must[*jose.Token](t)(jose.Parse(build(goodHeader, claims, hs256)))
			if _, err := token.Verify(hsKey(t)); err == nil {
				t.Error("accepted")
			}
			if _, err := token.UnverifiedIssuer(); err == nil {
				t.Error("issuer accepted")
			}
		})
	}
}

func TestErrorsHoldNothingOfTheToken(t *testing.T) {
	for _, header := range []string{
		`{"alg":"SECRETVALUE"}`, `{"alg":"HS256","kid":5,"typ":"SECRETVALUE"}`, `{"alg":"HS256","kid":"SECRETVALUE"`,
		`{"alg":"HS256","jku":"SECRETVALUE"}`, `{"alg":"HS256","kid":"` + strings.Repeat("SECRETVALUE", 50) + `"}`,
	} {
		_, err := jose.Parse(build(header, goodClaims, hs256))
		if err == nil || strings.Contains(err.Error(), "SECRETVALUE") {
			t.Errorf("%v", err)
		}
	}
	for _, claims := range []string{`{"a":"SECRETVALUE"`, `{"a":"SECRETVALUE","a":"SECRETVALUE"}`} {
		_, err := read(build(goodHeader, claims, hs256), hsKey(t))
		if err == nil || strings.Contains(err.Error(), "SECRETVALUE") {
			t.Errorf("%v", err)
		}
	}
	header := `{"alg":"HS256","` + strings.Repeat("n", 5000) + `":1}`
	if _, err := jose.Parse(build(header, `{}`, hs256)); err == nil || len(err.Error()) > 200 {
		t.Errorf("an error with a name of 5000 bytes: %v", err)
	}
}
