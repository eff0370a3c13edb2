package provisioning_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/provisioning"
)

// What no field of a kind takes, as JSON.
var (
	noText = []string{`1`, `true`, `[]`, `{}`, `["a"]`, `"a\u0000b"`, `"a\nb"`, `"\u001b[1m"`, `"\u202Eb"`, `"\u200b"`, `"\ud800"`, `"` + strings.Repeat("x", 2000) + `"`}
	noName = append([]string{`"a b"`, `"a/b"`, `"../x"`, `"."`, `".."`, `"-a"`, `"_a"`, `".a"`, `"é"`, `"ｓdr"`, `"ѕdr"`, `"a%2fb"`, `"a:b"`, `"a'b"`, `"a\\b"`, `"a\"b"`, `"` + strings.Repeat("x", 65) + `"`, `"register"`}, noText...)
	noHour = []string{`"24"`, `""`, `true`, `[]`, `{}`, `0`, `-0`, `-1`, `-1e-9`, `1e9`, `1e308`, `1e400`, `720.0001`}
	noInt  = []string{`"1"`, `true`, `[]`, `{}`, `-1`, `1.5`, `1e3`, `2147483648`, `99999999999999999999`, `-9223372036854775808`}
	noWord = []string{`"a"`, `1`, `{}`, `[1]`, `[""]`, `["a b"]`, `["a\tb"]`, `["a\u0000"]`, `["é"]`, `["ａ"]`, `["a\"b"]`, `["a\\b"]`, `["a","a"]`, `[null]`, `["` + strings.Repeat("x", 256) + `"]`, `[["a"]]`}
)

// A form is a request with one field left out: the last.
type form struct {
	method, path string
	admin        bool
	body         string // with %s for the field, such as `{"a":1,"b":%s}`
	field        string // as the answer names it
	bad          []string
}

