//go:build unix

package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	initTime  = time.Minute      // for making the data directory
	startTime = 30 * time.Second // for the server to answer
)

// A server is a running PostgreSQL.
type server struct {
	bin  string // directory of its programs
	dir  string // removed at the end: data and log
	port int
	user *syscall.SysProcAttr
	life *os.File // the server stops when this closes, as it does with our process
}

func newServer(settings []string) (*server, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "keywright-pg-")
	if err != nil {
		return nil, err
	}
	s := &server{bin: bin, dir: dir}
	if err := s.own(); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	if err := s.clean(); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	if err := s.init(); err != nil {
		s.life.Close()
		return nil, err
	}
	// Somebody else may take the port between our asking and the server's.
	for range 5 {
		if err = s.run(settings); err == nil {
			return s, nil
		}
	}
	s.life.Close()
	return nil, err
}

// programs returns the directory that has all we need. What is in PATH may be
// a wrapper that looks for a cluster, so it comes last.
func programs() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	best, version := "", -1.0
	for _, dir := range found {
		v, err := strconv.ParseFloat(filepath.Base(filepath.Dir(dir)), 64)
		if err == nil && v > version && complete(dir) {
			best, version = dir, v
		}
	}
	if best != "" {
		return best, nil
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if complete(dir) {
			return dir, nil
		}
	}
	return "", errors.New("initdb, postgres and psql are neither in /usr/lib/postgresql/*/bin nor in PATH")
}

func complete(dir string) bool {
	for _, name := range []string{"initdb", "postgres", "psql"} {
		if _, err := exec.LookPath(filepath.Join(dir, name)); err != nil {
			return false
		}
	}
	return true
}

// own decides who runs the server. PostgreSQL refuses to run as root, so for
// root everything belongs to the user "postgres", whom its packages create.
func (s *server) own() error {
	// A group of its own keeps an interrupt from the terminal away: the server
	// ends after us, and cleans up.
	s.user = &syscall.SysProcAttr{Setpgid: true}
	if os.Geteuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			return err
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return err
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return err
		}
		if err := os.Chown(s.dir, int(uid), int(gid)); err != nil {
			return err
		}
		s.user.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	return nil
}

// init makes the data directory.
func (s *server) init() error {
	ctx, cancel := context.WithTimeout(context.Background(), initTime)
	defer cancel()
	// --no-sync is about making the directory, not about what the server does.
	_, err := s.output(ctx, "initdb", "-D", s.data(), "-U", "postgres", "-A", "trust",
		"-E", "UTF8", "--locale=C", "--no-sync")
	return err
}

func (s *server) data() string { return filepath.Join(s.dir, "data") }

// janitor waits until its standard input closes, which happens when the test
// process ends by whatever cause, stops the server whose directory is $0, at
// once, and removes the directory.
const janitor = `
PATH=/usr/bin:/bin:$PATH
cat >/dev/null
pidfile=$0/data/postmaster.pid
kill -QUIT "$(head -n 1 "$pidfile")"
for i in 1 2 3 4 5 6 7 8 9 10; do
	test -e "$pidfile" || break
	sleep 0.5
done
rm -rf "$0"
`

// clean starts the janitor.
func (s *server) clean() error {
	stdin, life, err := os.Pipe()
	if err != nil {
		return err
	}
	defer stdin.Close()
	cmd := exec.Command("/bin/sh", "-c", janitor, s.dir)
	cmd.Stdin, cmd.SysProcAttr = stdin, s.user
	if err := cmd.Start(); err != nil {
		life.Close()
		return err
	}
	s.life = life
	go cmd.Wait() // it outlives us
	return nil
}

// run starts the server and waits until it answers.
func (s *server) run(settings []string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	s.port = port
	args := []string{"-D", s.data(), "-p", strconv.Itoa(port), "-h", "127.0.0.1", "-k", ""}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), args...)
	// Not our own output: "go test" would wait for it to close.
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir, cmd.SysProcAttr = s.dir, s.user
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		cmd.Wait()
	}()
	if err := s.await(exited); err != nil {
		cmd.Process.Signal(syscall.SIGQUIT)
		<-exited
		text, _ := os.ReadFile(log.Name())
		return fmt.Errorf("%w\n%s", err, text)
	}
	return nil
}

// await returns when the server on our port answers and is ours.
func (s *server) await(exited <-chan struct{}) error {
	end := time.Now().Add(startTime)
	for {
		dir, err := s.query("postgres", "SHOW data_directory")
		if err == nil && dir != s.data() {
			return fmt.Errorf("the server on port %d is not ours: its data is in %q", s.port, dir)
		}
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("no answer after %v: %w", startTime, err)
		}
		select {
		case <-exited:
			return errors.New("the server ended at once")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (s *server) url(database string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", s.port, database)
}

// query returns what psql prints.
func (s *server) query(database, text string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	return s.output(ctx, "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", s.url(database), "-c", text)
}

func (s *server) output(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, program), args...)
	cmd.Dir, cmd.SysProcAttr = s.dir, s.user
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", program, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}
