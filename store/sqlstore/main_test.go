package sqlstore_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/store"
	"github.com/keywright/keywright/store/sqlstore"
)

// jobVariable makes the test binary do a job instead of its tests: how a test
// gets more than one process.
const jobVariable = "KEYWRIGHT_SQLSTORE_JOB"

// A job is what one of several processes does to a database.
type job struct {
	Dialect     sqlstore.Dialect
	Driver, DSN string
	Do          string // insert, take or pairs
	Name        string // of the record or counter
	Goroutines  int
}

func TestMain(m *testing.M) {
	text := os.Getenv(jobVariable)
	if text == "" {
		os.Exit(m.Run())
	}
	var j job
	err := json.Unmarshal([]byte(text), &j)
	if err == nil {
		err = j.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run says that it is ready, waits for a line, and does the job. It opens the
// Store after that, so that the processes also race for making the tables.
func (j job) run() error {
	fmt.Println("ready")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	db, err := sql.Open(j.Driver, j.DSN)
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(20)
	ctx := context.Background()
	s, err := sqlstore.Open(ctx, db, sqlstore.Config{Dialect: j.Dialect})
	if err != nil {
		return err
	}
	if j.Do == "pairs" {
		return pairs(ctx, s)
	}
	op, refusal := store.Insert(store.Record{Kind: "race", ID: j.Name, Expires: time.Now().Add(time.Hour)}), store.ErrExists
	if j.Do == "take" {
		op, refusal = store.Take(j.Name, 1, 100, time.Time{}), store.ErrLimit
	}
	n, err := winners(j.Goroutines, refusal, func() error { return s.Commit(ctx, op) })
	fmt.Println(n)
	return errors.Join(err, db.Close())
}

// pairs commits two records and a counter together until the process is
// killed, and prints the number of each commit that it got an answer for.
func pairs(ctx context.Context, s store.Store) error {
	for i := 0; ; i++ {
		id := fmt.Sprintf("%08d", i)
		err := s.Commit(ctx, store.Insert(store.Record{Kind: "left", ID: id, Data: []byte(id)}),
			store.Insert(store.Record{Kind: "right", ID: id, Data: []byte(id)}),
			store.Take("pairs", 1, 1<<40, time.Time{}))
		if err != nil {
			return err
		}
		fmt.Println(i)
	}
}

// winners calls try in so many goroutines at once, and returns how often it
// succeeded and every error that is not the refusal.
func winners(goroutines int, refusal error, try func() error) (int, error) {
	var won atomic.Int64
	errs := make([]error, goroutines)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range goroutines {
		wg.Go(func() {
			<-start
			switch err := try(); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, refusal):
				errs[i] = err
			}
		})
	}
	close(start)
	wg.Wait()
	return int(won.Load()), errors.Join(errs...)
}

// A process does a job.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	output *bufio.Reader
}

// begin starts a process and waits until it is ready.
func (d database) begin(tb testing.TB, do, name string, goroutines int) *process {
	tb.Helper()
	text, err := json.Marshal(job{d.dialect, d.driver, d.dsn, do, name, goroutines})
	if err != nil {
		tb.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), jobVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	p := &process{cmd, stdin, bufio.NewReader(stdout)}
	p.readLine(tb)
	return p
}

func (p *process) readLine(tb testing.TB) string {
	tb.Helper()
	line, err := p.output.ReadString('\n')
	if err != nil {
		tb.Fatalf("a process ended too early: %v", err)
	}
	return line
}

func (p *process) release(tb testing.TB) {
	tb.Helper()
	if _, err := io.WriteString(p.stdin, "go\n"); err != nil {
		tb.Fatal(err)
	}
}