// Every field of every request: of the wrong type, too long, with control
// characters and look-alikes, negative, huge. Weakness 8: a string was a 500.
func TestBadInputNamesItsFieldAndWritesNothing(t *testing.T) {
	devices := func(member string) string {
		return `{"runner_name":"sdr-1","devices":[{"name":"a","model":"m"},{"name":"b","model":"m",` + member + `}]}`
	}
	const enroll = `"enrollment_token":"t","api_key":"k","runner_id":"r","hostname":"h","devices":[]`
	enrollWith := func(field string) string {
		var members []string
		for _, m := range strings.Split(enroll, ",") {
			if !strings.HasPrefix(m, `"`+field+`"`) {
				members = append(members, m)
			}
		}
		return "{" + strings.Join(append(members, `"`+field+`":%s`), ",") + "}"
	}
	var words []string
	for i := range 65 {
		words = append(words, fmt.Sprintf(`"w%d"`, i))
	}
	crowd := "[" + strings.Join(words, ",") + "]"
	many := func(n int, one string) string { return "[" + strings.TrimSuffix(strings.Repeat(one+",", n), ",") + "]" }
	var forms []form
	for field, bad := range map[string][]string{
		"key_id": append(noName[:5:5], noText...), "description": noText, "expires_at": append([]string{`"2026-03-01T12:00:00Z"`, `"2025-01-01T00:00:00Z"`, `"2126-03-01T12:00:00Z"`, `"9999-12-31T00:00:00Z"`, `"tomorrow"`, `"2026-04-01"`, `1800000000`, `"2026-04-31T00:00:00Z"`}, noText...),
		"max_uses": noInt, "max_pending": append([]string{`201`}, noInt...), "per_hour": noInt,
		"runner_pattern": append([]string{`"a?"`, `"[a]"`, `"a\\*"`, `"é*"`, `"a b"`, `"a/b"`, `"` + strings.Repeat("*", 256) + `"`}, noText...),
		"networks":       {`"10.0.0.0/8"`, `1`, `{}`, `[1]`, `[""]`, `["10.0.0.1"]`, `["10.0.0.0/33"]`, `["10.0.0.0/-1"]`, `["::/129"]`, `["a.b/8"]`, `["fe80::1%eth0/64"]`, `["10.0.0.0/08"]`, `["::ffff:10.0.0.0/104"]`, `[null]`, many(65, `"10.0.0.0/8"`)},
		"scopes":         append([]string{crowd}, noWord...), "tags": append([]string{crowd}, noWord...),
	} {
		body := `{"key_id":"new","` + field + `":%s}`
		if field == "key_id" {
			body = `{"key_id":%s}`
		}
		forms = append(forms, form{"POST", keysPath, true, body, field, bad})
	}
	forms = append(forms,
		form{"POST", keysPath + "/ci/toggle", true, `{"enabled":%s}`, "enabled", []string{`"false"`, `0`, `null`, `[]`}},
		form{"POST", keysPath + "/ci/rotate", true, `{"overlap_hours":%s}`, "overlap_hours", []string{`"1"`, `true`, `[]`, `-1`, `-1e-300`, `876001`, `1e308`, `1e400`}},
		form{"POST", provisionPath, false, `{"runner_name":%s}`, "runner_name", append([]string{`""`, `null`}, noName...)},
		form{"POST", provisionPath, false, `{"runner_name":"sdr-1","runner_id":%s}`, "runner_id", noName},
		form{"POST", provisionPath, false, `{"runner_name":"sdr-1","expires_hours":%s}`, "expires_hours", noHour},
		form{"POST", provisionPath, false, `{"runner_name":"sdr-1","server_url":%s}`, "server_url", append([]string{`"https://evil.example"`}, noText...)},
		form{"POST", provisionPath, false, `{"runner_name":"sdr-1","verify_ssl":%s}`, "verify_ssl", []string{`"true"`, `1`, `[]`, `{}`}},
		form{"POST", provisionPath, false, `{"runner_name":"sdr-1","use_public_key":%s}`, "use_public_key", []string{`"true"`, `1`, `[]`, `{}`}},
		form{"POST", provisionPath, false, `{"runner_name":"sdr-1","devices":%s}`, "devices", []string{`"a"`, `1`, `{}`, `[1]`, `["a"]`, many(65, `{"name":1,"model":"m"}`)}},
		form{"POST", provisionPath, false, `{"runner_name":"sdr-1","devices":[{"model":"m","name":%s}]}`, "name", append([]string{`null`, `""`, `1.5`, `1e3`, `99999999999999999999`}, noText[1:]...)},
		form{"POST", provisionPath, false, `{"runner_name":"sdr-1","devices":[{"name":"n","model":%s}]}`, "model", append([]string{`null`, `""`}, noText...)},
		form{"POST", provisionPath, false, devices(`"rf_gain":%s`), "rf_gain", []string{`"1"`, `true`, `[]`, `1001`, `-1001`, `1e308`, `1e400`}},
		form{"POST", provisionPath, false, devices(`"if_gain":%s`), "if_gain", []string{`"1"`, `true`, `[]`, `1001`, `-1000.5`, `1e400`}},
		form{"POST", provisionPath, false, devices(`"frequency_limits":%s`), "frequency_limits", []string{`"a"`, `1`, `{}`, `[1]`, `["a\nb"]`, `["\u0000"]`, `["` + strings.Repeat("x", 256) + `"]`, many(65, `"a"`)}},
		form{"POST", "/api/enrollment/token", true, `{"runner_name":%s}`, "runner_name", append([]string{`""`, `null`}, noName...)},
		form{"POST", "/api/enrollment/token", true, `{"runner_name":"sdr-1","runner_id":%s}`, "runner_id", noName},
		form{"POST", "/api/enrollment/token", true, `{"runner_name":"sdr-1","expires_hours":%s}`, "expires_hours", noHour},
		form{"POST", "/api/enrollment/token", true, `{"runner_name":"sdr-1","use_public_key":%s}`, "use_public_key", []string{`"true"`, `1`, `[]`}},
		form{"POST", "/api/enrollment/re-enroll/sdr-0", true, `{"expires_hours":%s}`, "expires_hours", noHour},
	)
	for _, field := range []string{"enrollment_token", "api_key", "runner_id", "hostname", "mac_address", "machine_id", "agent_type"} {
		forms = append(forms, form{"POST", enrollPath, false, enrollWith(field), field, noText})
	}
	forms = append(forms, form{"POST", enrollPath, false, enrollWith("devices"), "devices", []string{`"a"`, `1`, `{}`, `null`, many(9000, `1`)}},
		form{"POST", enrollPath, false, `{"enrollment_token":"t","api_key":"k","hostname":"h","devices":[],"agent_id":%s}`, "", noText})

	w := newWorld(t, unlimited, perHour(10_000))
	key := w.makeKey("ci")
	token, runner := w.provision(key, "sdr-0")
	w.want("enrol", w.enroll(token, runner, "sdr-0"), 201, "")
	before := w.dump(kinds...)
	for _, f := range forms {
		bearer := key
		if f.admin {
			bearer = w.admin
		}
		for _, bad := range f.bad {
			a := w.call(f.method, f.path, bearer, fmt.Sprintf(f.body, bad))
			syntax := strings.Contains(bad, `\ud800`) && strings.HasPrefix(a.field("error"), "the body is not one JSON object")
			if a.status != 400 || a.field("code") != "invalid_request" || !strings.Contains(a.field("error"), f.field) && !syntax || len(a.body) > 400 {
				t.Errorf("%s %s = %.50s: got %d %s", f.path, f.field, bad, a.status, a.body)
			}
		}
	}
	for _, list := range []string{"/api/runners", "/api/agents", "/api/enrollment/tokens"} {
		for _, bad := range []string{"limit=0", "limit=-1", "limit=1001", "limit=a", "limit=1.5", "limit=99999999999999999999", "limit=%00", "limit=+1+", "after=%00", "after=a%0ab", "after=%ff", "after=" + strings.Repeat("x", 256)} {
			field, _, _ := strings.Cut(bad, "=")
			if a := w.call("GET", list+"?"+bad, w.admin, ""); a.status != 400 || !strings.Contains(a.field("error"), field) {
				t.Errorf("%s?%.30s: got %d %s", list, bad, a.status, a.body)
			}
		}
	}
	w.unchanged("refused", before)
}

