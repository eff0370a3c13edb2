package exchange

import (
	"context"
	"net/http"

	"github.com/keywright/keywright"
	"github.com/keywright/keywright/internal/endpoint"
)

// revokeEndpoint takes keys back (RFC 7009). Whoever has a key may end it.
func (h *Handler) revokeEndpoint() http.Handler {
	return endpoint.New(endpoint.Spec{Name: "exchange.revoke", Method: http.MethodPost, Dialect: keywright.OAuth, Hooks: h.host.Hooks},
		limited(h, readRevocation), counted(h, h.revoke))
}

func readRevocation(r *http.Request) (string, error) {
	form, err := endpoint.Form(r)
	if err == nil && form.Get("token") == "" {
		err = keywright.Errorf(keywright.CodeInvalidRequest, "token is missing")
	}
	return form.Get("token"), err
}

// revoke ends a key of this package. A text that is no live key is answered
// like one that was ended just now, as the RFC wants it; a live key of another
// kind is named, since whoever sent it has it, and believes it to be gone.
func (h *Handler) revoke(ctx context.Context, _ keywright.Principal, text string) (endpoint.Empty, error) {
	info, err := h.host.Keys.Find(ctx, text)
	switch {
	case err != nil && keywright.AsError(err).Code == keywright.CodeInvalidToken:
		return endpoint.Empty{}, nil
	case err != nil:
		return endpoint.Empty{}, err
	case info.Method != keywright.MethodExchange || info.Kind != h.kind:
		return endpoint.Empty{}, keywright.Errorf(keywright.CodeUnsupportedTokenType, "this kind of key is not revoked here")
	}
	err = h.host.Keys.Delete(ctx, keywright.Principal{Credential: info.ID}, info.ID)
	if err != nil && keywright.AsError(err).Code == keywright.CodeNotFound {
		err = nil // another request was first
	}
	return endpoint.Empty{}, err
}
