package ldapuser_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/keywright/keywright/provisioning/ldapuser"
	"github.com/keywright/keywright/provisioning/ldapuser/ldaptest"
)

// answers are what a server says to each of the questions. Zero: kate is found,
// is a super user, and may come in.
type answers struct {
	search, look [][]byte
	bind         []byte
}

func (a answers) to(m message) [][]byte {
	switch {
	case m.op == opBind && a.bind != nil:
		return [][]byte{a.bind}
	case m.op == opBind:
		return [][]byte{result(opBound, 0)}
	case m.base && a.look != nil:
		return a.look
	case m.op == opSearch && !m.base && a.search != nil:
		return a.search
	}
	return [][]byte{entry("uid=kate", "uid", "kate"), result(opSearched, 0)}
}

// verifier asks a server that gives these answers.
func (a answers) verifier(t *testing.T) *ldapuser.Verifier {
	t.Helper()
	return newVerifier(t, ldapuser.Config{
		URL: scripted(t, a.to), BaseDN: ldaptest.BaseDN, SuperUserFilter: "(a=b)", Timeout: time.Minute,
	})
}

func TestAnswers(t *testing.T) {
	found, done := entry("uid=kate", "uid", "kate"), result(opSearched, 0)
	const refused, trouble = true, false
	for _, tt := range []struct {
		name    string
		answers answers
		refused bool
		cause   string // "": admitted
	}{
		{"good ones", answers{}, false, ""},
		{"the attribute in another case", answers{search: [][]byte{entry("uid=kate", "UID", "kate"), done}}, false, ""},
		{"a referral beside the user", answers{search: [][]byte{found, element(opReference, text("ldap://127.0.0.1:1/")), done}}, false, ""},

		{"a user without a DN", answers{search: [][]byte{entry("", "uid", "kate"), done}}, refused, "without a DN"},
		{"a user with a blank DN", answers{search: [][]byte{entry("  ", "uid", "kate"), done}}, refused, "without a DN"},
		{"a user without a name", answers{search: [][]byte{entry("uid=kate", "uid"), done}}, refused, "0 values"},
		{"a user with another attribute", answers{search: [][]byte{entry("uid=kate", "cn", "kate"), done}}, refused, "0 values"},
		{"a user with another name", answers{search: [][]byte{entry("uid=kate", "uid", "joe"), done}}, refused, `spelled "joe"`},
		{"two users", answers{search: [][]byte{found, found, done}}, refused, "several users"},
		{"more users than asked for", answers{search: [][]byte{found, found, found, done}}, refused, "several users"},
		{"one user of more than the server may show", answers{search: [][]byte{found, result(opSearched, 4)}}, refused, "several users"},
		{"nobody of more than the server may show", answers{search: [][]byte{result(opSearched, 4)}}, refused, "several users"},
		{"a referral in place of the user", answers{search: [][]byte{element(opReference, text("ldap://127.0.0.1:1/")), done}}, refused, "no such user"},
		{"a referral of the search", answers{search: [][]byte{result(opSearched, 10)}}, trouble, "search for the user"},
		{"a search without rights", answers{search: [][]byte{result(opSearched, 50)}}, trouble, "search for the user"},
		{"a user, and then an error", answers{search: [][]byte{found, result(opSearched, 80)}}, trouble, "search for the user"},

		{"nobody matches the filter", answers{look: [][]byte{done}}, refused, "not a super user"},
		{"the user has gone", answers{look: [][]byte{result(opSearched, 32)}}, refused, "not a super user"},
		{"several match the filter", answers{look: [][]byte{found, found, done}}, refused, "not a super user"},
		{"more match the filter", answers{look: [][]byte{found, found, found, done}}, trouble, "search for the super user"},
		{"a match, and then an error", answers{look: [][]byte{found, result(opSearched, 80)}}, trouble, "search for the super user"},
		{"a referral in place of the match", answers{look: [][]byte{element(opReference, text("ldap://127.0.0.1:1/")), done}}, refused, "not a super user"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			subject, err := tt.answers.verifier(t).VerifyPassword(t.Context(), "kate", right)
			switch {
			case tt.cause == "":
				wantAdmitted(t, subject, err, "kate")
			case tt.refused:
				wantRefused(t, subject, err, tt.cause)
			default:
				wantTrouble(t, subject, err, tt.cause)
			}
		})
	}
}

// TestResultsOfTheBind: what could be about the account refuses, and what the
// bind as nobody comes to is the same to the caller.
func TestResultsOfTheBind(t *testing.T) {
	trouble := map[byte]bool{1: true, 2: true, 3: true, 7: true, 8: true, 11: true, 13: true, 51: true, 52: true, 80: true}
	for code := range byte(128) {
		known := answers{bind: result(opBound, code)}.verifier(t)
		unknown := answers{bind: result(opBound, code), search: [][]byte{result(opSearched, 0)}, look: [][]byte{result(opSearched, 50)}}.verifier(t)
		subject, err := known.VerifyPassword(t.Context(), "kate", right)
		subjectOfNobody, errOfNobody := unknown.VerifyPassword(t.Context(), "nobody", right)
		switch {
		case trouble[code]:
			wantTrouble(t, subject, err, fmt.Sprintf("Result Code %d ", code))
			wantTrouble(t, subjectOfNobody, errOfNobody, fmt.Sprintf("Result Code %d ", code))
		case code == 0:
			wantAdmitted(t, subject, err, "kate")
			wantRefused(t, subjectOfNobody, errOfNobody, "no such user")
		default:
			wantRefused(t, subject, err, fmt.Sprintf("Result Code %d ", code))
			wantRefused(t, subjectOfNobody, errOfNobody, "no such user")
		}
	}
}
