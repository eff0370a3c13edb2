package main_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/keywright/keywright/bootstrap"
)

// token makes a good token with a jti, as the library's own client does.
func (in *installation) token() string {
	in.t.Helper()
	return in.tokenAt(time.Now())
}

func (in *installation) tokenAt(now time.Time) string {
	in.t.Helper()
	token, err := bootstrap.Client{Secret: in.secret}.Token(now)
	if err != nil {
		in.t.Fatal(err)
	}
	in.hide(token)
	return token
}

// rsconnectToken makes a token as rsconnect-python does: five claims, no jti.
// Tokens of one second differ by their lifetime.
func (in *installation) rsconnectToken(lifetime time.Duration) string {
	in.t.Helper()
	now := time.Now().Unix()
	return in.sign(pyJWTHeader, fmt.Sprintf(`{"exp":%d,"iss":"rsconnect-python","aud":"rsconnect","iat":%d,"scope":"bootstrap"}`,
		now+int64(lifetime/time.Second), now))
}

const pyJWTHeader = `{"alg":"HS256","typ":"JWT"}`

// sign makes a compact JWS of any header and claims, independently of the library.
func (in *installation) sign(header, claims string) string {
	in.t.Helper()
	secret, err := base64.StdEncoding.DecodeString(in.secret)
	if err != nil {
		in.t.Fatal(err)
	}
	token := signWith(secret, header, claims)
	in.hide(token)
	return token
}

func signWith(secret []byte, header, claims string) string {
	b64 := base64.RawURLEncoding
	input := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(claims))
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(input))
	return input + "." + b64.EncodeToString(mac.Sum(nil))
}
