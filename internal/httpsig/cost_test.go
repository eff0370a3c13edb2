package httpsig_test

import (
	"errors"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/httpsig"
)

// AGT-24 and its kin: what is hostile in size. Each must be refused, and none may
// cost more than a good request by much.

func floods() map[string]http.Header {
	const key, signature = `sig=hwk;kty="OKP"`, "sig=:AAAA:"
	input := func(text string) http.Header { return labels(key, text, signature) }
	member := func(text string) http.Header { return labels(text, `sig=("@method");created=1`, signature) }
	repeat := func(text string, total int) string { return strings.Repeat(text, total/len(text)) }
	lines := input(`sig=("@method")`)
	lines["Signature-Input"] = slices.Repeat([]string{"a"}, 100_000)
	return map[string]http.Header{
		"80,000 components":                input("sig=(" + strings.Repeat(`"@method" `, 80_000) + ")"),
		"4,000 components":                 input("sig=(" + strings.Repeat(`"@method" `, 4_000) + ")"),
		"as many components as fit":        input("sig=(" + repeat(`"@method" `, 8<<10-6) + ")"),
		"as many short components":         input("sig=(" + repeat(`"" `, 8<<10-6) + ")"),
		"33 components":                    input("sig=(" + strings.Repeat(`"a" `, 33) + ")"),
		"components with parameters":       input("sig=(" + repeat(`"a";req=tok `, 8<<10-6) + ")"),
		"wrong parameters":                 input(`sig=("@method";req=tok "date";sf="x")`),
		"components with all parameters":   input("sig=(" + repeat(`"";a;b;c;d;e;f;g;h;i;j;k;l;m;n;o;p;q;r;s;t;u;v;w;x;y;z `, 8<<10-6) + ")"),
		"parameters":                       input(`sig=("@method")` + repeat(";a", 8<<10-15)),
		"parameters of a key":              member("sig=hwk" + repeat(";a", 16<<10-7)),
		"dates in a key":                   member("a=(" + repeat("@1 ", 16<<10-20) + "), sig=hwk"),
		"display strings in a key":         member("a=(" + repeat(`%"%20" `, 16<<10-20) + "), sig=hwk"),
		"one display string":               member(`sig=hwk;a=%"` + repeat("%20", 16<<10-20)),
		"members":                          input(repeat("a,", 8<<10)),
		"members with another name":        input("a=()" + repeat(", b=()", 8<<10-6)),
		"empty members":                    input(repeat(",", 8<<10)),
		"spaces":                           input("sig=(" + repeat(" ", 8<<10-6) + ")"),
		"a string of escapes":              input(`sig=("` + repeat(`\"`, 8<<10-10) + `")`),
		"a string without an end":          input(`sig=("` + repeat(`\\`, 8<<10-10)),
		"brackets":                         input("sig=" + repeat("(", 8<<10-6)),
		"a component of 8 KiB":             input(`sig=("` + repeat("a", 8<<10-20) + `")`),
		"an endless label":                 input(repeat("a", 8<<10)),
		"an endless number":                input("sig=" + repeat("1", 8<<10-6)),
		"an endless signature":             labels(key, `sig=("@method");created=1`, "sig=:"+repeat("AAAA", 8<<10-8)+":"),
		"an endless signature, bad at end": labels(key, `sig=("@method");created=1`, "sig=:"+repeat("AAAA", 8<<10-8)+"A:"),
		"a megabyte of key":                member(`sig=jwt;jwt="` + repeat("a", 1<<20) + `"`),
		"100,000 lines":                    lines,
	}
}

// refuse wants no more than reading a message and making its base.
func refuse(h http.Header) error {
	m, err := httpsig.Parse(h)
	if err != nil {
		return err
	}
	_, err = m.Base(&http.Request{Method: "GET", RequestURI: "/", Header: h}, "a.example")
	return err
}

func TestH17FloodsAreCheap(t *testing.T) {
	const mostBytes = 256 << 10
	for name, h := range floods() {
		err := refuse(h)
		sound := name == "spaces" || name == "an endless signature" // they cover nothing, and sign nothing
		if sound != (err == nil) || err != nil && !errors.Is(err, httpsig.ErrMalformed) && !errors.Is(err, httpsig.ErrComponents) {
			t.Errorf("%s: %v", name, err)
		}
		if n := allocated(func() { _ = refuse(h) }); n > mostBytes {
			t.Errorf("%s: %d bytes", name, n)
		}
		start := time.Now()
		for range 100 {
			_ = refuse(h)
		}
		if d := time.Since(start); d > 5*time.Second {
			t.Errorf("%s: %v for a hundred", name, d)
		}
	}
}

// allocated is how many bytes f takes, the least of some turns.
func allocated(f func()) uint64 {
	least := ^uint64(0)
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}

// TestVerifyAllocates bounds what a good request needs.
func TestVerifyAllocates(t *testing.T) {
	v := readVectors(t).Vectors[0]
	m := v.message(t)
	r, key := m.request(), vectorKey(t, v)
	if n := testing.AllocsPerRun(100, func() { must[struct{}](t)(struct{}{}, verifyGET(r, key)) }); n > 14 {
		t.Errorf("verifying a GET allocates %v times", n)
	}
	unsigned := http.Header{"Authorization": {"Bearer x"}, "Accept": {"*/*"}}
	if n := testing.AllocsPerRun(100, func() { _, _ = httpsig.Parse(unsigned) }); n > 0 {
		t.Errorf("an unsigned request allocates %v times", n)
	}
}

func BenchmarkFlood(b *testing.B) {
	for name, h := range floods() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = refuse(h)
			}
		})
	}
}
