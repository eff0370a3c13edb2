package ginkw

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"

	"github.com/gin-gonic/gin"
)

// notWritten is what gin's Size says before the status is sent.
const notWritten = -1

// writer makes a gin.ResponseWriter of the one that a net/http middleware
// passes on. As gin's own does, it holds the status back until the body begins,
// so that handlers may still set headers.
type writer struct {
	http.ResponseWriter // the middleware's
	r                   *http.Request
	status, size        int // begin as those of the writer that the middleware got
}

var _ gin.ResponseWriter = (*writer)(nil)

// finish tells the middleware a status without a body, which gin would send
// only after the middleware has returned. 200 is what it assumes anyway.
func (w *writer) finish() {
	if w.status != http.StatusOK {
		w.WriteHeaderNow()
	}
}

func (w *writer) Status() int   { return w.status }
func (w *writer) Size() int     { return w.size }
func (w *writer) Written() bool { return w.size != notWritten }

func (w *writer) WriteHeader(status int) {
	if status > 0 && !w.Written() {
		w.status = status
	}
}

func (w *writer) WriteHeaderNow() {
	if !w.Written() {
		w.size = 0
		w.ResponseWriter.WriteHeader(w.status)
	}
}

func (w *writer) Write(b []byte) (int, error) {
	w.WriteHeaderNow()
	n, err := w.ResponseWriter.Write(b)
	w.size += n
	return n, err
}

func (w *writer) WriteString(s string) (int, error) {
	w.WriteHeaderNow()
	n, err := io.WriteString(w.ResponseWriter, s)
	w.size += n
	return n, err
}

// Flush does nothing where the middleware's writer cannot.
func (w *writer) Flush() {
	w.WriteHeaderNow()
	http.NewResponseController(w.ResponseWriter).Flush()
}

// Hijack leaves nothing more to send.
func (w *writer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err == nil && !w.Written() {
		w.size = 0
	}
	return conn, rw, err
}

// CloseNotify is for gin's Context.Stream. Few middleware pass it on, and the
// request's context says the same.
func (w *writer) CloseNotify() <-chan bool {
	gone := make(chan bool, 1)
	context.AfterFunc(w.r.Context(), func() { gone <- true })
	return gone
}

func (w *writer) Pusher() http.Pusher {
	p, _ := w.ResponseWriter.(http.Pusher)
	return p
}

// Unwrap gives http.ResponseController the rest.
func (w *writer) Unwrap() http.ResponseWriter { return w.ResponseWriter }
