package ldapuser_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// serve calls handle for every connection, and returns the address.
func serve(t *testing.T, handle func(net.Conn)) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				handle(nc)
			}()
		}
	}()
	return "ldap://" + l.Addr().String()
}

// scripted is a server that answers a request with what script returns.
func scripted(t *testing.T, script func(message) [][]byte) (url string) {
	return serve(t, func(nc net.Conn) {
		r := bufio.NewReader(nc)
		for {
			m, err := readMessage(r)
			if err != nil {
				return
			}
			for _, op := range script(m) {
				if _, err := nc.Write(answer(m.id, op)); err != nil {
					return
				}
			}
		}
	})
}

// A proxy stands before a server and counts.
type proxy struct {
	url    string
	server string
	ending int // the connection ends in place of this request; 0: never

	mu          sync.Mutex
	connections int
	open, most  int // connections at the same time
	asked       []message
}

func newProxy(t *testing.T, server string, ending int) *proxy {
	p := &proxy{server: strings.TrimPrefix(server, "ldap://"), ending: ending}
	p.url = serve(t, p.handle)
	return p
}

func (p *proxy) handle(client net.Conn) {
	p.count(+1)
	defer p.count(-1)
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer server.Close()
	go func() {
		io.Copy(client, server)
		client.Close()
	}()
	r := bufio.NewReader(client)
	for n := 1; ; n++ {
		m, err := readMessage(r)
		if err != nil || n == p.ending {
			return
		}
		p.mu.Lock()
		p.asked = append(p.asked, m)
		p.mu.Unlock()
		if _, err := server.Write(m.raw); err != nil {
			return
		}
	}
}

func (p *proxy) count(d int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open += d
	p.connections += max(d, 0)
	p.most = max(p.most, p.open)
}

// seen returns what passed so far, and forgets it.
func (p *proxy) seen() (connections int, asked []message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	connections, asked = p.connections, p.asked
	p.connections, p.asked = 0, nil
	return connections, asked
}
