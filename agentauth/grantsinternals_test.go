package agentauth

import (
	"context"
	"net/http"
)

// Follow is what t does with a 202.
func (t *Transport) Follow(r *http.Request, resp *http.Response, c Credential) (*http.Response, error) {
	return t.follow(r, resp, c)
}

// Begin returns the context of all hops of a request.
func (t *Transport) Begin(r *http.Request) context.Context { return t.grants.begin(r) }

// CredentialFor is what a hop is signed with.
func (t *Transport) CredentialFor(ctx context.Context, origin string) (Credential, error) {
	return t.grants.credential(ctx, origin)
}

// Renew is what t does when a token is refused for its age.
func (t *Transport) Renew(ctx context.Context, origin string, used Credential, code string) (bool, error) {
	return t.grants.renew(ctx, origin, used, code)
}

// KeepSession reads AAuth-Access.
func (t *Transport) KeepSession(origin string, h http.Header) { t.grants.keepSession(origin, h) }

// Session is what is kept of it.
func (t *Transport) Session(origin string) string { return t.grants.session(origin) }

// Capabilities is what resources are told.
func (t *Transport) Capabilities() string { return t.grants.capabilities() }
