package provisioning_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/keywright/keywright/provisioning"
)

// PRV-04, PRV-05 and PRV-07, weakness 1, and row "key format": what cannot be a
// key is refused without a look into the store; what bcrypt would take is not a
// key, under bcrypt neither.
func TestPRV04PRV05PRV07MalformedKeysCostNoStoreCall(t *testing.T) {
	for _, cost := range []int{0, 4} {
		s := new(spy)
		w := newWorld(t, spied(s), unlimited, func(c *setup) { c.host.Hash.BcryptCost = cost })
		key := w.makeKey("ci")
		w.provision(key, "sdr-1")
		for _, tt := range []struct{ name, key string }{
			{"PRV-04 a suffix", key + "anything"},
			{"PRV-04 a suffix behind 72 bytes", key + strings.Repeat("x", 72)},
			{"a prefix of it", key[:len(key)-1]},
			{"a wrong checksum", key[:len(key)-1] + flip(key)},
			{"another kind's prefix", strings.Replace(key, "ck_prov", "ck_runner", 1)},
			{"nobody's prefix", strings.Replace(key, "ck_prov", "ck_none", 1)},
			{"the guide's", "ck_prov_1234567890abcdef1234567890abcdef"},
			{"no key at all", "letmein"},
			{"the key twice", key + key},
		} {
			before := s.calls.Load()
			w.want(tt.name, w.call("POST", provisionPath, tt.key, named("sdr-2")), 401, badProvKey)
			if n := s.calls.Load() - before; n != 0 {
				t.Errorf("%s: %d calls of the store", tt.name, n)
			}
		}
		// No client of net/http sends it; the server would refuse it, too.
		w.want("PRV-05 a space for NUL", w.call("POST", provisionPath, key+" "+key, named("sdr-2")), 401, noHeader)
		w.want("the key", w.call("POST", provisionPath, key, named("sdr-2")), 201, "")
	}
}

