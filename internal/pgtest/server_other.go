//go:build !unix

package pgtest

import "errors"

// A server cannot be had here.
type server struct{}

func newServer([]string) (*server, error) {
	return nil, errors.New("not supported on this system")
}

func (*server) query(string, string) (string, error) { return "", errors.ErrUnsupported }

func (*server) url(string) string { return "" }
