package agentauth

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/keywright/keywright/internal/httpsig"
)

// A sentBody is one that can be sent several times.
type sentBody struct {
	open   func() (io.ReadCloser, error) // nil: there is none
	digest string                        // "": there is none, or it is empty
	length int64
}

// readBody reads r's body and closes it. One that GetBody can give again is not kept:
// should that be another then, its digest is not that which was signed.
func (t *Transport) readBody(r *http.Request) (sentBody, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return sentBody{}, nil
	}
	var b sentBody
	var err error
	if r.GetBody != nil {
		b, err = hashBody(r)
	} else {
		b, err = t.keepBody(r)
	}
	switch {
	case err != nil:
		return sentBody{}, err
	case r.ContentLength > 0 && r.ContentLength != b.length:
		return sentBody{}, fmt.Errorf("agentauth: the request's ContentLength is %d, and its body has %d bytes", r.ContentLength, b.length)
	case b.length == 0:
		return sentBody{open: func() (io.ReadCloser, error) { return http.NoBody, nil }}, nil
	}
	return b, nil
}

// hashBody reads a body that GetBody can give again.
func hashBody(r *http.Request) (sentBody, error) {
	defer r.Body.Close()
	h, buffer := sha256.New(), make([]byte, min(max(r.ContentLength, 512), 32<<10))
	n, err := io.CopyBuffer(h, whileContext{r.Context(), r.Body}, buffer)
	if err != nil {
		return sentBody{}, err
	}
	return sentBody{open: r.GetBody, digest: httpsig.DigestOfSum([sha256.Size]byte(h.Sum(nil))), length: n}, nil
}

// A whileContext reads until its context ends.
type whileContext struct {
	ctx context.Context
	io.Reader
}

func (w whileContext) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.Reader.Read(p)
}

// keepBody reads a body that can be read once. It does not wait for one that does not
// come when the context has ended.
func (t *Transport) keepBody(r *http.Request) (sentBody, error) {
	defer r.Body.Close()
	tooLong := fmt.Errorf("agentauth: a body of more than %d bytes needs a GetBody to be read twice, or a larger TransportConfig.MaxBody", t.maxBody)
	if r.ContentLength > t.maxBody {
		return sentBody{}, tooLong
	}
	var data []byte
	done := make(chan error, 1)
	go func() {
		var err error
		data, err = io.ReadAll(io.LimitReader(r.Body, t.maxBody+1))
		done <- err
	}()
	select {
	case <-r.Context().Done():
		return sentBody{}, r.Context().Err()
	case err := <-done:
		if err != nil {
			return sentBody{}, err
		}
	}
	if int64(len(data)) > t.maxBody {
		return sentBody{}, tooLong
	}
	return sentBody{
		open:   func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil },
		digest: httpsig.Digest(data), length: int64(len(data)),
	}, nil
}

// attach makes b the body of r.
func (b sentBody) attach(r *http.Request) error {
	if b.open == nil {
		return nil
	}
	body, err := b.open()
	switch {
	case err != nil:
		return err
	case body == nil:
		return errors.New("agentauth: the request's GetBody gives none")
	}
	r.Body, r.GetBody, r.ContentLength = body, b.open, b.length
	return nil
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		r.Body.Close()
	}
}
