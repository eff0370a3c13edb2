package provisioning

import (
	"context"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
)

// spec is what all endpoints share. A nil auth admits anybody.
func (h *Handler) spec(name, method string, auth keywright.Authenticator, status int) endpoint.Spec {
	return endpoint.Spec{Name: "provisioning." + name, Method: method, Auth: auth, Status: status, Dialect: keywright.Text, Hooks: h.host.Hooks}
}

func methods(handlers map[string]http.Handler) http.Handler {
	return endpoint.Methods(keywright.Text, handlers)
}

// runnerRoutes are for provisioning keys and runners.
func (h *Handler) runnerRoutes() []keywright.Route {
	return []keywright.Route{
		{Pattern: ProvisionPath, Handler: endpoint.New(h.spec("provision", http.MethodPost, bearer{h, KeyKind, textBadKey}, http.StatusCreated), endpoint.AnyJSON[ProvisionRequest], h.Provision)},
		{Pattern: EnrollPath, Handler: endpoint.New(h.spec("enroll", http.MethodPost, nil, http.StatusCreated), endpoint.LooseJSON[EnrollRequest], h.serveEnroll)},
		{Pattern: RotatePath, Handler: methods(map[string]http.Handler{
			http.MethodGet:  endpoint.New(h.spec("rotate", http.MethodGet, h.Authenticator(), 0), endpoint.Nothing, h.serveOwnKey),
			http.MethodPost: endpoint.New(h.spec("rotate", http.MethodPost, h.Authenticator(), 0), endpoint.Nothing, h.serveRotate),
		})},
		{Pattern: RefreshPath, Handler: endpoint.New(h.spec("refresh", http.MethodPost, nil, 0), endpoint.LooseJSON[refreshRequest], h.serveRefresh)},
	}
}

func (h *Handler) serveEnroll(ctx context.Context, _ keywright.Principal, req EnrollRequest) (enrollResponse, error) {
	r, err := h.Enroll(ctx, req)
	if err != nil {
		return enrollResponse{}, h.ifUnauthorized(ctx, err)
	}
	resp := enrollResponse{Success: true, ID: r.ID, Message: "Runner " + r.Name + " enrolled successfully"}
	if req.AgentID != "" || req.AgentType != "" {
		resp.AgentID, resp.AgentType = r.ID, req.AgentType
	}
	return resp, nil
}

// ifUnauthorized counts credentials that were not accepted, and nothing else.
func (h *Handler) ifUnauthorized(ctx context.Context, err error) error {
	if keywright.AsError(err).Code == keywright.CodeInvalidToken {
		return h.failed(ctx, err)
	}
	return err
}

func (h *Handler) serveRotate(ctx context.Context, caller keywright.Principal, _ endpoint.Empty) (rotateResponse, error) {
	r, err := h.RotateRunner(ctx, caller)
	return r.response(), err
}

// serveOwnKey tells a runner about the key that it has come with.
func (h *Handler) serveOwnKey(ctx context.Context, caller keywright.Principal, _ endpoint.Empty) (keyResponse, error) {
	info, err := h.host.Keys.Lookup(ctx, caller.Credential)
	return keyResponse{ID: caller.Subject, Issued: info.Created.UTC().Truncate(time.Second), ExpiresAt: optional(info.Expires)}, err
}

func (h *Handler) serveRefresh(ctx context.Context, _ keywright.Principal, req refreshRequest) (rotateResponse, error) {
	switch {
	case req.ID == "":
		return rotateResponse{}, missing("runner_id")
	case req.Proof == "":
		return rotateResponse{}, missing("proof")
	}
	r, err := h.Refresh(ctx, req.ID, req.Proof)
	if err != nil {
		return rotateResponse{}, h.ifUnauthorized(ctx, err)
	}
	return r.response(), nil
}

func (r Rotated) response() rotateResponse {
	return rotateResponse{ID: r.ID, APIKey: r.APIKey, ExpiresAt: optional(r.Expires), OldUntil: optional(r.OldUntil), Sequence: r.Sequence}
}

// optional is t as it is told, and nil for none.
func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}

const keyPattern = KeysPath + "/{key_id}"

// keyRoutes are the admin API of provisioning keys.
func (h *Handler) keyRoutes() []keywright.Route {
	admin := func(method string, status int) endpoint.Spec { return h.spec("admin", method, permitted{h}, status) }
	post := admin(http.MethodPost, 0)
	return []keywright.Route{
		{Pattern: KeysPath, Handler: methods(map[string]http.Handler{
			http.MethodGet:  endpoint.New(admin(http.MethodGet, 0), endpoint.Nothing, h.serveKeys),
			http.MethodPost: endpoint.New(admin(http.MethodPost, http.StatusCreated), readCreateKey, h.serveCreateKey),
		})},
		{Pattern: keyPattern, Handler: endpoint.New(admin(http.MethodDelete, 0), readSegment(keyPattern, "key_id", keyNotFound()), h.serveDeleteKey)},
		{Pattern: keyPattern + "/toggle", Handler: endpoint.New(post, readToggle, h.serveToggle)},
		{Pattern: keyPattern + "/rotate", Handler: endpoint.New(post, h.readRotation, h.serveRotateKey)},
		{Pattern: keyPattern + "/runners", Handler: endpoint.New(admin(http.MethodGet, 0), readSegment(keyPattern+"/runners", "key_id", keyNotFound()), h.serveKeyRunners)},
	}
}

// permitted is the admin's Authenticator where the permission is needed.
type permitted struct{ h *Handler }

