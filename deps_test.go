package keywright_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/keywright/keywright"

// A room is a folder of the project, with those below it that are no rooms
// themselves. Its non-test code imports the standard library, the rooms and
// the other modules listed here.
type room struct {
	rooms []string
	libs  []string // prefixes of import paths; "*": any
}

// What any mechanism may use, and what anybody outside may.
var (
	workshops = []string{
		"internal/agent", "internal/apicall", "internal/authorization", "internal/egress", "internal/endpoint", "internal/httpsig",
		"internal/jose", "internal/limit", "internal/oidc", "internal/strictjson", "internal/token",
	}
	public    = []string{"", "agentauth", "bootstrap", "exchange", "keystore", "keystore/pkcs11store", "provisioning", "provisioning/ldapuser", "store", "store/storetest", "store/sqlstore"}
	mechanism = room{rooms: append([]string{"", "store"}, workshops...)}
)

// rooms is "who may import whom" of the architecture. A folder that is not
// listed has no place yet: give it one here, on purpose.
var rooms = map[string]room{
	"":                       {rooms: []string{"store", "internal/token", "internal/authorization"}},
	"agentauth":              {rooms: append([]string{"keystore"}, mechanism.rooms...)},
	"bootstrap":              mechanism,
	"exchange":               mechanism,
	"provisioning":           {rooms: mechanism.rooms, libs: []string{"go.yaml.in/yaml/v3", "golang.org/x/crypto"}},
	"keystore":               {rooms: []string{"internal/jose", "internal/strictjson"}, libs: []string{"golang.org/x/crypto"}},
	"store":                  {},
	"store/storetest":        {rooms: []string{"store"}},
	"internal/agent":         {rooms: []string{"", "store", "internal/jose"}},
	"internal/apicall":       {rooms: []string{"internal/strictjson"}},
	"internal/authorization": {},
	"internal/egress":        {rooms: []string{"internal/jose", "internal/strictjson"}},
	"internal/endpoint":      {rooms: []string{"", "store", "internal/authorization", "internal/strictjson"}},
	"internal/limit":         {rooms: []string{"store"}, libs: []string{"golang.org/x/time"}},
	"internal/httpsig":       {rooms: []string{"internal/jose"}, libs: []string{"github.com/dunglas/httpsfv"}},
	"internal/jose":          {rooms: []string{"internal/strictjson"}, libs: []string{"github.com/lestrrat-go/jwx/v2"}},
	"internal/oidc":          {rooms: []string{"", "internal/egress", "internal/jose", "internal/strictjson"}},
	"internal/pgtest":        {},
	"internal/strictjson":    {},
	"internal/token":         {libs: []string{"golang.org/x/crypto"}},

	// Modules of their own. A store chooses no driver for its host.
	"store/sqlstore":        {rooms: []string{"store"}},
	"keystore/pkcs11store":  {rooms: []string{"keystore"}, libs: []string{"github.com/miekg/pkcs11"}},
	"provisioning/ldapuser": {rooms: []string{""}, libs: []string{"github.com/go-ldap/ldap/v3", "github.com/go-asn1-ber/asn1-ber"}},
	"examples":              {rooms: public, libs: []string{"*"}},
	"internal/peerbench":    {libs: []string{"*"}},
}

// Tests may import any room, and these.
var testLibs = []string{"github.com/google/go-cmp", "github.com/yaronf/httpsign"}

// required are the direct requirements that the core's go.mod may have. The
// YAML encoder is one of the last two.
var required = []string{
	"github.com/lestrrat-go/jwx/v2", "golang.org/x/crypto", "github.com/dunglas/httpsfv", "golang.org/x/time",
	"github.com/google/go-cmp", "github.com/yaronf/httpsign",
	"go.yaml.in/yaml/v3", "github.com/goccy/go-yaml",
}

// An edge is one import in one file.
type edge struct{ file, imports string }

func TestLayers(t *testing.T) {
	edges := sourceTree(t)
	if len(edges) < 100 {
		t.Fatalf("only %d imports found: is this the root of the project?", len(edges))
	}
	for _, c := range crossings(edges) {
		t.Error(c)
	}
}

func TestRequirements(t *testing.T) {
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range surprises(string(mod)) {
		t.Errorf("go.mod requires %s: a new requirement is a decision of design", m)
	}
}

// sourceTree reads the imports of every Go file in every module of the project.
func sourceTree(t *testing.T) []edge {
	t.Helper()
	var edges []edge
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			edges = append(edges, edge{filepath.ToSlash(name), imported})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return edges
}

// crossings describes the edges that the rooms do not allow.
func crossings(edges []edge) []string {
	var found []string
	for _, e := range edges {
		from, known := roomOf(path.Dir(e.file))
		test := strings.HasSuffix(e.file, "_test.go")
		r := rooms[from]
		switch to, ours := folder(e.imports); {
		case !known:
			found = append(found, fmt.Sprintf("%s stands in no room", e.file))
		case ours:
			target, known := roomOf(to)
			if !known || !test && target != from && !slices.Contains(r.rooms, target) {
				found = append(found, fmt.Sprintf("%s imports %s: not from room %q", e.file, e.imports, from))
			}
		case standard(e.imports), within(e.imports, r.libs), test && (within(e.imports, testLibs) || driver(from, e.imports)):
		default:
			found = append(found, fmt.Sprintf("%s imports %s: not from room %q", e.file, e.imports, from))
		}
	}
	return found
}

