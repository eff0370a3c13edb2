package egress_test

import (
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
)

// resolve answers for a name server that knows names, which end in a dot, for as
// long as the test runs.
func resolve(t *testing.T, names map[string]netip.Addr) {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			server.WriteTo(answer(buf[:n], names), from)
		}
	}()
	before := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
	t.Cleanup(func() {
		net.DefaultResolver = before
		server.Close()
	})
}

// answer writes an answer with one address, if there is one of the type that is
// asked for (RFC 1035, section 4).
func answer(query []byte, names map[string]netip.Addr) []byte {
	const header, typeA, typeAAAA, classIN = 12, 1, 28, 1
	name, at := "", header
	for ; query[at] != 0; at += 1 + int(query[at]) {
		name += string(query[at+1:at+1+int(query[at])]) + "."
	}
	at++
	kind := binary.BigEndian.Uint16(query[at:])
	a := append([]byte(nil), query[:at+4]...)
	copy(a[2:header], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0})
	addr := names[name]
	if addr.IsValid() && (kind == typeA && addr.Is4() || kind == typeAAAA && addr.Is6()) {
		a[7] = 1
		a = append(a, 0xc0, header) // the name, again
		a = binary.BigEndian.AppendUint16(a, kind)
		a = binary.BigEndian.AppendUint16(a, classIN)
		a = binary.BigEndian.AppendUint32(a, 60)
		a = binary.BigEndian.AppendUint16(a, uint16(len(addr.AsSlice())))
		a = append(a, addr.AsSlice()...)
	}
	return a
}
