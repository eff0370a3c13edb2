package agentauth_test

import (
	"crypto"
	"fmt"
	"math/big"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// garbage are drafts whose signature is none.
func garbage(key crypto.Signer, components ...string) draft {
	return draft{key: key, components: slices.Concat(base4, components), tamper: set("Signature", "sig="+someSignature)}
}

// withX is a key of scheme hwk with any x.
func withX(x string) string { return `hwk;alg="Ed25519";kty="OKP";crv="Ed25519";x="` + x + `"` }

// TestAttacks has the entries of the catalogue that a verifier alone can answer
// and that are not among the vectors, under their numbers. Of the others:
//
//   - AGT-02 and AGT-73 are in body_test.go, AGT-30 to AGT-32 in replay_test.go.
//   - AGT-49, 50, 54 and 55 are in discovery_test.go, AGT-56 and 60 in token_test.go too.
//   - AGT-33 (nonce), AGT-34 (Date) and AGT-48 (sigkey) are of policies that there
//     are not here: the profile has no nonce, created takes the place of Date, and
//     a route names its schemes.
//   - AGT-61 to AGT-70 are of the agent provider.
func TestAttacks(t *testing.T) {
	key, ec := seedKey("agent"), newP256(t)
	okp := hwk(t, key)
	lettered := key // whose x could be a token
	for i := 0; !strings.Contains("abcdefghijklmnopqrstuvwxyz", jwk(t, lettered)["x"].(string)[:1]); i++ {
		lettered = seedKey(fmt.Sprint(i))
	}
	digest := func(params string) draft {
		return draft{key: key, method: "POST", body: `{"a":1}`, components: append(base6[:5:5], `"content-digest"`+params), tamper: func(r *http.Request) {
			r.Body = body(`{"a":2}`)
		}}
	}
	both := func(name, first string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = []string{first, r.Header.Get(name)} }
	}
	trailers := func(r *http.Request) {
		r.Trailer = http.Header{}
		for _, name := range []string{"Signature", "Signature-Input"} {
			r.Trailer[name] = r.Header[name]
			r.Header.Del(name)
		}
	}
	tests := []struct {
		name string
		d    draft
		code string
	}{
		{"AGT-03 signed in trailers", draft{key: key, tamper: trailers}, "invalid_signature"},
		{"AGT-03 a component of trailers", garbage(key, `"x";tr`), "invalid_input"},
		{"AGT-04 one more label in Signature", draft{key: key, tamper: both("Signature", "other="+someSignature)}, "invalid_signature"},
		{"AGT-05 Signature-Input twice, in two lines", draft{key: key, tamper: both("Signature-Input", `sig=("@method");created=1`)}, "invalid_signature"},
		{"AGT-05 Signature-Key twice", draft{key: key, member: hwk(t, seedKey("victim")) + ", sig=" + okp}, "invalid_signature"},
		{"AGT-05 Signature twice", draft{key: key, tamper: both("Signature", "sig="+someSignature)}, "invalid_signature"},
		{"AGT-12 sf", digest(";sf"), "invalid_input"},
		{"AGT-12 bs", digest(";bs"), "invalid_input"},
		{"AGT-12 req", digest(";req"), "invalid_input"},
		{"AGT-12 tr", digest(";tr"), "invalid_input"},
		{"AGT-15 created is huge", draft{key: key, params: ";created=999999999999999"}, "clock_skew"},
		{"AGT-15 created of 16 digits", draft{key: key, params: ";created=1767225600000000"}, "invalid_signature"},
		{"AGT-15 60 s old", draft{key: key, params: created(-time.Minute)}, ""},
		{"AGT-17 created twice", draft{key: key, params: ";created=1" + created(0)}, "invalid_signature"},
		{"AGT-18 alg that agrees", draft{key: key, params: created(0) + `;alg="ed25519"`}, ""},
		{"AGT-21 a component is a byte sequence", draft{key: key, components: append(base4[:4:4], ":AAAA:")}, "invalid_signature"},
		{"AGT-22 two parameters", garbage(key, `"date";bs;sf`), "invalid_input"},
		{"AGT-22 a key with bs", garbage(key, `"date";key="a";bs`), "invalid_input"},
		{"AGT-22 a derived component with sf", garbage(key, `"@method";sf`), "invalid_input"},
		{"AGT-22 a field in upper case", garbage(key, `"Date"`), "invalid_input"},
		{"AGT-35 a query parameter", garbage(key, `"@query-param";name="role"`), "invalid_input"},
		{"AGT-36 a spare bit", draft{key: key, member: withX("JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bt")}, "invalid_key"},
		{"AGT-36 the other alphabet", draft{key: key, member: withX("JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs")}, "invalid_key"},
		{"AGT-36 5 bytes", draft{key: key, member: withX("AAAAAAA")}, "invalid_key"},
		{"AGT-40 RSA of 512 bits", draft{key: key, member: `hwk;alg="RS256";kty="RSA";e="AQAB";n="` + strings.Repeat("A", 86) + `"`}, "unsupported_algorithm"},
		{"AGT-40 RSA of 65,536 bits", draft{key: key, member: `hwk;alg="RS256";kty="RSA";e="AQAB";n="` + strings.Repeat("A", 10_923) + `"`}, "unsupported_algorithm"},
		{"AGT-41 kid", draft{key: key, member: okp + `;kid="x"`}, "invalid_key"},
		{"AGT-41 x is a token", draft{key: lettered, member: strings.NewReplacer(`x="`, "x=", `"`, "").Replace(hwk(t, lettered))}, "invalid_key"},
		{"AGT-41 x is a byte sequence", draft{key: key, member: strings.Replace(withX("a"), `"a"`, ":AAAA:", 1)}, "invalid_key"},
		// That page has invalid_key, but a field with a name twice cannot be read at all.
		{"AGT-41 x twice", draft{key: key, member: okp + `;x="A"`}, "invalid_signature"},
		{"AGT-41 X25519", draft{key: key, member: strings.Replace(okp, `crv="Ed25519"`, `crv="X25519"`, 1)}, "invalid_key"},
		{"AGT-42 no jwt parameter", draft{key: key, member: "jwt"}, "invalid_signature"}, // as aauth-go's vectors have it
		{"AGT-75 a field that is not ASCII", draft{key: key, header: http.Header{"X-A": {"caf\xc3\xa9"}}, components: append(base4[:4:4], `"x-a"`)}, "invalid_signature"},
		{"AGT-75 a field in two lines", draft{key: key, header: http.Header{"X-A": {"a", "b"}}, components: append(base4[:4:4], `"x-a"`)}, "invalid_signature"},
		{"AGT-75 a field with a comma", draft{key: key, header: http.Header{"X-A": {"a, b"}}, components: append(base4[:4:4], `"x-a"`)}, ""},
	}
	for i, x := range smallOrder(t) {
		tests = append(tests, struct {
			name string
			d    draft
			code string
		}{fmt.Sprintf("AGT-37 small order %d", i), draft{key: key, member: withX(b64.EncodeToString(x))}, "invalid_key"})
	}
	zero, one := b64.EncodeToString(make([]byte, 32)), b64.EncodeToString(append(make([]byte, 31), 1))
	prime, _ := new(big.Int).SetString("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff", 16)
	for name, params := range map[string]string{
		"the origin": `crv="P-256";x="` + zero + `";y="` + zero + `"`, "off the curve": `crv="P-256";x="` + one + `";y="` + one + `"`,
		"x above the prime": `crv="P-256";x="` + b64.EncodeToString(prime.Bytes()) + `";y="` + one + `"`, "no y": `crv="P-256";x="` + one + `"`,
		"P-224": `crv="P-224";x="` + one + `";y="` + one + `"`, "P-521": `crv="P-521";x="` + one + `";y="` + one + `"`, "secp256k1": `crv="secp256k1";x="` + one + `";y="` + one + `"`,
		"infinity": `crv="P-256";x="";y=""`,
	} {
		tests = append(tests, struct {
			name string
			d    draft
			code string
		}{"AGT-38 " + name, draft{key: ec, member: `hwk;alg="ES256";kty="EC";` + params}, "invalid_key"})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGate(t, nil)
			g.wants(tt.code, everything, tt.d.request(t))
			if tt.code != "" && g.seen() != 0 {
				t.Errorf("%d markers", g.seen())
			}
		})
	}
}

