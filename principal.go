package keywright

import (
	"context"
	"encoding/json"
	"slices"
	"time"
)

// A Method says which way a caller got its credential.
type Method string

// The methods of this library. A host's own Authenticator may name others.
const (
	MethodBootstrap    Method = "bootstrap"
	MethodExchange     Method = "exchange"     // an identity token of another issuer was traded for a key
	MethodProvisioning Method = "provisioning" // a provisioning key, a runner that one has enrolled, or an application token
	MethodAgent        Method = "agent"        // a signed request, by a key or a token of agentauth
	MethodHost         Method = "host"         // issued by the host's own code through Keys
)

// A Principal is an authenticated caller that is not a person. It is a value:
// nothing in it is shared with another request.
type Principal struct {
	Method     Method
	Issuer     string            // who vouches for Subject
	Subject    string            // unique within Issuer
	Scopes     []string          // what it may do; none means nothing that needs a scope
	Credential string            // public id of the key, or thumbprint, that was used; safe to log
	Expires    time.Time         // when that credential stops working; zero: never
	Attrs      map[string]string // further verified facts
	Claims     json.RawMessage   // the verified token's claims, where there was one
}

// HasScope reports whether p holds scope, compared byte for byte.
func (p Principal) HasScope(scope string) bool { return slices.Contains(p.Scopes, scope) }

type contextKey int

const (
	principalKey contextKey = iota
	remoteKey
)

// NewContext returns ctx with p in it, as [Require] makes it for a handler. It
// is for hosts with middleware of their own and for tests of handlers.
func NewContext(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey, p)
}

// FromContext returns the caller that [Require] admitted. Without one it
// returns the zero Principal, which holds no scope, and false.
func FromContext(ctx context.Context) (Principal, bool) {
	p, ok := ctx.Value(principalKey).(Principal)
	return p, ok
}