// PRV-09, weaknesses 1 and 2, and row "look-up": ten thousand keys are found as
// one is, the wrong ones with less than the right ones.
func TestPRV09CallsDoNotGrowWithKeys(t *testing.T) {
	s := new(spy)
	w := newWorld(t, spied(s), unlimited)
	key := w.makeKey("first")
	w.provision(key, "sdr-0")
	cost := func(key string, name string, status int) int64 {
		before := s.calls.Load()
		w.want(name, w.call("POST", provisionPath, key, named(name)), status, "")
		return s.calls.Load() - before
	}
	one := cost(key, "sdr-1", 201)
	many := 10_000
	if testing.Short() {
		many = 500
	}
	var last provisioning.NewKey
	for i := range many {
		var err error
		if last, err = w.prov.CreateKey(t.Context(), operator, provisioning.KeySettings{ID: fmt.Sprintf("key-%d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	w.provision(last.APIKey, "sdr-0")
	if n := cost(last.APIKey, "sdr-2", 201); n != one {
		t.Errorf("the last of %d keys: %d calls, the first of one: %d", many, n, one)
	}
	other := newWorld(t)
	if n := cost(other.makeKey("x"), "sdr-3", 401); n != 1 {
		t.Errorf("an unknown key: %d calls, want 1", n)
	}
	if keys, err := w.prov.Keys(t.Context()); err != nil || len(keys) != many+1 {
		t.Errorf("listed: %d keys, %v", len(keys), err)
	}
}

// PRV-10, row "at rest" and weakness 11: whoever steals the database has no key,
// no token and nothing of a secret part.
func TestPRV10PRV11NoSecretAtRestNorInAnswers(t *testing.T) {
	w := newWorld(t)
	var secrets []string
	for i := range 100 {
		key := w.makeKey(fmt.Sprintf("key-%d", i), `"max_pending":2`)
		token, runner := w.provision(key, fmt.Sprintf("sdr-%d", i))
		if i%2 == 0 {
			w.want("enrol", w.enroll(token, runner, fmt.Sprintf("sdr-%d", i)), 201, "")
			secrets = append(secrets, w.call("POST", "/api/enrollment/rotate", runner, "").field("api_key"))
		}
		rotated := w.call("POST", keysPath+fmt.Sprintf("/key-%d/rotate", i), w.admin, "")
		secrets = append(secrets, key, token, runner, rotated.field("api_key"))
	}
	if err := w.host.Keys.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := w.dump(slices.Concat(kinds, usage)...)
	text := strings.Join(slices.Collect(maps.Keys(all)), "\n") + strings.Join(slices.Collect(maps.Values(all)), "\n") + w.log.String()
	lists := ""
	for _, path := range []string{keysPath, keysPath + "/key-0/runners", "/api/enrollment/tokens", "/api/runners", "/api/runners/sdr-0", "/api/agents"} {
		lists += w.call("GET", path, w.admin, "").body
	}
	w.mu.Lock()
	heard := fmt.Sprint(w.heard)
	w.mu.Unlock()
	for _, s := range secrets {
		secret := s[len(s)-33 : len(s)-6] // 27 characters between the id and the checksum
		for name, where := range map[string]string{"the store and the log": text, "an answer": lists, "an event": heard} {
			for _, form := range []string{secret, secret[:8], base64.StdEncoding.EncodeToString([]byte(s))[:24]} {
				if strings.Contains(where, form) {
					t.Errorf("%s has a part of a secret: %s", name, form)
				}
			}
		}
	}
	// PRV-11: the hashes are at rest, and stay there. An id may spell anything.
	lists = regexp.MustCompile(`"key_id":"[0-9A-Za-z]{12}"|_[0-9A-Za-z]{12}"`).ReplaceAllString(lists, `"`)
	if !strings.Contains(text, `"hash"`) || strings.Contains(lists, "hash") || strings.Contains(lists, "salt") || strings.Contains(lists, "secret") {
		t.Errorf("hashes: in an answer, or in no record:\n%.2000s", lists)
	}
}

// PRV-13, and row "key_id".
func TestPRV13GrammarOfKeyID(t *testing.T) {
	const text = "key_id must contain only alphanumeric characters, hyphens, and underscores"
	w := newWorld(t)
	before := w.dump(kinds...)
	for _, tt := range []struct{ id, want string }{
		{``, "Missing required field: key_id"},
		{strings.Repeat("x", 65), "key_id must contain only alphanumeric characters, hyphens, and underscores"},
		{`../x`, text}, {`%2e%2e`, text}, {`a/b`, text}, {`a b`, text}, {`ci\n`, text}, {`\nci`, text}, {`ci\u0000`, text}, {`сi`, text}, {`ｃi`, text},
		{`é`, text}, {`.`, text}, {`..`, text}, {`a.b`, text}, {`a:b`, text}, {`a@b`, text}, {`a[b`, text}, {"a`b", text}, {`a{b`, text}, {`a\\b`, text},
	} {
		a := w.call("POST", keysPath, w.admin, `{"key_id":"`+tt.id+`"}`)
		w.want(tt.id, a, 400, tt.want)
	}
	w.unchanged("refused", before)
	for _, id := range []string{"a", "0", "-", "_", "A-Z_a-z-09", strings.Repeat("x", 64), "keys"} {
		w.makeKey(id)
		w.want(id, w.call("DELETE", keysPath+"/"+id, w.admin, ""), 200, "")
	}
}

// PRV-15, row "toggle" and weakness 9: what is not true or false changes nothing.
func TestPRV15ToggleWantsABoolean(t *testing.T) {
	w := newWorld(t)
	key := w.makeKey("ci")
	w.call("POST", keysPath+"/ci/toggle", w.admin, `{"enabled":false}`)
	before := w.dump(kinds...)
	for _, body := range []string{
		``, ` `, `{"enabled":"false"}`, `{"enabled":"true"}`, `{"enabled":0}`, `{"enabled":1}`, `{"enabled":null}`, `{"enabled":[]}`, `{"enabled":{}}`,
		`{"Enabled":true}`, `{"enabled":true,"enabled":true}`, `{"enabled":true,"x":1}`, `[]`, `null`, `true`, `{"enabled":true}{}`, `{"enabled":TRUE}`,
	} {
		w.want(body, w.call("POST", keysPath+"/ci/toggle", w.admin, body), 400, "")
		w.want(body+": the key", w.call("POST", provisionPath, key, named("sdr-1")), 401, badProvKey)
	}
	w.unchanged("refused", before)
	for _, body := range []string{`{}`, ` { } `, `{"enabled":true}`, ` { "enabled" : true } `} {
		w.call("POST", keysPath+"/ci/toggle", w.admin, ` {"enabled": false} `)
		w.want("disabled", w.call("POST", provisionPath, key, named("sdr-1")), 401, badProvKey)
		w.want(body, w.call("POST", keysPath+"/ci/toggle", w.admin, body), 200, "")
		w.want("enabled", w.call("POST", provisionPath, key, named("sdr-1")), 201, "")
	}
}

// PRV-20, row "config_yaml" and weakness 7: a file with other members than ours
// cannot be asked for.
func TestPRV20NamesCannotWriteYAML(t *testing.T) {
	w := newWorld(t, perHour(1000))
	key := w.makeKey("ci")
	for _, name := range []string{
		"x\"\n  verify_ssl: false\n  server_url: \"https://evil", "- !!python/object", strings.Repeat("\U0001F600", 255), "${IFS}", "a: b", "#", "*a", "&a", "|", "%x", "~", "'", "\\",
		"null", "true", "1e3", "0x10", "2026-03-01", "a.b", "y", "1_000",
	} {
		for _, field := range []string{"runner_name", "runner_id", "name", "model", "frequency_limits"} {
			q, _ := json.Marshal(name)
			body := fmt.Sprintf(`{"runner_name":"sdr-1",%q:%s}`, field, q)
			switch field {
			case "runner_name":
				body = fmt.Sprintf(`{"runner_name":%s}`, q)
			case "name":
				body = fmt.Sprintf(`{"runner_name":"sdr-1","devices":[{"name":%s,"model":"m"}]}`, q)
			case "model":
				body = fmt.Sprintf(`{"runner_name":"sdr-1","devices":[{"name":"n","model":%s}]}`, q)
			case "frequency_limits":
				body = fmt.Sprintf(`{"runner_name":"sdr-1","devices":[{"name":"n","model":"m","frequency_limits":[%s]}]}`, q)
			}
			a := w.call("POST", provisionPath, key, body)
			if a.status == 400 {
				continue
			}
			var file struct {
				Runner map[string]any `yaml:"runner"`
				Radios struct {
					Devices []map[string]any `yaml:"devices"`
				} `yaml:"radios"`
			}
			if err := yaml.Unmarshal([]byte(a.field("config_yaml")), &file); a.status != 201 || err != nil {
				t.Fatalf("%s %q: got %d %s, %v", field, name, a.status, a.body, err)
			}
			found := map[string]any{"runner_id": file.Runner["runner_id"], "name": file.Radios.Devices[0]["name"], "model": file.Radios.Devices[0]["model"]}
			if limits, ok := file.Radios.Devices[0]["frequency_limits"].([]any); ok {
				found["frequency_limits"] = limits[0]
			}
			found["runner_name"] = found["runner_id"]
			if found[field] != name || file.Runner["verify_ssl"] != true || file.Runner["server_url"] != base || len(file.Runner) != 10 {
				t.Errorf("%s %q: the file says %v of it:\n%s", field, name, found[field], a.field("config_yaml"))
			}
		}
	}
}

// PRV-21, and row "server_url": what the request's header says of the server
// counts for nothing, and what its body says must be one of the server's names.
func TestPRV21ServerURLIsTheServers(t *testing.T) {
	w := newWorld(t, perHour(1000), func(s *setup) {
		s.host.URL.Host = "SERVER.example"
		s.config.ServerURLs = []string{"http://10.0.0.5:8080/Prefix/"}
	})
	key := w.makeKey("ci")
	for _, tt := range []struct {
		asked, want string // empty: refused
	}{
		{``, base}, {base, base}, {base + "/", base}, {"HTTPS://Server.Example", base}, {"http://10.0.0.5:8080/Prefix", "http://10.0.0.5:8080/Prefix"},
		{"https://evil.example", ""}, {"https://server.example.evil.example", ""}, {"https://server.example@evil.example", ""}, {"http://server.example", ""},
		{"https://server.example:8443", ""}, {"https://server.example/x", ""}, {"https://server.example?x", ""}, {"https://server.example#x", ""}, {"//server.example", ""},
		{"server.example", ""}, {"https://server.example\\n", ""}, {"https://server.example\\u0000", ""}, {"javascript:alert(1)", ""}, {"file:///etc/passwd", ""},
		{"http://10.0.0.5:8080/prefix", ""}, {"http://10.0.0.5:8080/Prefix/..", ""}, {"https:server.example", ""}, {" " + base, ""}, {base + strings.Repeat("/", 255), ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", w.url+provisionPath, strings.NewReader(`{"runner_name":"sdr-1","server_url":"`+tt.asked+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "evil.example"
		req.Header = http.Header{"Authorization": {"Bearer " + key}, "X-Forwarded-Host": {"evil.example"}, "X-Forwarded-Proto": {"http"}, "Forwarded": {"host=evil.example"}, "Origin": {"https://evil.example"}}
		a := w.send(req)
		if tt.want == "" {
			w.want(tt.asked, a, 400, "server_url: not an address of this server")
		} else if !strings.Contains(a.field("config_yaml"), `server_url: "`+tt.want+`"`) || strings.Contains(a.body, "evil") {
			t.Errorf("%q: got %d %s", tt.asked, a.status, a.body)
		}
	}
}

// PRV-23, row "existing runner" and weakness 6.
func TestPRV23RunnersCannotBeTakenOver(t *testing.T) {
	w := newWorld(t)
	one, two := w.makeKey("one"), w.makeKey("two")
	token, runner := w.provision(one, "sdr-1")
	w.want("enrol", w.enroll(token, runner, "sdr-1"), 201, "")
	before := w.dump(kinds...)
	for _, c := range []struct{ path, bearer, body string }{
		{provisionPath, one, named("sdr-1")}, {provisionPath, two, named("sdr-1")}, {provisionPath, two, `{"runner_name":"x","runner_id":"sdr-1"}`},
		{"/api/enrollment/token", w.admin, named("sdr-1")},
	} {
		w.want(c.path+" "+c.body, w.call("POST", c.path, c.bearer, c.body), 409, taken)
	}
	w.unchanged("refused", before)
	w.want("the runner", w.call("GET", "/runner", runner, ""), 200, "")
	w.clock.Advance(2 * time.Minute)
	w.want("later", w.call("POST", provisionPath, two, named("sdr-1")), 409, taken)
	w.want("the name of the runner, for another", w.call("POST", provisionPath, two, `{"runner_name":"sdr-1","runner_id":"sdr-2"}`), 201, "")
}

// PRV-24, and row "rate limit": per key and not per address, with what is left.
func TestPRV24HundredRequestsPerHour(t *testing.T) {
	w := newWorld(t)
	key, other := w.makeKey("ci"), w.makeKey("other", `"per_hour":2`)
	quota := func(name string, a answer, status int, limit, policy, retry string) {
		t.Helper()
		w.want(name, a, status, "")
		if h := a.header; h.Get("RateLimit") != limit || h.Get("RateLimit-Policy") != policy || h.Get("Retry-After") != retry {
			t.Errorf("%s: got RateLimit %q, RateLimit-Policy %q, Retry-After %q", name, h.Get("RateLimit"), h.Get("RateLimit-Policy"), h.Get("Retry-After"))
		}
	}
	provision := func(key string) answer { return w.call("POST", provisionPath, key, named("sdr-1")) }
	const policy = `"default";q=100;w=3600`
	quota("the first", provision(key), 201, `"default";r=99;t=3600`, policy, "")
	w.clock.Advance(10*time.Minute + time.Millisecond)
	w.want("a bad one counts, too", w.call("POST", provisionPath, key, `{}`), 400, "")
	for range 97 {
		provision(key)
	}
	quota("the hundredth", provision(key), 201, `"default";r=0;t=3000`, policy, "")
	for range 3 {
		a := provision(key)
		quota("one more", a, 429, `"default";r=0;t=3000`, policy, "3000")
		if a.body != `{"error":"Too many requests by this provisioning key","code":"rate_limited"}` {
			t.Errorf("one more: got %s", a.body)
		}
	}
	quota("another key of the same address", provision(other), 201, `"default";r=1;t=3600`, `"default";q=2;w=3600`, "")
	quota("another key of the same address", provision(other), 201, `"default";r=0;t=3600`, `"default";q=2;w=3600`, "")
	quota("its own limit", provision(other), 429, `"default";r=0;t=3600`, `"default";q=2;w=3600`, "3600")
	w.call("POST", keysPath+"/ci/toggle", w.admin, `{"enabled":false}`)
	w.want("rotate", w.call("POST", keysPath+"/ci/rotate", w.admin, ""), 200, "")
	w.call("POST", keysPath+"/ci/toggle", w.admin, `{"enabled":true}`)
	quota("rotated, it has no second budget", provision(key), 429, `"default";r=0;t=3000`, policy, "3000")
	w.call("DELETE", keysPath+"/other", w.admin, "")
	quota("another key of its name", provision(w.makeKey("other", `"per_hour":2`)), 201, `"default";r=1;t=3600`, `"default";q=2;w=3600`, "")
	w.clock.Advance(3000 * time.Second)
	key = w.call("POST", keysPath+"/ci/rotate", w.admin, "").field("api_key")
	quota("after Retry-After", provision(key), 201, `"default";r=99;t=3600`, policy, "")
}

// PRV-36: what people write is shown to people.
func TestPRV36DescriptionsCannotForgeLines(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		description string
		status      int
	}{
		{`\r\nFAKE 200 admin`, 400}, {`\u001b[31mred`, 400}, {`a\u2028b`, 400}, {`\u202Eevil`, 400}, {`\u200b`, 400}, {`\u0085`, 400}, {`\ufeff`, 400}, {`\t`, 400},
		{strings.Repeat("x", 1025), 400}, {strings.Repeat("x", 1<<20), 413}, {strings.Repeat("é", 513), 400},
		{strings.Repeat("x", 1024), 201}, {`<script>alert(1)</script> & \"quoted\" ü \\`, 201},
	} {
		w.call("DELETE", keysPath+"/ci", w.admin, "")
		a := w.call("POST", keysPath, w.admin, `{"key_id":"ci","description":"`+tt.description+`"}`)
		if a.status != tt.status || tt.status == 400 && !strings.HasPrefix(a.field("error"), "description: ") {
			t.Errorf("%.40s: got %d %s", tt.description, a.status, a.body)
		}
	}
	list := w.call("GET", keysPath, w.admin, "")
	if strings.Contains(list.body, "<script") || !strings.Contains(list.body, `\u003cscript\u003e`) || list.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("listed: %v %s", list.header, list.body)
	}
	for _, e := range w.heard {
		if strings.ContainsAny(e.Detail+e.Actor+e.Target, "\r\n\x1b") {
			t.Errorf("an event with a line break: %q", e.Detail)
		}
	}
}
