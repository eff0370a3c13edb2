package strictjson_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/internal/strictjson"
)

func TestObjectRefuses(t *testing.T) {
	tests := []struct {
		name, text string
	}{
		{"nothing", ``},
		{"no object", `[]`},
		{"a string", `"a"`},
		{"an object that begins as a list", `[}`},
		{"an object that begins with another byte", `x}`},
		{"null", `null`},
		{"an unfinished object", `{`},
		{"an unfinished member", `{"a"`},
		{"an unfinished value", `{"a":`},
		{"an unfinished string", `{"a":"`},
		{"an unfinished escape", `{"a":"\`},
		{"an unfinished hexadecimal escape", `{"a":"\u12`},
		{"an unfinished array", `{"a":[1`},
		{"a name without quotes", `{a:1}`},
		{"a name in single quotes", `{'a':1}`},
		{"a number as a name", `{1:1}`},
		{"a name with one quote", `{a":1}`},
		{"no colon", `{"a" 1}`},
		{"no comma", `{"a":1 "b":2}`},
		{"a comma too many", `{"a":1,}`},
		{"a comma first", `{,"a":1}`},
		{"a comma too many in an array", `{"a":[1,]}`},
		{"a comma first in an array", `{"a":[,1]}`},
		{"no comma in an array", `{"a":[1 2]}`},
		{"the wrong bracket", `{"a":[1}}`},
		{"a second object", `{}{}`},
		{"a byte behind the end", `{}x`},
		{"NUL behind the end", "{}\x00"},
		{"NUL before", "\x00{}"},
		{"a byte order mark", "\ufeff{}"},
		{"a form feed as space", "{\f}"},
		{"a no-break space", "{\u00a0}"},
		{"a comment", `{/**/}`},
		{"a name twice", `{"a":1,"a":1}`},
		{"a name twice, once escaped", `{"a":1,"\u0061":1}`},
		{"a name twice, a surrogate pair", `{"😀":1,"\ud83d\ude00":1}`},
		{"a name twice deep down", `{"a":[0,{"b":{"c":1,"c":2}}]}`},
		{"the empty name twice", `{"":1,"":2}`},
		{"the ninth name again", `{"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"9":0,"9":0}`},
		{"the first of many names again", `{"1":0,"2":0,"3":0,"4":0,"5":0,"6":0,"7":0,"8":0,"9":0,"1":0}`},
		{"bytes that are not UTF-8", "{\"a\":\"\xff\"}"},
		{"an overlong NUL", "{\"a\":\"\xc0\x80\"}"},
		{"a surrogate in UTF-8", "{\"a\":\"\xed\xa0\x80\"}"},
		{"a lone high surrogate", `{"a":"\ud800"}`},
		{"a lone low surrogate", `{"a":"\udc00"}`},
		{"two high surrogates", `{"a":"\ud800\ud800"}`},
		{"surrogates the wrong way round", `{"a":"\udc00\ud800"}`},
		{"a high surrogate and a letter", `{"a":"\ud800\u0061"}`},
		{"a high surrogate and something like a low one", `{"a":"\ud800xydc00"}`},
		{"a lone surrogate in a name", `{"\ud800":1}`},
		{"a newline in a string", "{\"a\":\"\n\"}"},
		{"NUL in a string", "{\"a\":\"\x00\"}"},
		{"an unknown escape", `{"a":"\x41"}`},
		{"an escaped newline", "{\"a\":\"\\\n\"}"},
		{"three hexadecimal digits", `{"a":"\u123"}`},
		{"a sign among hexadecimal digits", `{"a":"\u+123"}`},
		{"an underscore among hexadecimal digits", `{"a":"\u1_23"}`},
		{"a leading zero", `{"a":01}`},
		{"a leading zero behind minus", `{"a":-01}`},
		{"a plus", `{"a":+1}`},
		{"a minus alone", `{"a":-}`},
		{"a fraction without digits", `{"a":1.}`},
		{"a fraction alone", `{"a":.5}`},
		{"an exponent without digits", `{"a":1e}`},
		{"an exponent with only a sign", `{"a":1e+}`},
		{"a hexadecimal number", `{"a":0x10}`},
		{"NaN", `{"a":NaN}`},
		{"TRUE", `{"a":TRUE}`},
		{"half of true", `{"a":tru}`},
		{"a longer true", `{"a":truee}`},
		{"true with another letter", `{"a":trux}`},
		{"null with another letter", `{"a":nulL}`},
		{"one level too many", `{"a":` + strings.Repeat("[", strictjson.MaxDepth) + strings.Repeat("]", strictjson.MaxDepth) + `}`},
		{"a hundred thousand levels", `{"a":` + strings.Repeat("[", 100_000)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if m, err := strictjson.Object(slices.Clip([]byte(tt.text))); err == nil {
				t.Errorf("accepted, with the names %q", slices.Collect(m.Names()))
			}
		})
	}
}

func TestObjectAccepts(t *testing.T) {
	deep := strictjson.MaxDepth - 1
	tests := []struct {
		name, text string
		want       []string // names
	}{
		{"nothing in it", `{}`, nil},
		{"space around", " \t\r\n{ } \n", nil},
		{"names that differ in case", `{"a":1,"A":2}`, []string{"a", "A"}},
		{"names that differ in normal form", `{"é":1,"e\u0301":2}`, []string{"é", "e\u0301"}},
		{"a name of a parent", `{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}`, []string{"a", "b"}},
		{"all kinds of values", `{"s":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00","n":-0.5e-10,"t":true,"f":false,"z":null,"o":{},"l":[]}`,
			[]string{"s", "n", "t", "f", "z", "o", "l"}},
		{"the deepest nesting", `{"a":` + strings.Repeat("[", deep) + strings.Repeat("]", deep) + `}`, []string{"a"}},
		{"nesting again and again", `{"a":[` + strings.Repeat(`[[]],{"b":{}},`, 100) + `{}]}`, []string{"a"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := strictjson.Object([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, slices.Collect(m.Names())); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
			if m.Len() != len(tt.want) {
				t.Errorf("Len() = %d, want %d", m.Len(), len(tt.want))
			}
		})
	}
}

func TestNamesMatchExactly(t *testing.T) {
	m := object(t, `{"exp":1,"\u0069ss":"x"}`)
	for _, name := range []string{"Exp", "EXP", "exp ", "", "expi"} {
		if m.Has(name) {
			t.Errorf("Has(%q) although only exp is there", name)
		}
		if _, err := m.Int(name); !errors.Is(err, strictjson.ErrAbsent) {
			t.Errorf("Int(%q): %v, want ErrAbsent", name, err)
		}
	}
	if iss, err := m.String("iss"); iss != "x" || err != nil {
		t.Errorf("String(iss) = %q, %v", iss, err)
	}
	if raw, ok := m.Raw("exp"); string(raw) != "1" || !ok {
		t.Errorf("Raw(exp) = %s, %v", raw, ok)
	}
}

// TestGetters asks every getter for every type of value.
func TestGetters(t *testing.T) {
	m := object(t, `{"string":"a\u0062","empty":"","int":-12,"big":9223372036854775807,"bigger":9223372036854775808,
		"fraction":1.0,"exponent":1e3,"quoted":"12","true":true,"null":null,"object":{"a":1},
		"none":[],"one":["a"],"two":["a","\n"],"mixed":["a",1],"nested":[["a"]]}`)
	getters := map[string]func(string) (any, error){
		"String":  func(n string) (any, error) { return m.String(n) },
		"Int":     func(n string) (any, error) { return m.Int(n) },
		"Bool":    func(n string) (any, error) { return m.Bool(n) },
		"List":    func(n string) (any, error) { return m.List(n) },
		"Strings": func(n string) (any, error) { return m.Strings(n) },
		"Array":   func(n string) (any, error) { v, err := m.Array(n); return len(v), err },
		"Object":  func(n string) (any, error) { v, err := m.Object(n); return v.Len(), err },
	}
	want := map[string]map[string]any{
		"String": {"string": "ab", "empty": "", "quoted": "12"},
		"Int":    {"int": int64(-12), "big": int64(9223372036854775807)},
		"Bool":   {"true": true},
		"List":   {"none": []string{}, "one": []string{"a"}, "two": []string{"a", "\n"}},
		"Strings": {"string": []string{"ab"}, "empty": []string{""}, "quoted": []string{"12"},
			"none": []string{}, "one": []string{"a"}, "two": []string{"a", "\n"}},
		"Array":  {"none": 0, "one": 1, "two": 2, "mixed": 2, "nested": 1},
		"Object": {"object": 1},
	}
	for getter, get := range getters {
		got := map[string]any{}
		for name := range m.Names() {
			v, err := get(name)
			if errors.Is(err, strictjson.ErrAbsent) {
				t.Errorf("%s(%q): a wrong type counts as absent", getter, name)
			}
			if err == nil {
				got[name] = v
			}
		}
		if diff := cmp.Diff(want[getter], got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", getter, diff)
		}
		if _, err := get("missing"); !errors.Is(err, strictjson.ErrAbsent) {
			t.Errorf("%s of a missing member: %v, want ErrAbsent", getter, err)
		}
	}
}

func TestErrorsHoldNoValues(t *testing.T) {
	for _, text := range []string{`{"a":"secret"x}`, `{"a":"secret","a":"secret"}`, `{"a":secret}`, `{"a":"secret\x"}`} {
		_, err := strictjson.Object([]byte(text))
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", text, err)
		}
	}
	m := object(t, `{"a":"secret"}`)
	if _, err := m.Int("a"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Error(err)
	}
	long := strings.Repeat("n", 1000)
	if _, err := strictjson.Object([]byte(`{"` + long + `":1,"` + long + `":1}`)); err == nil || len(err.Error()) > 200 {
		t.Errorf("an error with a name of 1000 bytes: %v", err)
	}
}

// TestManyMembers would take minutes if duplicates were found by comparing all pairs.
func TestManyMembers(t *testing.T) {
	var b strings.Builder
	for i := range 200_000 {
		b.WriteString(`,"`)
		b.WriteString(strings.Repeat("x", 5))
		for n := i; n > 0; n /= 10 {
			b.WriteByte(byte('0' + n%10))
		}
		b.WriteString(`":[]`)
	}
	start := time.Now()
	m := object(t, `{"a":0`+b.String()+`}`)
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("took %v", d)
	}
	if m.Len() != 200_001 {
		t.Errorf("%d members", m.Len())
	}
}

