package keywright_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
)

// secretWords are what the names of secrets, and of what is computed from
// them, are made of here.
var secretWords = []string{
	"checksum", "digest", "entropy", "hash", "hmac", "mac", "password", "pepper", "secret", "sig", "signature", "sum", "text", "token",
}

// leakyCalls compare in a time that depends on what they compare.
var leakyCalls = []string{
	"bytes.Compare", "bytes.Equal", "bytes.HasPrefix", "bytes.HasSuffix", "reflect.DeepEqual", "slices.Compare", "slices.Equal",
	"strings.Compare", "strings.EqualFold",
}

// publicNames are constants that say of what type a token is, or how it begins.
var publicNames = []string{"AgentToken", "AuthToken", "PersonToken", "ResourceToken", "kindToken", "secretPrefix"}

// comparisons are the findings that are right as they are, with the reason.
var comparisons = map[string]string{
	"internal/token/token.go: string(sum[:]) != text[end:]": "the checksum is no secret: anybody can compute it",
	"internal/token/token.go: text[sep] != '_'":             "the separator is no secret",
	"exchange/glob.go: pattern == text":                     "claims are no secrets",
	"exchange/glob.go: pattern[0] != text[0]":               "claims are no secrets",
	"exchange/index.go: r.preset.kinds[claim] == text":      "the type of a claim",
	"internal/token/hash.go: got.Pepper != h.pepper":        "the ids of peppers",

	"agentauth/selfissued.go: t.text == refused.As.Token": "tokens of its own",
	"agentauth/transportorigin.go: o.Token == p.Token":    "tokens of the client itself",
	"internal/httpsig/sign.go: d[0].text != member":       "what the client itself will send",
	"internal/egress/freshness.go: text[0] == '\"'":       "a field of an answer",
	"internal/egress/freshness.go: text[n-1] == '\"'":     "a field of an answer",
	"keystore/key.go: opts.HashFunc() != crypto.SHA256":   "the name of a hash function",
	"keystore/wire.go: bytes.Equal(addSum(open), text)":   "a file with itself, to notice damage",
	"keystore/wire.go: bytes.Equal(again, text)":          "a file with itself, to notice damage",
	"keystore/wiresealed.go: bytes.Equal(again, text)":    "a file with itself, to notice damage",

	"provisioning/apptoken/expiry.go: text == \"null\"":           "a member of a request",
	"provisioning/apptoken/expiry.go: text == `\"never\"`":        "a member of a request",
	"provisioning/apptoken/expiry.go: text[0] == '\"'":            "a member of a request",
	"provisioning/apptoken/uuid.go: id.String() == text":          "a token's public id",
	"provisioning/apptoken/uuid.go: id.cursor() != text":          "a token's public id",
	"provisioning/binding.go: normalMAC(mac) != normalMAC(r.MAC)": "the address of a network card",
}

// XC-11: secrets, hashes and MACs are compared in constant time only.
func TestSecretsAreComparedInConstantTime(t *testing.T) {
	used := make(map[string]bool)
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || isModule(name)) {
				return fs.SkipDir
			}
			return nil
		case !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		src, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, f := range leakyComparisons(t, string(src)) {
			if f = filepath.ToSlash(name) + ": " + f; comparisons[f] == "" {
				t.Errorf("%s: use crypto/subtle, or say in this test why not", f)
			}
			used[f] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for f := range comparisons {
		if !used[f] {
			t.Errorf("allowed, but not there any more: %s", f)
		}
	}
}

func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// leakyComparisons returns the expressions in src that compare a secret, going
// by its name, in a time that depends on it.
func leakyComparisons(t *testing.T, src string) []string {
	t.Helper()
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, "", src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	report := func(n ast.Node) {
		found = append(found, src[files.Position(n.Pos()).Offset:files.Position(n.End()).Offset])
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BinaryExpr:
			if (n.Op == token.EQL || n.Op == token.NEQ) && (secret(n.X) || secret(n.Y)) && !trivial(n.X) && !trivial(n.Y) {
				report(n)
			}
		case *ast.SwitchStmt:
			if n.Tag != nil && secret(n.Tag) {
				report(n.Tag)
			}
		case *ast.CallExpr:
			if slices.Contains(leakyCalls, fmt.Sprint(callee(n))) && slices.ContainsFunc(n.Args, secret) {
				report(n)
			}
		}
		return true
	})
	return found
}