// Row "expires_hours" and weakness 8: a number above zero, up to the policy's.
func TestExpiresHours(t *testing.T) {
	w := newWorld(t, func(s *setup) {
		s.config.Limits = provisioning.Limits{Lifetime: 2 * time.Hour, MaxLifetime: 48 * time.Hour}
	})
	key := w.makeKey("ci")
	for _, tt := range []struct{ hours, want string }{
		{"null", "2026-03-01T14:00:00Z"}, {"1", "2026-03-01T13:00:00Z"}, {"0.25", "2026-03-01T12:15:00Z"}, {"48", "2026-03-03T12:00:00Z"}, {"1e0", "2026-03-01T13:00:00Z"},
		{"0.0005", "2026-03-01T12:00:01Z"}, {"0.0000001", "2026-03-01T12:00:01Z"}, {"48.001", ""}, {"49", ""}, {"0", ""},
	} {
		for path, bearer := range map[string]string{provisionPath: key, "/api/enrollment/token": w.admin} {
			a := w.call("POST", path, bearer, `{"runner_name":"sdr-1","expires_hours":`+tt.hours+`}`)
			if tt.want == "" {
				w.want(tt.hours, a, 400, "expires_hours: want a number above 0, at most 48")
			} else if a.status != 201 || a.field("expires_at") != tt.want {
				t.Errorf("%s: got %d %s, want %s", tt.hours, a.status, a.body, tt.want)
			}
		}
	}
	a := w.call("POST", provisionPath, key, `{"runner_name":"sdr-2","expires_hours":0.0005}`)
	w.clock.Advance(time.Second)
	w.want("after its second", w.enroll(a.field("enrollment_token"), a.field("api_key"), "sdr-2"), 401, badToken)
}

