package ldaptest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const startTime = 30 * time.Second // for the server to answer

// find returns the program.
func find() (string, error) {
	for _, name := range []string{"/usr/sbin/slapd", "slapd"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("slapd is neither in /usr/sbin nor in PATH")
}

// A process is one run of slapd.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed at its end
	log    bytes.Buffer  // to be read after that
}

// start makes a directory in dir and a server for it.
func (s *Server) start(program, dir string) error {
	// A copy, because the AppArmor profile of some distributions keeps the
	// program, where it stands, away from temporary directories.
	text, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	program = filepath.Join(dir, "slapd")
	if err := os.WriteFile(program, text, 0o700); err != nil {
		return err
	}
	if err := s.writeCertificates(dir); err != nil {
		return err
	}
	if err := s.writeData(program, dir); err != nil {
		return err
	}
	// Somebody else may take a port between our asking and the server's.
	for range 5 {
		if err = s.run(program, dir); err == nil {
			return nil
		}
	}
	return err
}

// run starts the server and waits until it answers.
func (s *Server) run(program, dir string) error {
	plain, err := freePort()
	if err != nil {
		return err
	}
	overTLS, err := freePort()
	if err != nil {
		return err
	}
	s.URL, s.TLSURL = "ldap://"+plain, "ldaps://"+overTLS
	// Debug level 0 keeps it in the foreground.
	p := &process{exited: make(chan struct{})}
	p.cmd = exec.Command(program, "-d", "0", "-f", filepath.Join(dir, configFile), "-h", s.URL+"/ "+s.TLSURL+"/")
	p.cmd.Dir, p.cmd.SysProcAttr = dir, dieWithParent()
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		return err
	}
	go func() {
		defer close(p.exited)
		p.cmd.Wait() // that it was killed is no news
	}()
	s.process = p
	if err := s.await(overTLS); err != nil {
		p.kill()
		return fmt.Errorf("%w\n%s", err, p.log.Bytes())
	}
	return nil
}

// await returns when the server answers and is ours.
func (s *Server) await(overTLS string) error {
	end := time.Now().Add(startTime)
	for {
		c, err := s.connect()
		if err == nil {
			c.Close()
			nc, err := net.Dial("tcp", overTLS) // all ports are opened before any is served
			if err == nil {
				nc.Close()
			}
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("no answer after %v: %w", startTime, err)
		}
		select {
		case <-s.process.exited:
			return errors.New("ended at once")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (p *process) kill() {
	p.cmd.Process.Kill() // it may have ended by itself
	<-p.exited
}

func freePort() (address string, err error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
