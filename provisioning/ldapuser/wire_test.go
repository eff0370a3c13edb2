package ldapuser_test

import (
	"bufio"
	"encoding/binary"
	"io"
	"slices"
)

// Requests and answers (RFC 4511, section 4).
const (
	opBind     = 0x60
	opSearch   = 0x63
	opExtended = 0x77

	opBound        = 0x61
	opEntry        = 0x64
	opSearched     = 0x65
	opReference    = 0x73
	opExtendedDone = 0x78
)

// A message is a request as it was read.
type message struct {
	raw  []byte
	id   byte
	op   byte
	name string // of a bind: who; of a search: the base
	base bool   // a search of the base alone
}

func (m message) String() string {
	switch {
	case m.op == opBind:
		return "bind " + m.name
	case m.op == opSearch && m.base:
		return "look at " + m.name
	case m.op == opSearch:
		return "search " + m.name
	}
	return "something else"
}

// readMessage reads a message of go-ldap's, one of the first 127.
func readMessage(r *bufio.Reader) (message, error) {
	raw, err := readElement(r)
	if err != nil {
		return message{}, err
	}
	_, body, _ := cut(raw)
	_, id, rest := cut(body)
	op, body, _ := cut(rest)
	m := message{raw: raw, id: id[0], op: op}
	if op == opBind {
		_, _, body = cut(body) // the version
	}
	if op == opBind || op == opSearch {
		_, name, rest := cut(body)
		_, next, _ := cut(rest)
		m.name, m.base = string(name), op == opSearch && next[0] == 0
	}
	return m, nil
}

func readElement(r *bufio.Reader) ([]byte, error) {
	head, err := r.Peek(2)
	if err != nil {
		return nil, err
	}
	size := 2
	if head[1] >= 0x80 {
		size += int(head[1] & 0x7f)
	}
	if head, err = r.Peek(size); err != nil {
		return nil, err
	}
	raw := make([]byte, size+length(head))
	_, err = io.ReadFull(r, raw)
	return raw, err
}

// length is that of the content of the element that head begins.
func length(head []byte) int {
	if head[1] < 0x80 {
		return int(head[1])
	}
	n := 0
	for _, c := range head[2 : 2+head[1]&0x7f] {
		n = n<<8 | int(c)
	}
	return n
}

// cut takes the first element off b.
func cut(b []byte) (tag byte, content, rest []byte) {
	size, n := 2, length(b)
	if b[1] >= 0x80 {
		size += int(b[1] & 0x7f)
	}
	return b[0], b[size : size+n], b[size+n:]
}

// element makes one.
func element(tag byte, content ...[]byte) []byte {
	body := slices.Concat(content...)
	head := []byte{tag, 0x84}
	return append(binary.BigEndian.AppendUint32(head, uint32(len(body))), body...)
}

// text is an octet string.
func text(s string) []byte { return element(0x04, []byte(s)) }

// result is an answer with a code.
func result(op, code byte) []byte {
	return element(op, element(0x0a, []byte{code}), text(""), text(""))
}

// entry is what a search finds.
func entry(dn, attribute string, values ...string) []byte {
	var set [][]byte
	for _, v := range values {
		set = append(set, text(v))
	}
	return element(opEntry, text(dn), element(0x30, element(0x30, text(attribute), element(0x31, set...))))
}

// answer is op as the answer to the request id.
func answer(id byte, op []byte) []byte { return element(0x30, element(0x02, []byte{id}), op) }
