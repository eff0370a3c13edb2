package ldapuser_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/provisioning/ldapuser"
	"github.com/keywright/keywright/provisioning/ldapuser/ldaptest"
)

// TestNoPasswordWithoutTLS has servers that do not start TLS when told to.
func TestNoPasswordWithoutTLS(t *testing.T) {
	yes := answer(1, result(opExtendedDone, 0))
	for _, tt := range []struct {
		name  string
		reply []byte
		cause string
	}{
		{"it does not know how", answer(1, result(opExtendedDone, 2)), "Result Code 2 "},
		{"it is busy", answer(1, result(opExtendedDone, 51)), "Result Code 51 "},
		{"it answers another question", answer(1, result(opBound, 0)), "not an answer"},
		{"it answers a later question", answer(2, result(opExtendedDone, 0)), "not an answer"},
		{"it says good bye", answer(0, result(opExtendedDone, 52)), "not an answer"},
		{"it sends half a message", element(0x30, element(0x02, []byte{1})), "not an answer"},
		{"it promises and does not do", append(yes, "no TLS\r\n"...), "TLS: tls:"},
		{"it goes on in the clear", append(yes, answer(2, result(opBound, 0))...), "TLS: tls:"},
		{"it is not LDAP that it speaks", []byte("220 mail.example.org ESMTP\r\n"), "deadline"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var heard recording
			c := ldapuser.Config{StartTLS: true, BindDN: "cn=search", BindPassword: right, BaseDN: ldaptest.BaseDN, SuperUsers: []string{"kate"}, Timeout: time.Second}
			c.URL = serve(t, func(nc net.Conn) {
				buf := make([]byte, 4096)
				for first := true; ; first = false {
					n, err := nc.Read(buf)
					heard.Write(buf[:n])
					if err != nil {
						return
					}
					if first {
						nc.Write(tt.reply)
					}
				}
			})
			subject, err := newVerifier(t, c).VerifyPassword(t.Context(), "kate", right)
			wantTrouble(t, subject, err, tt.cause)
			if heard.contains(right) || heard.contains("cn=search") {
				t.Error("the password was sent")
			}
		})
	}
}

type recording struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (r *recording) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(p)
}

func (r *recording) contains(s string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Contains(r.buf.String(), s)
}

// TestTooMuch has servers that do not come to an end.
func TestTooMuch(t *testing.T) {
	t.Parallel()
	for name, saying := range map[string][]byte{
		"messages":             answer(0, result(opExtendedDone, 52)),
		"references":           answer(1, element(opReference, text("ldap://127.0.0.1:1/"))),
		"one message of 2 GiB": {0x30, 0x84, 0x7f, 0xff, 0xff, 0xff, 0x04, 0x84, 0x7f, 0xff, 0xff, 0x00},
		"no end of a message":  {0x30, 0x80},
	} {
		for _, startTLS := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				var said int
				gone := make(chan struct{})
				c := ldapuser.Config{StartTLS: startTLS, BaseDN: ldaptest.BaseDN, SuperUsers: []string{"kate"}, Timeout: time.Minute}
				c.URL = serve(t, func(nc net.Conn) {
					defer close(gone)
					for err := error(nil); err == nil; said += len(saying) {
						_, err = nc.Write(saying)
					}
				})
				subject, err := newVerifier(t, c).VerifyPassword(t.Context(), "kate", right)
				wantTrouble(t, subject, err, "")
				if <-gone; said > 32<<20 { // the kernel has some too
					t.Errorf("%d bytes were taken", said)
				}
			})
		}
	}
}

// TestLongAnswerToStartTLS: what comes before TLS is nobody's word.
func TestLongAnswerToStartTLS(t *testing.T) {
	for _, tt := range []struct {
		size  int
		cause string
	}{
		{ldapuser.MaxStartTLSAnswer / 2, "TLS: tls:"}, // taken; what follows is no handshake
		{ldapuser.MaxStartTLSAnswer, "TLS: unexpected EOF"},
	} {
		t.Run(fmt.Sprint(tt.size), func(t *testing.T) {
			long := element(opExtendedDone, element(0x0a, []byte{0}), text(""), text(strings.Repeat("x", tt.size)))
			c := ldapuser.Config{StartTLS: true, BaseDN: ldaptest.BaseDN, SuperUsers: []string{"kate"}, Timeout: time.Minute}
			c.URL = serve(t, func(nc net.Conn) {
				nc.Read(make([]byte, 100))
				nc.Write(append(answer(1, long), "no TLS\r\n"...))
				io.Copy(io.Discard, nc)
			})
			subject, err := newVerifier(t, c).VerifyPassword(t.Context(), "kate", right)
			wantTrouble(t, subject, err, tt.cause)
		})
	}
}

// TestGarbage has a server that gives good answers with mistakes in them. That
// a login still succeeds now and then is right: nobody else can be asked.
func TestGarbage(t *testing.T) {
	const rounds, atOnce = 400, 8
	random := rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex // guards random
	url := serve(t, func(nc net.Conn) {
		r := bufio.NewReader(nc)
		for m, err := readMessage(r); err == nil; m, err = readMessage(r) {
			for _, op := range (answers{}).to(m) {
				mu.Lock()
				said := spoil(random, answer(m.id, op))
				mu.Unlock()
				nc.Write(said)
			}
		}
	})
	startTLS := serve(t, func(nc net.Conn) {
		nc.Read(make([]byte, 100))
		mu.Lock()
		said := spoil(random, answer(1, result(opExtendedDone, 0)))
		mu.Unlock()
		nc.Write(said)
	})
	c := ldapuser.Config{URL: url, BaseDN: ldaptest.BaseDN, SuperUserFilter: "(a=b)", Timeout: 50 * time.Millisecond}
	plain := newVerifier(t, c)
	c.URL, c.StartTLS = startTLS, true
	upgraded := newVerifier(t, c)
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for range rounds / atOnce {
				if subject, err := upgraded.VerifyPassword(t.Context(), "kate", right); err == nil {
					t.Errorf("%q is admitted without TLS", subject)
				}
				subject, err := plain.VerifyPassword(t.Context(), "kate", right)
				if err == nil && !strings.EqualFold(subject, "kate") {
					t.Errorf("kate is %q", subject)
				}
			}
		})
	}
	wg.Wait()
}

// spoil changes a byte or two of b, or none.
func spoil(random *rand.Rand, b []byte) []byte {
	b = slices.Clone(b)
	for range random.IntN(3) {
		switch i := random.IntN(len(b)); random.IntN(4) {
		case 0:
			b[i] = byte(random.Uint32())
		case 1:
			b[i] ^= 1 << random.IntN(8)
		case 2:
			b = slices.Insert(b, i, byte(random.Uint32()))
		case 3:
			b = slices.Delete(b, i, i+1)
		}
	}
	return b
}