// PRV-29: admin and provision calls take no member that they do not know, calls
// of runners pass over it; nobody takes what two parsers read differently.
func TestPRV29StrictJSON(t *testing.T) {
	w := newWorld(t, unlimited)
	key := w.makeKey("ci")
	deep := strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000)
	before := w.dump(kinds...)
	for _, c := range []struct {
		path, bearer, body string
		unknown            int // the status of a body with an unknown member
	}{
		{keysPath, w.admin, `"key_id":"new"`, 400},
		{keysPath + "/ci/toggle", w.admin, `"enabled":false`, 400},
		{keysPath + "/ci/rotate", w.admin, `"overlap_hours":1`, 400},
		{provisionPath, key, named("sdr-1")[1 : len(named("sdr-1"))-1], 400},
		{"/api/enrollment/token", w.admin, `"runner_name":"sdr-1"`, 400},
		{enrollPath, "", strings.Trim(enrollment("t", "k", "r"), "{}"), 401},
	} {
		for _, tt := range []struct {
			name, body string
			status     int
		}{
			{"an unknown member", `{` + c.body + `,"x":1}`, c.unknown},
			{"another case", `{` + c.body + `,"KEY_ID":1}`, c.unknown},
			{"a member twice", `{` + c.body + `,` + c.body + `}`, 400},
			{"an unknown member twice", `{` + c.body + `,"x":1,"x":1}`, 400},
			{"two objects", `{` + c.body + `}{}`, 400},
			{"a list", `[{` + c.body + `}]`, 400},
			{"null", `null`, 400},
			{"a byte order mark", "\ufeff{" + c.body + `}`, 400},
			{"UTF-16", "\xff\xfe{\x00}\x00", 400},
			{"no UTF-8", `{` + c.body + ",\"x\":\"\xff\"}", 400},
			{"deep", `{` + c.body + `,"x":` + deep + `}`, 400},
			{"10 MiB", `{` + c.body + `,"x":"` + strings.Repeat("x", 10<<20) + `"}`, 413},
			{"a comma more", `{` + c.body + `,}`, 400},
			{"a comment", `{` + c.body + `/**/}`, 400},
			{"cut off", `{` + c.body, 400},
		} {
			if a := w.call("POST", c.path, c.bearer, tt.body); a.status != tt.status {
				t.Errorf("%s: %s: got %d %.200s, want %d", c.path, tt.name, a.status, a.body, tt.status)
			}
		}
	}
	w.unchanged("refused", before)
	w.want("as a form, by a key", w.call("POST", provisionPath, key, named("sdr-1"), "Content-Type", "application/x-www-form-urlencoded"), 201, "")
	w.want("compressed", w.call("POST", provisionPath, key, named("sdr-1"), "Content-Encoding", "gzip"), 400, "the body must not be compressed")
}

// A token is deleted by its text, or by how it begins as the list has it, and by
// nothing else.
func TestDeleteToken(t *testing.T) {
	w := newWorld(t)
	key := w.makeKey("ci")
	token, apiKey := w.provision(key, "sdr-1")
	tokenID, _ := w.host.Keys.ID(token)
	otherKind, err := w.host.Keys.Derive("runner", tokenID, make([]byte, 36))
	if err != nil {
		t.Fatal(err)
	}
	before := w.dump(kinds...)
	for _, bad := range []string{
		otherKind, "ck_enroll_", "ck_enroll_%20", "%2e%2e", token[10:22], token[:21], token[:23], strings.Replace(token, "ck_enroll", "ck_runner", 1), apiKey, key, "ck_enroll_" + apiKey[10:22],
		strings.Replace(token[:22], "ck_enroll", "ck_runner", 1), "ck_enroll_%2F%2F%2F%2F%2F%2F%2F%2F%2F%2F%2F%2F", strings.Repeat("x", 5000),
	} {
		w.want(bad, w.call("DELETE", "/api/enrollment/token/"+bad, w.admin, ""), 404, "Token not found")
	}
	w.unchanged("refused", before)
	w.want("by how it begins", w.call("DELETE", "/api/enrollment/token/"+token[:22], w.admin, ""), 200, "")
	w.want("again", w.call("DELETE", "/api/enrollment/token/"+token[:22], w.admin, ""), 404, "Token not found")
	w.want("again, whole", w.call("DELETE", "/api/enrollment/token/"+token, w.admin, ""), 404, "Token not found")
	if left := w.dump(provisioning.KindEnrollment, provisioning.KindPending, provisioning.KindMade); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	older, _ := w.provision(key, "sdr-1")
	newer, newerKey := w.provision(key, "sdr-1")
	w.want("one that was replaced", w.call("DELETE", "/api/enrollment/token/"+older, w.admin, ""), 404, "Token not found")
	w.want("the other is still good", w.enroll(newer, newerKey, "sdr-1"), 201, "")
}

// A device's name is a text or a number, and stays what it is.
func TestDeviceNames(t *testing.T) {
	for _, name := range []string{`0`, `17`, `-3`, `"a"`, `"017"`, `"+1"`, `"1.5"`, `""`} {
		var d provisioning.Device
		if err := json.Unmarshal([]byte(`{"name":`+name+`,"model":"m"}`), &d); err != nil {
			t.Fatal(err)
		}
		if got, err := json.Marshal(d); err != nil || string(got) != `{"name":`+name+`,"model":"m"}` {
			t.Errorf("%s: got %s, %v", name, got, err)
		}
	}
}
