package provisioning

import (
	"cmp"
	"context"
	"crypto"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/keywright/keywright/internal/apicall"
)

// A StatusError is an answer other than success. Code and Text are the
// server's words, made printable and cut to a length; either may be empty.
type StatusError struct {
	Status     int
	Code       string // such as "rate_limited"; ChallengeCtl has none
	Text       string
	RetryAfter time.Duration // how long to wait; 0: the server did not say
}

// Error tells all of it.
func (e *StatusError) Error() string {
	text := fmt.Sprintf("provisioning: the server answers %d %s", e.Status, http.StatusText(e.Status))
	for _, more := range []string{e.Code, e.Text} {
		if more != "" {
			text += ": " + more
		}
	}
	return text
}

// ErrLost says that no answer came, or none that can be read, to a request that
// the server may have acted on. To ask again is safe: [Client.Provision] replaces
// what is pending, and the others are answered as before.
var ErrLost = errors.New("provisioning: no answer, and the server may have acted")

// A Client calls the endpoints for automation and runners, of this package or,
// as far as it has them, of ChallengeCtl. Nothing is tried again by itself.
// Errors are a [*StatusError], wrap ErrLost, or tell what is wrong with the
// arguments or the connection; none holds a secret. It is safe for concurrent use.
type Client struct {
	// URL is that of the server, with its path prefix if it has one: https, or
	// http to this machine.
	URL string

	// HTTP sends the requests; nil: a client that gives up after 30 seconds.
	// Redirects are never followed.
	HTTP *http.Client

	// MAC and MachineID are those of a runner's machine, as it was enrolled,
	// for a server that binds runners to them: see [Binding].
	MAC, MachineID string
}

// machine is what a runner's requests tell of its machine.
func (c Client) machine() http.Header {
	h := make(http.Header)
	if c.MAC != "" {
		h.Set(MACHeader, c.MAC)
	}
	if c.MachineID != "" {
		h.Set(MachineHeader, c.MachineID)
	}
	return h
}

func (c Client) call(ctx context.Context, call apicall.Call, answer any) error {
	call.Header = c.machine()
	r, err := apicall.Server{Package: "provisioning", URL: c.URL, HTTP: c.HTTP}.Do(ctx, call)
	switch {
	case err != nil && r.Unsent:
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", ErrLost, err)
	case !r.OK():
		return &StatusError{Status: r.Status, Code: r.Text("code"), Text: r.Text("error", "detail"), RetryAfter: r.RetryAfter()}
	}
	if err := r.Decode(answer); err != nil {
		return fmt.Errorf("%w: an answer of success that cannot be read: %w", ErrLost, err)
	}
	return nil
}

// Provision obtains the credentials of a new runner with a provisioning key.
func (c Client) Provision(ctx context.Context, key string, req ProvisionRequest) (Provisioned, error) {
	var p Provisioned
	err := c.call(ctx, apicall.Call{Method: http.MethodPost, Path: ProvisionPath, Authorization: "Bearer " + key, Body: req}, &p)
	if err == nil && (p.Token == "" || p.APIKey == "" && p.Challenge == "") {
		err = fmt.Errorf("%w: an answer of success without credentials", ErrLost)
	}
	if p.ServerURL = req.ServerURL; p.ServerURL == "" {
		p.ServerURL = c.URL
	}
	return p, err
}

// Enroll presents the credentials. That the runner is enrolled already, and its
// key works, is a success.
func (c Client) Enroll(ctx context.Context, req EnrollRequest) error {
	if len(req.Devices) == 0 {
		req.Devices = []byte("[]")
	}
	req.MAC, req.MachineID = cmp.Or(req.MAC, c.MAC), cmp.Or(req.MachineID, c.MachineID)
	var r enrollResponse
	err := c.call(ctx, apicall.Call{Method: http.MethodPost, Path: EnrollPath, Body: req, Secrets: []string{req.Token, req.APIKey}}, &r)
	if e, ok := errors.AsType[*StatusError](err); ok && e.Status == http.StatusConflict && req.APIKey != "" {
		return nil
	}
	return err
}

// A KeyStatus is what a server says of a runner's key.
type KeyStatus struct {
	ID      string    // of the runner
	Issued  time.Time // when the key was made
	Expires time.Time // zero: never
}

// Check asks whether a runner's key works, which is a use of it.
func (c Client) Check(ctx context.Context, key string) (KeyStatus, error) {
	var r keyResponse
	err := c.call(ctx, apicall.Call{Method: http.MethodGet, Path: RotatePath, Authorization: "Bearer " + key}, &r)
	return KeyStatus{ID: r.ID, Issued: r.Issued, Expires: orZero(r.ExpiresAt)}, err
}

// Rotate obtains a new key for the runner that has key. Until the new one is
// used, rotating again replaces it. See [Keeper], which does it in time.
func (c Client) Rotate(ctx context.Context, key string) (Rotated, error) {
	return c.rotated(ctx, apicall.Call{Method: http.MethodPost, Path: RotatePath, Authorization: "Bearer " + key})
}

// Refresh obtains a key for a while for the runner with the given id, whose key
// pair signer has. sequence is that of the last refresh; 0 at first.
func (c Client) Refresh(ctx context.Context, signer crypto.Signer, id string, sequence int64) (Rotated, error) {
	proof, err := SignRefresh(signer, c.URL, id, sequence, time.Now())
	if err != nil {
		return Rotated{}, err
	}
	return c.rotated(ctx, apicall.Call{Method: http.MethodPost, Path: RefreshPath, Body: refreshRequest{ID: id, Proof: proof}, Secrets: []string{proof}})
}

func (c Client) rotated(ctx context.Context, call apicall.Call) (Rotated, error) {
	var r rotateResponse
	err := c.call(ctx, call, &r)
	if err == nil && r.APIKey == "" {
		err = fmt.Errorf("%w: an answer of success without a key", ErrLost)
	}
	return Rotated{ID: r.ID, APIKey: r.APIKey, Expires: orZero(r.ExpiresAt), OldUntil: orZero(r.OldUntil), Sequence: r.Sequence}, err
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}
