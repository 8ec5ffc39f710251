package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Each rule of the checklist is cited by a test of the module.
func TestChecklistIsProven(t *testing.T) {
	root, err := moduleRoot(".")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = report(&out, root, false)
	if err != nil {
		t.Errorf("%v:\n%s", err, out.String())
	}
}

func TestCited(t *testing.T) {
	for comment, want := range map[string]string{
		"CIBA checklist A6":                            "A6",
		"CIBA checklist A6, A7; threats B34":           "A6 A7",
		"CIBA checklist A6, A7 and\nU1. And more.":     "A6 A7 U1",
		"RFC 1; CIBA\nchecklist A6: so.":               "A6",
		"CIBA checklist A6. The CIBA checklist A7":     "A6 A7",
		"CIBA checklist A6, and more":                  "A6",
		"what a checklist is for":                      "",
		"CIBA checklist A6 to A8":                      "not in order",
		"CIBA checklist A6–A8":                         "not in order",
		"CIBA checklist A6-A8":                         "not in order",
		"the CIBA checklist says so":                   "not in order",
		"CIBA checklist A6, A10 to\nA12, A15":          "not in order",
		"CIBA checklist A123":                          "not in order",
		"CIBA checklist X1; CIBA checklist X2 to X4":   "not in order",
		"CIBA checklist A6; RFC 7009 sections 2 to 3.": "A6",
	} {
		ids, ok := cited(comment)
		got := strings.Join(ids, " ")
		if !ok {
			got = "not in order"
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", comment, got, want)
		}
	}
}

func TestScan(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"a_test.go": "package a\n\n// CIBA checklist A1\nfunc TestA(t *testing.T) {\n\t// CIBA checklist A2\n}\n\n" +
			"// CIBA checklist A3 to A7\nfunc helper() {}\n\n// CIBA checklist A4 to A6\nfunc TestB() {}\n",
		"b.go":                 "package a\n\n// CIBA checklist A7\nfunc TestC() {}\n",
		"testdata/c_test.go":   "package a\n\n// CIBA checklist A8\nfunc TestD() {}\n",
		".hidden/d_test.go":    "package a\n\n// CIBA checklist A9\nfunc TestE() {}\n",
		"below/this/e_test.go": "package a\n\n// CIBA checklist A2\nfunc FuzzF() {}\n",
	} {
		path := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(path), 0o700)
		if err != nil {
			t.Fatal(err)
		}
		err = os.WriteFile(path, []byte(text), 0o600)
		if err != nil {
			t.Fatal(err)
		}
	}
	found, err := scan(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(found.tests) != 2 || !slices.Equal(found.tests["A1"], []string{"a_test.go TestA"}) ||
		!slices.Equal(found.tests["A2"], []string{"a_test.go TestA", "below/this/e_test.go FuzzF"}) {
		t.Errorf("tests: %v", found.tests)
	}
	problems := []string{"a_test.go:11: rules are not cited one by one"}
	if !slices.Equal(found.problems, problems) {
		t.Errorf("problems: %v", found.problems)
	}
	var out bytes.Buffer
	err = report(&out, root, true)
	if !errors.Is(err, errNotProven) || !strings.Contains(out.String(), "F8 is cited by no test: ") {
		t.Errorf("%v:\n%s", err, out.String())
	}
}

func TestParseRules(t *testing.T) {
	for _, bad := range []string{"A1", "a1 x", "A1 x\nA1 y", "A123 x"} {
		_, err := parseRules(bad)
		if err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