func callee(c *ast.CallExpr) string {
	if s, ok := c.Fun.(*ast.SelectorExpr); ok {
		if x, ok := s.X.(*ast.Ident); ok {
			return x.Name + "." + s.Sel.Name
		}
	}
	return ""
}

// trivial reports whether to compare with e only asks if there is something:
// nil, the empty string or a number; or of which type something is.
func trivial(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "nil" || slices.Contains(publicNames, e.Name)
	case *ast.BasicLit:
		return e.Kind == token.INT || e.Value == `""`
	}
	return false
}

// secret reports whether e bears the name of a secret, or is cut or computed
// from what does. The length of a secret is none.
func secret(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return secretName(e.Name)
	case *ast.SelectorExpr:
		return secretName(e.Sel.Name)
	case *ast.IndexExpr:
		return secret(e.X)
	case *ast.SliceExpr:
		return secret(e.X)
	case *ast.StarExpr:
		return secret(e.X)
	case *ast.ParenExpr:
		return secret(e.X)
	case *ast.UnaryExpr:
		return secret(e.X)
	case *ast.BinaryExpr:
		return e.Op == token.ADD && (secret(e.X) || secret(e.Y))
	case *ast.CallExpr:
		if name, ok := e.Fun.(*ast.Ident); ok && (name.Name == "len" || name.Name == "cap") {
			return false
		}
		if s, ok := e.Fun.(*ast.SelectorExpr); ok && secret(s) {
			return true
		}
		return slices.ContainsFunc(e.Args, secret)
	}
	return false
}

func secretName(name string) bool {
	if strings.HasPrefix(name, "Code") {
		return false // the codes of errors, such as CodeInvalidToken
	}
	return slices.ContainsFunc(words(name), func(w string) bool { return slices.Contains(secretWords, strings.TrimSuffix(w, "s")) })
}

// words splits a name where a capital or a digit follows, and puts it in lower case.
func words(name string) []string {
	var found []string
	begin := 0
	runes := []rune(name)
	for i, r := range runes {
		if i > 0 && !unicode.IsLower(r) && unicode.IsLower(runes[i-1]) {
			found = append(found, strings.ToLower(string(runes[begin:i])))
			begin = i
		}
	}
	return append(found, strings.ToLower(string(runes[begin:])))
}

// The test above is worth what it notices.
func TestLeakyComparisonsAreNoticed(t *testing.T) {
	const src = `package p

import "bytes"

func f(secret, id string, wantMAC, sum []byte, c struct{ Hash []byte; Method string }, h hasher, peppers []string) bool {
	_ = secret == id
	_ = id != secret[1:]
	_ = bytes.Equal(wantMAC, sum)
	_ = bytes.Equal(c.Hash, nil)
	_ = string(sum) == id
	_ = *&secret == id
	_ = id == hex.EncodeToString(h.Sum(nil))
	_ = sha256.Sum256(nil) == x
	_ = peppers[0] == id
	_ = strings.Compare(id, apiSecret)
	switch secret {
	}
	_ = c.Method == id
	_ = len(secret) == 3
	_ = secret == "" || sum == nil
	_ = e.Code == CodeInvalidToken
	_ = summary == id
	_ = subtle.ConstantTimeCompare(sum, wantMAC) == 1
	return hmac.Equal(sum, wantMAC)
}
`
	want := []string{
		"secret == id", "id != secret[1:]", "bytes.Equal(wantMAC, sum)", "bytes.Equal(c.Hash, nil)", "string(sum) == id", "*&secret == id",
		"id == hex.EncodeToString(h.Sum(nil))", "sha256.Sum256(nil) == x", "peppers[0] == id", "strings.Compare(id, apiSecret)", "secret",
	}
	if diff := cmp.Diff(want, leakyComparisons(t, src)); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}
