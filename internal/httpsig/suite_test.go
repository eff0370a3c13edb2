package httpsig

import (
	"encoding/base32"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"
	"github.com/google/go-cmp/cmp"
)

// A suiteCase is one of the structured field tests of the HTTP working group.
type suiteCase struct {
	Name     string   `json:"name"`
	Raw      []string `json:"raw"`
	Type     string   `json:"header_type"`
	Expected []any    `json:"expected"`
	MustFail bool     `json:"must_fail"`
	CanFail  bool     `json:"can_fail"`
}

// stricter are the cases that RFC 9651 would have read, and why they are not.
var stricter = map[string]string{
	"binary.json: non-zero pad bits":             "a signature has one spelling",
	"dictionary.json: empty dictionary":          "a field that is there says something",
	"dictionary.json: duplicate key dictionary":  "no name comes twice",
	"key-generated.json: 0x2c in dictionary key": "no name comes twice",
	"large-generated.json: large dictionary":     "1024 members",
}

func TestStructuredFieldSuite(t *testing.T) {
	files, _ := filepath.Glob("../../../shared/vectors/structured-field-tests/*.json")
	if len(files) == 0 {
		t.Skip("the structured field tests are not here")
	}
	ran, lists := 0, 0
	seen := map[string]bool{}
	for _, file := range files {
		for _, c := range suiteCases(t, file) {
			if c.Type == "list" { // no field here is one
				lists++
				continue
			}
			ran++
			name := filepath.Base(file) + ": " + c.Name
			got, err := readSuite(c)
			switch _, on := stricter[name]; {
			case on:
				seen[name] = true
				if err == nil {
					t.Errorf("%s: read %v", name, got)
				}
			case err != nil && !c.MustFail && !c.CanFail:
				t.Errorf("%s: %v", name, err)
			case err == nil && c.MustFail:
				t.Errorf("%s: read %v", name, got)
			case err == nil:
				if d := cmp.Diff(c.Expected, got); d != "" {
					t.Errorf("%s: %s", name, d)
				}
			}
		}
	}
	if len(seen) != len(stricter) {
		t.Errorf("the suite has %d of the %d cases that are refused on purpose", len(seen), len(stricter))
	}
	t.Logf("%d cases, %d of them refused on purpose; %d are lists", ran, len(seen), lists)
}

func suiteCases(t *testing.T, file string) (cases []suiteCase) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := json.NewDecoder(f)
	d.UseNumber()
	if err := d.Decode(&cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

// readSuite reads a case as a field, and an item as the only member of one.
func readSuite(c suiteCase) ([]any, error) {
	if c.Type != "item" {
		d, err := readField(http.Header{"X": c.Raw}, "X", 1<<20)
		members := []any{}
		for _, m := range d {
			members = append(members, []any{m.name, plainMember(m)})
		}
		return members, err
	}
	item := strings.Trim(strings.Join(c.Raw, ", "), " ")
	d, err := readField(http.Header{"X": {"a=" + item}}, "X", 1<<20)
	if err != nil {
		return nil, err
	}
	if _, ok := d[0].value.octets(); d[0].text != item || d[0].isList() || d[0].value.kind == kindBytes && !ok {
		return nil, errSyntax
	}
	return plainMember(d[0]), nil
}

func plainMember(m member) []any {
	if !m.isList() {
		return []any{plainValue(m.value), plainParams(m.params)}
	}
	items := []any{}
	for _, i := range m.items {
		items = append(items, []any{plainValue(i.value), []any{}}) // parameters of items are not kept
	}
	return []any{items, plainParams(m.params)}
}

func plainParams(ps params) []any {
	list := []any{}
	for _, p := range ps {
		list = append(list, []any{p.name, plainValue(p.value)})
	}
	return list
}

// plainValue writes a value as the suite does.
func plainValue(v value) any {
	typed := func(name string, value any) any { return map[string]any{"__type": name, "value": value} }
	switch v.kind {
	case kindString:
		s, _ := v.str()
		return s
	case kindToken:
		return typed("token", v.text)
	case kindInteger:
		n, _ := v.integer()
		return json.Number(strconv.FormatInt(n, 10))
	case kindBoolean:
		return v.text == "?1"
	case kindBytes:
		b, _ := v.octets()
		return typed("binary", base32.StdEncoding.EncodeToString(b))
	}
	item, err := httpsfv.UnmarshalItem([]string{v.text})
	if err != nil {
		return err
	}
	switch x := item.Value.(type) {
	case time.Time:
		return typed("date", json.Number(strconv.FormatInt(x.Unix(), 10)))
	case httpsfv.DisplayString:
		return typed("displaystring", string(x))
	}
	text, _ := httpsfv.Marshal(item)
	return json.Number(text)
}