// driver reports whether a test of a store brings the database that it runs on.
func driver(from, imported string) bool {
	return from == "store/sqlstore" && within(imported, []string{"github.com/jackc/pgx/v5", "modernc.org/sqlite", "github.com/mattn/go-sqlite3", "github.com/ncruces/go-sqlite3"})
}

// roomOf finds the room of a folder. The root is a room without the folders below it.
func roomOf(dir string) (string, bool) {
	if dir == "." || dir == "" {
		return "", true
	}
	for name := dir; name != "."; name = path.Dir(name) {
		if _, ok := rooms[name]; ok {
			return name, true
		}
	}
	return "", false
}

// folder returns where a package of this project stands.
func folder(imported string) (string, bool) {
	rest, ours := strings.CutPrefix(imported, module)
	return strings.TrimPrefix(rest, "/"), ours && (rest == "" || rest[0] == '/')
}

func standard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

func within(imported string, libs []string) bool {
	return slices.ContainsFunc(libs, func(lib string) bool {
		return lib == "*" || imported == lib || strings.HasPrefix(imported, lib+"/")
	})
}

// surprises returns the direct requirements in a go.mod that are not allowed.
func surprises(mod string) []string {
	var found []string
	block := false
	for line := range strings.Lines(mod) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
			continue
		case fields[0] == "require" && len(fields) > 1 && fields[1] == "(":
			block = true
			continue
		case fields[0] == ")":
			block = false
			continue
		case fields[0] == "require":
			fields = fields[1:]
		case !block:
			continue
		}
		if !strings.Contains(line, "// indirect") && !strings.HasPrefix(fields[0], "//") && !slices.Contains(required, fields[0]) {
			found = append(found, fields[0])
		}
	}
	return found
}

// The test above is worth what it notices.
func TestCrossingsAreNoticed(t *testing.T) {
	for _, tt := range []struct {
		file, imports string
		allowed       bool
	}{
		{"keys.go", module + "/store", true},
		{"keys.go", "net/http", true},
		{"keys.go", module + "/internal/jose", false},
		{"keys.go", module + "/bootstrap", false},
		{"keys.go", "golang.org/x/crypto/bcrypt", false},
		{"keys.go", "github.com/google/go-cmp/cmp", false},
		{"keys_test.go", "github.com/google/go-cmp/cmp", true},
		{"keys_test.go", module + "/bootstrap", true},
		{"keys_test.go", "github.com/stretchr/testify", false},
		{"store/op.go", module, false},
		{"store/op.go", module + "/internal/token", false},
		{"store/storetest/run.go", module + "/store", true},
		{"store/sqlstore/store.go", "modernc.org/sqlite", false},
		{"store/sqlstore/store_test.go", "modernc.org/sqlite", true},
		{"store/store_test.go", "modernc.org/sqlite", false},
		{"bootstrap/claim.go", module + "/internal/jose", true},
		{"bootstrap/claim.go", module + "/exchange", false},
		{"bootstrap/claim.go", module + "/internal/pgtest", false},
		{"bootstrap/claim.go", "github.com/lestrrat-go/jwx/v2/jwt", false},
		{"bootstrap/deeper/claim.go", module + "/exchange", false},
		{"internal/jose/jwx.go", "github.com/lestrrat-go/jwx/v2/jws", true},
		{"internal/jose/jwx.go", "github.com/lestrrat-go/jwx/v3/jws", false},
		{"internal/jose/jwx.go", module, false},
		{"internal/authorization/a.go", module + "/internal/token", false},
		{"internal/newcomer/x.go", "fmt", false},
		{"examples/server/main.go", "github.com/jackc/pgx/v5", true},
		{"examples/server/main.go", module + "/internal/token", false},
		{"examples/server/main.go", module + "/internal/newcomer", false},
		{"keys.go", module + "2/store", false}, // another module
	} {
		got := crossings([]edge{{tt.file, tt.imports}})
		if allowed := len(got) == 0; allowed != tt.allowed {
			t.Errorf("%s imports %s: allowed %v, want %v", tt.file, tt.imports, allowed, tt.allowed)
		}
	}
}

func TestSurprisesAreNoticed(t *testing.T) {
	const mod = `module m

require github.com/google/go-cmp v1
require example.com/single v1

require (
	golang.org/x/crypto v1
	// example.com/comment v1
	example.com/block v1
	example.com/indirect v1 // indirect
)

replace example.com/replaced => ../x
`
	if diff := cmp.Diff([]string{"example.com/single", "example.com/block"}, surprises(mod)); diff != "" {
		t.Errorf("surprises (-want +got):\n%s", diff)
	}
}