// smallOrder are the points under which one signature is that of every message,
// in all their spellings.
func smallOrder(t testing.TB) [][]byte {
	var list [][]byte
	for _, text := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000", "0100000000000000000000000000000000000000000000000000000000000000",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	} {
		point := unhex(t, text)
		other := slices.Clone(point)
		other[31] |= 0x80 // the sign of x
		list = append(list, point, other)
	}
	return list
}

// TestAuthoritiesAsTheyArrive is AGT-29.
func TestAuthoritiesAsTheyArrive(t *testing.T) {
	key := seedKey("agent")
	for name, tamper := range map[string]func(*http.Request){
		"upper case":        func(r *http.Request) { r.Host = "AP.EXAMPLE" },
		"the default port":  func(r *http.Request) { r.Host = "ap.example:443" },
		"the absolute form": func(r *http.Request) { r.RequestURI = "https://ap.example/data" },
		"HTTP/2":            func(r *http.Request) { r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0 },
	} {
		t.Run(name, func(t *testing.T) { newGate(t, nil).wants("", everything, draft{key: key, tamper: tamper}.request(t)) })
	}
}

// floods are inputs that cost other verifiers seconds and gigabytes.
func floods(t testing.TB) map[string]*http.Request {
	key := seedKey("agent")
	input := func(text string) *http.Request {
		return draft{key: key, tamper: set("Signature-Input", "sig="+text+created(0))}.request(t)
	}
	large := draft{key: key, method: "POST", tamper: del("Signature", "Signature-Input", "Signature-Key")}.request(t)
	large.Body, large.ContentLength = &watched{Reader: zeros{}}, 256<<20
	many := strings.Repeat(", x", 4000)
	return map[string]*http.Request{
		"AGT-24 80,000 components":    input("(" + strings.Repeat(`"@method" `, 80_000) + ")"),
		"4,000 components":            input("(" + strings.Repeat(`"@method" `, 4000) + ")"),
		"500 components":              input("(" + strings.Repeat(`"@method" `, 500) + ")"),
		"4,000 short components":      input("(" + strings.Repeat(`"" `, 2000) + ")"),
		"4,000 parameters":            input(`("@method"` + strings.Repeat(";a", 4000) + ")"),
		"req of another type":         input(`("@method" "@authority" "@path" "signature-key" "date";req=tok)`),
		"5-byte key":                  draft{key: key, member: withX("AAAAAAA")}.request(t),
		"5-byte P-256 key":            draft{key: key, member: `hwk;alg="ES256";kty="EC";crv="P-256";x="AAAAAAA";y="AAAAAAA"`}.request(t),
		"4,000 signatures":            draft{key: key, tamper: func(r *http.Request) { r.Header.Set("Signature", "sig=::"+many) }}.request(t),
		"4,000 keys":                  draft{key: key, tamper: func(r *http.Request) { r.Header.Set("Signature-Key", "sig=hwk"+many) }}.request(t),
		"a token of 15 KiB":           draft{key: key, member: shows(strings.Repeat("a", 15<<10))}.request(t),
		"a token of dots":             draft{key: key, member: shows(strings.Repeat(".", 8<<10))}.request(t),
		"a key of a megabyte":         draft{key: key, member: withX(strings.Repeat("A", 1<<20))}.request(t),
		"256 MiB that are not signed": large,
	}
}

// TestFloods: each is refused for less than a megabyte and ten milliseconds.
func TestFloods(t *testing.T) {
	g := newGate(t, nil)
	a, err := g.verifier.Authenticator(everything)
	must(t, err)
	for name, r := range floods(t) {
		t.Run(name, func(t *testing.T) {
			best := time.Hour
			var before, after runtime.MemStats
			for range 5 { // others are at work on the machine too
				runtime.ReadMemStats(&before)
				began := time.Now()
				_, err := a.Authenticate(r)
				best = min(best, time.Since(began))
				runtime.ReadMemStats(&after)
				if err == nil {
					t.Fatal("was accepted")
				}
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 || best > 5*time.Millisecond {
				t.Errorf("%d bytes, %v", used, best)
			}
			if w, ok := r.Body.(*watched); ok && w.read.Load() > 0 {
				t.Errorf("%d bytes of the body were read", w.read.Load())
			}
		})
	}
}

func BenchmarkFloods(b *testing.B) {
	g := newGate(b, nil)
	for name, r := range floods(b) {
		b.Run(name, func(b *testing.B) {
			a, err := g.verifier.Authenticator(everything)
			must(b, err)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.Authenticate(r); err == nil {
					b.Fatal("was accepted")
				}
			}
		})
	}
}
