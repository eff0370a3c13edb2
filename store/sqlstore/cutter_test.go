package sqlstore_test

import (
	"bytes"
	"net"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
)

// A cutter forwards connections to a server, and closes one after it forwarded
// a given text to it, before any answer.
type cutter struct {
	address string
	text    atomic.Pointer[string]
}

func newCutter(t *testing.T, server string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c := &cutter{address: l.Addr().String()}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go c.forward(client, server)
		}
	}()
	return c
}

// cutAfter arms the cutter for one text.
func (c *cutter) cutAfter(text string) { c.text.Store(&text) }

func (c *cutter) forward(client net.Conn, address string) {
	defer client.Close()
	server, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer server.Close()
	var cut atomic.Bool
	go func() {
		buf := make([]byte, 1<<16)
		for {
			n, err := server.Read(buf)
			if err != nil || cut.Load() {
				client.Close()
				return
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 1<<16)
	for {
		n, err := client.Read(buf)
		if err != nil {
			return
		}
		text := c.text.Load()
		// Nothing that the server says from here on is passed on.
		last := text != nil && bytes.Contains(buf[:n], []byte(*text))
		cut.Store(last)
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
		if last {
			c.text.CompareAndSwap(text, nil)
			return
		}
	}
}

// host returns the address of the server.
func (d database) host(t *testing.T) string {
	t.Helper()
	u, err := url.Parse(d.dsn)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// zeroPages overwrites pages of a SQLite file that nobody has open.
func zeroPages(t *testing.T, d database, from, to int) {
	t.Helper()
	path := strings.TrimPrefix(d.dsn, "file:")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	clear(content[from*page : to*page])
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
