package ldapuser_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/keywright/keywright/provisioning/ldapuser"
	"github.com/keywright/keywright/provisioning/ldapuser/ldaptest"
)

// someone is a user, or who stands for those that do not exist.
var someone = regexp.MustCompile(`(cn=[A-Z2-7]{26}|uid=\w+,ou=people),` + ldaptest.BaseDN)

// TestPathsAreEqual compares what the directory is asked: unknown names, wrong
// passwords and users who are not super users do not show in it, nor does who
// is named.
func TestPathsAreEqual(t *testing.T) {
	twin := ldaptest.User{Name: "twin", Password: right}
	sibling := twin
	sibling.Unit = "open"
	s := newDirectory(t, twin, sibling,
		ldaptest.User{Name: "several", Password: right, Attributes: map[string][]string{"uid": {"several", "alias"}}})
	p := newProxy(t, s.URL, 0)
	whole := []string{"bind " + s.BindDN, "search " + ldaptest.BaseDN, "look at SOMEONE", "bind SOMEONE"}
	for _, config := range []struct {
		name   string
		change func(*ldapuser.Config)
		want   []string
	}{
		{"with a filter", func(*ldapuser.Config) {}, whole},
		{"with a filter and names", func(c *ldapuser.Config) { c.SuperUsers = []string{"joe"} }, whole},
		{"with names", func(c *ldapuser.Config) { c.SuperUserFilter, c.SuperUsers = "", []string{"kate"} },
			[]string{whole[0], whole[1], whole[3]}},
	} {
		c := configOf(s)
		c.URL = p.url
		config.change(&c)
		v := newVerifier(t, c)
		for _, login := range []struct{ name, username, password string }{
			{"good", "kate", right},
			{"wrong password", "kate", "wrong"},
			{"no super user", "joe", right},
			{"no super user and wrong password", "joe", "wrong"},
			{"unknown name", "nobody", right},
			{"two entries", "twin", right},
			{"two names", "several", right},
			{"other spelling", " kate", right},
		} {
			t.Run(login.name+" "+config.name, func(t *testing.T) {
				v.VerifyPassword(t.Context(), login.username, login.password)
				connections, asked := p.seen()
				var got []string
				for _, m := range asked {
					if strings.HasPrefix(m.String(), "bind uid=") && !strings.HasPrefix(m.String(), "bind uid=Kate,") && !(login.username == "joe" && config.name == "with a filter and names") {
						t.Errorf("%s: whoever guesses here can lock out one who is no super user", m)
					}
					got = append(got, someone.ReplaceAllString(m.String(), "SOMEONE"))
				}
				if diff := cmp.Diff(config.want, got); diff != "" || connections != 1 {
					t.Errorf("%d connections; requests (-want +got):\n%s", connections, diff)
				}
			})
		}
	}
}

// slowHash is SHA-512 of the wrong password, 100,000 times: some 30 ms.
const slowHash = "{CRYPT}$6$rounds=100000$abcdefgh$u4RmsweQ2xX6w8SFOqTdQGmwssYunilOubtduSn3YOox8mis0O18/bZzOQgWRIMFLJsFXX1CXzVUxyxsISW5R."

// TestRefusalsKeepPace: as many requests are not as much time, where the
// directory hashes slowly and only for those who exist.
func TestRefusalsKeepPace(t *testing.T) {
	s := newDirectory(t, ldaptest.User{Name: "slow", Password: slowHash, Attributes: superUser})
	v := newVerifier(t, configOf(s))
	v.SetPace(ldapuser.Pace)
	for _, tt := range []struct{ name, username, password, cause string }{
		{"unknown name", "nobody", right, "no such user"},
		{"wrong password", "kate", "wrong", "bind as"},
		{"wrong password, hashed slowly", "slow", "wrong", "bind as"},
		{"no super user", "joe", right, "not a super user"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			begin := time.Now()
			subject, err := v.VerifyPassword(t.Context(), tt.username, tt.password)
			if d := time.Since(begin); d < ldapuser.Pace {
				t.Errorf("refused after %v, want %v", d, ldapuser.Pace)
			}
			wantRefused(t, subject, err, tt.cause)
		})
	}
}

func TestPaceIsForRefusalsAlone(t *testing.T) {
	s := newDirectory(t)
	v := newVerifier(t, configOf(s))
	v.SetPace(time.Hour)
	subject, err := v.VerifyPassword(t.Context(), "kate", right)
	wantAdmitted(t, subject, err, "Kate")

	s.Stop()
	subject, err = v.VerifyPassword(t.Context(), "kate", right)
	wantTrouble(t, subject, err, "connect")
}

// TestPaceTakesNoTurn: those who were refused and wait keep nobody out.
func TestPaceTakesNoTurn(t *testing.T) {
	s := newDirectory(t)
	c := configOf(s)
	v := newVerifier(t, c)
	v.SetPace(time.Hour)
	for range ldapuser.MaxChecks {
		go v.VerifyPassword(t.Context(), "nobody", right)
	}
	for range ldapuser.MaxChecks {
		subject, err := v.VerifyPassword(t.Context(), "kate", right)
		wantAdmitted(t, subject, err, "Kate")
	}
}

func TestPaceEndsWithTheTimeout(t *testing.T) {
	t.Parallel()
	s := newDirectory(t)
	c := configOf(s)
	c.Timeout = 2 * time.Second
	v := newVerifier(t, c)
	v.SetPace(time.Hour)
	subject, err := v.VerifyPassword(t.Context(), "nobody", right)
	wantRefused(t, subject, err, "no such user")
}