// FuzzObject: what we accept, encoding/json accepts too, with the same values.
func FuzzObject(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1,"b":[true,null,{"c":"\ud83d\ude00\n"}],"d":-1.5e+3}`, "{\"\\u0061\":\"\u00e9\"}",
		`{"a":["x","y"],"b":"z","c":9007199254740993}`, ` { "a" : { } , "b" : [ ] } `, `{"a":1,"A":2}`, `{"a":"\ud800"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := strictjson.Object(data)
		if err != nil {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatalf("encoding/json refuses it: %v", err)
		}
		if m.Len() != len(want) {
			t.Fatalf("%d members, want %d", m.Len(), len(want))
		}
		for name := range m.Names() {
			raw, _ := m.Raw(name)
			if string(raw) != string(want[name]) {
				t.Fatalf("member %q is %q, want %q", name, raw, want[name])
			}
			sameValue(t, m, name, raw)
		}
	})
}

func sameValue(t *testing.T, m strictjson.Members, name string, raw []byte) {
	var text string
	got, err := m.String(name)
	if isString := raw[0] == '"' && json.Unmarshal(raw, &text) == nil; isString != (err == nil) || got != text {
		t.Errorf("String of %s: %q, %v", raw, got, err)
	}
	var n int64
	gotInt, err := m.Int(name)
	if isInt := string(raw) != "null" && json.Unmarshal(raw, &n) == nil; isInt != (err == nil) || isInt && gotInt != n {
		t.Errorf("Int of %s: %d, %v", raw, gotInt, err)
	}
	var list []json.RawMessage
	gotList, err := m.Array(name)
	if isList := raw[0] == '[' && json.Unmarshal(raw, &list) == nil; isList != (err == nil) || len(list) != len(gotList) {
		t.Fatalf("Array of %s: %d, %v", raw, len(gotList), err)
	}
	for i := range list {
		if string(list[i]) != string(gotList[i]) {
			t.Errorf("Array of %s: element %d is %s", raw, i, gotList[i])
		}
	}
	if o, err := m.Object(name); (raw[0] == '{') != (err == nil) {
		t.Errorf("Object of %s: %d, %v", raw, o.Len(), err)
	}
}

func object(t *testing.T, text string) strictjson.Members {
	t.Helper()
	m, err := strictjson.Object([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return m
}