func (p permitted) Authenticate(r *http.Request) (keywright.Principal, error) {
	caller, err := p.h.admin.Authenticate(r)
	if err != nil {
		return keywright.Principal{}, err
	}
	if err := p.h.permit(caller); err != nil {
		p.h.host.Hooks.Refused(keywright.WithRequestAddr(r), "provisioning.admin_refused", err)
		return keywright.Principal{}, err
	}
	return caller, nil
}

// Challenge is the host's.
func (p permitted) Challenge() string { return p.h.admin.(keywright.Challenger).Challenge() }

func readSegment(pattern, name string, absent error) func(*http.Request) (string, error) {
	return func(r *http.Request) (string, error) {
		id, err := endpoint.Segment(r, pattern, name)
		if err != nil || id == "" {
			return "", absent
		}
		return id, nil
	}
}

func (h *Handler) serveKeys(ctx context.Context, _ keywright.Principal, _ endpoint.Empty) (keysResponse, error) {
	keys, err := h.Keys(ctx)
	return keysResponse{keys}, err
}

// readCreateKey names the field where encoding/json would name its own parsers.
func readCreateKey(r *http.Request) (KeySettings, error) {
	req, err := endpoint.AdminJSON[createKeyRequest](r)
	if err != nil {
		return KeySettings{}, err
	}
	s := KeySettings{
		ID: req.ID, Description: req.Description, MaxUses: req.MaxUses, MaxPending: req.MaxPending, Pattern: req.Pattern,
		PerHour: req.PerHour, Scopes: req.Scopes, Tags: req.Tags,
	}
	if req.Expires != "" {
		if s.Expires, err = time.Parse(time.RFC3339, req.Expires); err != nil {
			return KeySettings{}, invalid("expires_at: want a time such as 2026-01-31T10:00:00Z")
		}
	}
	for _, text := range req.Networks {
		n, err := netip.ParsePrefix(text)
		if err != nil {
			return KeySettings{}, invalid("networks: want IPv4 and IPv6 networks such as 192.0.2.0/24")
		}
		s.Networks = append(s.Networks, n)
	}
	return s, nil
}

func (h *Handler) serveCreateKey(ctx context.Context, caller keywright.Principal, s KeySettings) (newKeyResponse, error) {
	k, err := h.CreateKey(ctx, caller, s)
	return newKeyResponse{ID: k.ID, APIKey: k.APIKey, Description: k.Description}, err
}

func (h *Handler) serveDeleteKey(ctx context.Context, caller keywright.Principal, id string) (statusResponse, error) {
	return statusResponse{"deleted"}, h.DeleteKey(ctx, caller, id)
}

type toggle struct {
	id      string
	enabled bool
}

// readToggle wants {"enabled": true or false}. Without the member it means to
// enable, as ChallengeCtl has it: for the object {} alone.
func readToggle(r *http.Request) (toggle, error) {
	id, err := readSegment(keyPattern+"/toggle", "key_id", keyNotFound())(r)
	if err != nil {
		return toggle{}, err
	}
	req, err := endpoint.AdminJSON[toggleRequest](r)
	switch {
	case err != nil:
		return toggle{}, err
	case len(req.Enabled) == 0:
		return toggle{id, true}, nil
	}
	enabled := string(req.Enabled) == "true"
	if !enabled && string(req.Enabled) != "false" {
		return toggle{}, invalid("enabled: want true or false")
	}
	return toggle{id, enabled}, nil
}

func (h *Handler) serveToggle(ctx context.Context, caller keywright.Principal, t toggle) (statusResponse, error) {
	if t.enabled {
		return statusResponse{"enabled"}, h.EnableKey(ctx, caller, t.id)
	}
	return statusResponse{"disabled"}, h.DisableKey(ctx, caller, t.id)
}

type keyRotation struct {
	id      string
	overlap time.Duration
}

func (h *Handler) readRotation(r *http.Request) (keyRotation, error) {
	id, err := readSegment(keyPattern+"/rotate", "key_id", keyNotFound())(r)
	if err != nil {
		return keyRotation{}, err
	}
	req, err := endpoint.OptionalJSON[rotateKeyRequest](r)
	switch {
	case err != nil:
		return keyRotation{}, err
	case req.OverlapHours == nil:
		return keyRotation{id, h.limits.Overlap}, nil
	case !(*req.OverlapHours >= 0) || *req.OverlapHours > maxLife.Hours():
		return keyRotation{}, invalid("overlap_hours: want 0 to %g", maxLife.Hours())
	}
	return keyRotation{id, time.Duration(math.Floor(*req.OverlapHours*3600)) * time.Second}, nil
}

func (h *Handler) serveRotateKey(ctx context.Context, caller keywright.Principal, r keyRotation) (newKeyResponse, error) {
	k, err := h.RotateKey(ctx, caller, r.id, r.overlap)
	return newKeyResponse{ID: k.ID, APIKey: k.APIKey, Description: k.Description, OldUntil: optional(k.OldUntil)}, err
}

func (h *Handler) serveKeyRunners(ctx context.Context, _ keywright.Principal, id string) (madeResponse, error) {
	made, err := h.KeyRunners(ctx, id)
	return madeResponse{made}, err
}

// A page is what a list is asked for.
type page struct {
	after string
	limit int
}

const maxPage = 1000

func readPage(r *http.Request) (page, error) {
	q := r.URL.Query()
	p := page{after: q.Get("after"), limit: maxPage}
	if err := checkText("after", p.after, maxText); err != nil {
		return page{}, err
	}
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPage {
			return page{}, invalid("limit: want 1 to %d", maxPage)
		}
		p.limit = n
	}
	return p, nil
}
