package exchange

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/keywright/keywright/internal/apicall"
)

// A TokenSource returns a CI job's identity token, made for audience where the
// source can ask for one; others have the audience that the job's configuration
// gave them. White space around the token does not matter. An error must not
// hold the token. Calls may be concurrent.
type TokenSource func(ctx context.Context, audience string) (string, error)

// TokenFromFile reads the token from a file of up to 64 KiB, anew at each call.
func TokenFromFile(path string) TokenSource {
	return func(context.Context, string) (string, error) {
		f, err := os.Open(path)
		if err != nil {
			return "", clientFileError(path, err)
		}
		defer f.Close()
		token, err := clientReadToken(f)
		if err != nil {
			return "", clientFileError(path, err)
		}
		return token, nil
	}
}

// TokenFromReader reads the token from r, such as os.Stdin, to its end or up to
// 64 KiB. A reader that was read once is empty: for one Exchange.
func TokenFromReader(r io.Reader) TokenSource {
	return func(context.Context, string) (string, error) {
		token, err := clientReadToken(r)
		if err != nil {
			return "", fmt.Errorf("exchange: identity token: %w", err)
		}
		return token, nil
	}
}

// TokenFromVariable takes the token from an environment variable, which is read
// at each call. It is an error if the variable is not set or empty.
func TokenFromVariable(name string) TokenSource {
	return func(context.Context, string) (string, error) {
		token := os.Getenv(name)
		if token == "" {
			return "", fmt.Errorf("exchange: no identity token: %s is not set", name)
		}
		return token, nil
	}
}

// Where GitHub Actions tells a job how to get tokens.
const (
	clientGitHubURL   = "ACTIONS_ID_TOKEN_REQUEST_URL"
	clientGitHubToken = "ACTIONS_ID_TOKEN_REQUEST_TOKEN" // the name of a variable
)

// TokenFromGitHub asks GitHub Actions for a token, which a job may do that has
// the permission id-token: write. h sends the request; nil: a client that gives
// up after 30 seconds. Errors are those of a [Client]'s requests.
func TokenFromGitHub(h *http.Client) TokenSource {
	return func(ctx context.Context, audience string) (string, error) {
		base, bearer := os.Getenv(clientGitHubURL), os.Getenv(clientGitHubToken)
		if base == "" || bearer == "" {
			return "", fmt.Errorf("exchange: no identity token from GitHub: %s or %s is not set: does the job have the permission id-token: write?", clientGitHubURL, clientGitHubToken)
		}
		u, err := clientURL(base)
		if err != nil || u.Scheme != "https" && !apicall.IsLoopback(u.Hostname()) {
			return "", fmt.Errorf("exchange: %s: want an https URL", clientGitHubURL)
		}
		if audience != "" {
			u.RawQuery = strings.TrimPrefix(u.RawQuery+"&audience="+url.QueryEscape(audience), "&")
		}
		a, err := Client{HTTP: h}.send(ctx, clientRequest{target: u.String(), authorization: "Bearer " + bearer, secret: bearer})
		if err == nil && a.status != http.StatusOK {
			err = a.statusError()
		}
		if err != nil {
			return "", fmt.Errorf("exchange: identity token from GitHub: %w", err)
		}
		m, _ := a.json()
		token, err := m.String("value")
		if err != nil {
			return "", errors.New("exchange: identity token from GitHub: its answer has none")
		}
		return token, nil
	}
}

// The variables of TokenFromEnv, of which the first pair that has one counts.
var clientEnvPairs = [2][2]string{
	{"KEYWRIGHT_IDENTITY_TOKEN", "KEYWRIGHT_IDENTITY_TOKEN_FILE"},
	{"CONNECT_IDENTITY_TOKEN", "CONNECT_IDENTITY_TOKEN_FILE"},
}

// TokenFromEnv looks in the environment for KEYWRIGHT_IDENTITY_TOKEN or
// KEYWRIGHT_IDENTITY_TOKEN_FILE, then for CONNECT_IDENTITY_TOKEN or
// CONNECT_IDENTITY_TOKEN_FILE, then for what GitHub Actions gives a job that may
// ask for tokens. An empty variable counts as one that is not set. A token given
// both ways is an error: the job would not know which one it used.
func TokenFromEnv() TokenSource {
	return func(ctx context.Context, audience string) (string, error) {
		source, err := clientEnvSource()
		if err != nil {
			return "", err
		}
		return source(ctx, audience)
	}
}

// clientEnvSource chooses the source without using it.
func clientEnvSource() (TokenSource, error) {
	for _, pair := range clientEnvPairs {
		value, file := os.Getenv(pair[0]), os.Getenv(pair[1])
		switch {
		case value != "" && file != "":
			return nil, fmt.Errorf("exchange: the identity token is given twice: unset %s or %s", pair[0], pair[1])
		case value != "":
			return TokenFromVariable(pair[0]), nil
		case file != "":
			return TokenFromFile(file), nil
		}
	}
	if os.Getenv(clientGitHubURL) != "" {
		return TokenFromGitHub(nil), nil
	}
	return nil, fmt.Errorf("exchange: no identity token: none of %s, %s, %s, %s and GitHub's %s is set",
		clientEnvPairs[0][0], clientEnvPairs[0][1], clientEnvPairs[1][0], clientEnvPairs[1][1], clientGitHubURL)
}

// clientFileError names the file, unless the token itself was given in the
// place of its path.
func clientFileError(path string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	if strings.Count(path, ".") >= 2 && (strings.HasPrefix(path, "eyJ") || len(path) > 255) {
		path = "(named like a token)"
	}
	return fmt.Errorf("exchange: file of the identity token %s: %w", path, err)
}

func clientReadToken(r io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, clientMaxBody+1))
	switch {
	case err != nil:
		return "", err
	case len(text) > clientMaxBody:
		return "", fmt.Errorf("longer than %d bytes", clientMaxBody)
	}
	return string(text), nil
}

// clientCheckToken takes the white space off a token and finds what cannot be
// one, before it is sent to anybody.
func clientCheckToken(token string) (string, error) {
	token = strings.TrimSpace(token)
	switch parts := strings.Split(token, "."); {
	case token == "":
		return "", errors.New("exchange: the identity token is empty")
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", errors.New("exchange: the identity token has white space or other characters inside that no token has")
	case len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "":
		return "", errors.New("exchange: the identity token is not three parts with dots between: not a signed JWT")
	}
	return token, nil
}
