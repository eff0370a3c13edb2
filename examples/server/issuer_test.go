package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/exchange"
	"github.com/keywright/keywright/exchange/exchangetest"
)

// TestSickIssuer is EXC-36, EXC-37 and F-08: an issuer whose keys cannot be had
// costs only those who come with its tokens, and those only seconds.
//
// It measures, so it does not run beside others.
func TestSickIssuer(t *testing.T) {
	for name, fault := range map[string]exchangetest.Fault{
		"down": exchangetest.Down, "silent": exchangetest.Silent, "slow": exchangetest.Slow,
		"redirecting to the metadata service": exchangetest.Redirect, "serving 10 MB": exchangetest.Huge,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sick, healthy := exchangetest.NewIssuer(t), exchangetest.NewIssuer(t)
			sick.Audience, healthy.Audience = ciAudience, ciAudience
			in := newInstallation(t)
			in.trust(publisher("sick", sick.URL(), 0), publisher("healthy", healthy.URL(), 0))
			warm := in.start()
			warm.mustTrade(sick.GitHub(nil))
			sick.SetFault(fault)
			warm.mustTrade(sick.GitHub(nil)) // its key is known
			sick.Rotate()
			begin := time.Now()
			if a, key := warm.trade(sick.GitHub(nil)); key != "" || time.Since(begin) > 6*time.Second {
				t.Errorf("an unknown key: got %d after %v", a.status, time.Since(begin))
			}
			warm.kill()

			cold := in.start()
			cold.mustTrade(healthy.GitHub(nil))
			before := cold.resident()
			var all sync.WaitGroup
			for i := range 20 {
				token := sick.GitHub(map[string]any{"jti": fmt.Sprint("sick-", i)})
				all.Go(func() { cold.wantUnavailable(token) })
			}
			for i := range 20 {
				begin := time.Now()
				cold.mustTrade(healthy.GitHub(map[string]any{"jti": fmt.Sprint("healthy-", i)}))
				if took := time.Since(begin); took > 2*time.Second {
					t.Errorf("a job of a healthy issuer waited %v", took)
				}
			}
			all.Wait()
			if grown := cold.resident() - before; grown > 32<<20 {
				t.Errorf("the process has grown by %d MiB", grown>>20)
			}
		})
	}
}

// wantUnavailable wants 503 with Retry-After within six seconds.
func (p *process) wantUnavailable(token string) {
	begin := time.Now()
	res, err := http.Post(p.url+exchange.TokenPath, "application/x-www-form-urlencoded", strings.NewReader(exchangeForm(token)))
	took := time.Since(begin)
	if err != nil {
		p.in.t.Error(err)
		return
	}
	res.Body.Close()
	if res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || took > 6*time.Second {
		p.in.t.Errorf("got %d, Retry-After %q after %v, want 503 within 6s", res.StatusCode, res.Header.Get("Retry-After"), took)
	}
}

// resident is how much memory the process holds, 0 where the system does not tell.
func (p *process) resident() int64 {
	p.in.t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), "status"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				p.in.t.Fatal(err)
			}
			return kb << 10
		}
	}
	return 0
}
