package main

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/keywright/keywright"
)

const maxBody = 64 << 10

// readJSON reads the body into v. Members that v does not have are ignored:
// runners send more with each version.
func readJSON(w http.ResponseWriter, r *http.Request, v any) error {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(v)
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return keywright.Wrap(keywright.CodeTooLarge, err)
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
		return &keywright.Error{Code: keywright.CodeInvalidRequest, Detail: wrong.Field + ": wrong type", Err: err}
	}
	if err != nil {
		return &keywright.Error{Code: keywright.CodeInvalidRequest, Detail: "want a JSON object", Err: err}
	}
	return nil
}

// answering makes a handler that answers with JSON, or with the error.
func answering(do func(w http.ResponseWriter, r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := do(w, r)
		if err != nil {
			if keywright.AsError(err).Code.Status() >= http.StatusInternalServerError {
				slog.ErrorContext(r.Context(), "request failed", "path", r.Pattern, "error", err)
			}
			keywright.Text.WriteError(w, err)
			return
		}
		writeJSON(w, v)
	}
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(v)
}

// only refuses other methods.
func only(method string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method {
			keywright.Text.WriteError(w, &keywright.Error{Code: keywright.CodeMethodNotAllowed, Header: http.Header{"Allow": {method}}})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// absent answers for paths that are nobody's.
func absent(d keywright.Dialect) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		d.WriteError(w, &keywright.Error{Code: keywright.CodeNotFound})
	}
}
