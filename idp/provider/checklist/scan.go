package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// rule is one line of the checklist.
type rule struct{ id, text string }

var ruleForm = regexp.MustCompile(`^([A-Z][0-9]{1,2}) (\S.*)$`)

// parseRules reads the checklist.
func parseRules(text string) ([]rule, error) {
	var rules []rule
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		m := ruleForm.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("reading checklist: %q is not a rule", line)
		}
		if slices.ContainsFunc(rules, func(r rule) bool { return r.id == m[1] }) {
			return nil, fmt.Errorf("reading checklist: %s is there twice", m[1])
		}
		rules = append(rules, rule{id: m[1], text: m[2]})
	}
	return rules, nil
}

// citations are what the tests of a module cite.
type citations struct {
	tests    map[string][]string // rule id to tests
	problems []string
}

// scan reads all tests of the module at root. Folders that the go command leaves out
// are left out here, too.
func scan(root string) (*citations, error) {
	c := &citations{tests: make(map[string][]string)}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() {
			hidden := strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")
			if path != root && (hidden || name == "testdata" || name == "node_modules") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return c.addFile(path, filepath.ToSlash(file))
	})
	if err != nil {
		return nil, fmt.Errorf("reading tests: %w", err)
	}
	return c, nil
}

// addFile adds the citations of one file.
func (c *citations) addFile(path, name string) error {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	for _, group := range file.Comments {
		ids, ok := cited(group.Text())
		if len(ids) == 0 && ok {
			continue
		}
		test := testOf(file, group)
		if test == "" {
			continue
		}
		if !ok {
			c.problems = append(c.problems, fmt.Sprintf("%s:%d: rules are not cited one by one", name, files.Position(group.Pos()).Line))
			continue
		}
		for _, id := range ids {
			place := name + " " + test
			if !slices.Contains(c.tests[id], place) {
				c.tests[id] = append(c.tests[id], place)
			}
		}
	}
	return nil
}

// citation is the beginning of a citation, and one rule in it.
var (
	citation = regexp.MustCompile(`(?i)\bCIBA\s+checklist\s+`)
	ruleID   = regexp.MustCompile(`^[A-Z][0-9]{1,2}\b`)
	between  = regexp.MustCompile(`^(,\s*|\s+and\s+)`)
	ranged   = regexp.MustCompile(`^(,?\s+(to|through|until)\s|\s*[-–—])`)
)

// cited returns the rules that a comment cites. It reports false for what looks like
// a citation and names no rules one by one: of a range nobody can tell by a look which
// of its rules the test proves.
func cited(comment string) (ids []string, ok bool) {
	for _, at := range citation.FindAllStringIndex(comment, -1) {
		rest := comment[at[1]:]
		for {
			id := ruleID.FindString(rest)
			if id == "" {
				return nil, false
			}
			ids = append(ids, id)
			rest = rest[len(id):]
			if ranged.MatchString(rest) {
				return nil, false
			}
			separator := between.FindString(rest)
			if separator == "" || !ruleID.MatchString(rest[len(separator):]) {
				break
			}
			rest = rest[len(separator):]
		}
	}
	return ids, true
}

// testOf returns the name of the test that a comment belongs to: that it stands above
// or in. What a helper of tests says is no proof, since nobody need call it, and does
// not count.
func testOf(file *ast.File, comment *ast.CommentGroup) string {
	for _, declaration := range file.Decls {
		f, ok := declaration.(*ast.FuncDecl)
		if !ok || f.Recv != nil || comment.Pos() > f.End() {
			continue
		}
		inside := comment.Pos() >= f.Pos()
		if !inside && comment != f.Doc {
			continue
		}
		if strings.HasPrefix(f.Name.Name, "Test") || strings.HasPrefix(f.Name.Name, "Fuzz") {
			return f.Name.Name
		}
		return ""
	}
	return ""
}
