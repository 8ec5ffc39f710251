// Command checklist tells which rules of the project's CIBA checklist are proven by
// no test. A test proves a rule if it would fail when the rule is broken, and says so
// in a comment:
//
//	// CIBA checklist A6, A7
//
// Run it anywhere in the module:
//
//	go run ./idp/provider/checklist [-v]
//
// It prints the rules that no test cites, and citations that are not in order, and
// then exits with status 1. With -v it prints every rule with the tests that cite it.
package main

import (
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// rulesFile is the checklist, one rule a line.
//
//go:embed testdata/checklist.txt
var rulesFile string

// errNotProven is what the command ends with if there is something to complain about.
var errNotProven = errors.New("the checklist is not proven")

func main() {
	verbose := flag.Bool("v", false, "print every rule with the tests that cite it")
	flag.Parse()
	root, err := moduleRoot(".")
	if err == nil {
		err = report(os.Stdout, root, *verbose)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "checklist:", err)
		os.Exit(1)
	}
}

// moduleRoot returns the directory of the module that dir is in.
func moduleRoot(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("finding the module: %w", err)
	}
	for {
		_, err := os.Stat(filepath.Join(dir, "go.mod"))
		if err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("finding the module: there is no go.mod above")
		}
		dir = parent
	}
}

// report writes what there is to say about the tests below root.
func report(w io.Writer, root string, verbose bool) error {
	rules, err := parseRules(rulesFile)
	if err != nil {
		return err
	}
	found, err := scan(root)
	if err != nil {
		return err
	}
	problems := found.problems
	known := make(map[string]bool)
	for _, r := range rules {
		known[r.id] = true
		tests := found.tests[r.id]
		if len(tests) == 0 {
			problems = append(problems, fmt.Sprintf("%s is cited by no test: %s", r.id, r.text))
		}
		if verbose {
			_, err = fmt.Fprintf(w, "%-4s%s\n      %s\n", r.id, r.text, strings.Join(tests, "\n      "))
			if err != nil {
				return fmt.Errorf("writing: %w", err)
			}
		}
	}
	for id, tests := range found.tests {
		if !known[id] {
			problems = append(problems, fmt.Sprintf("%s is cited by %s and is no rule", id, strings.Join(tests, ", ")))
		}
	}
	for _, problem := range problems {
		_, err = fmt.Fprintln(w, problem)
		if err != nil {
			return fmt.Errorf("writing: %w", err)
		}
	}
	if len(problems) > 0 {
		return errNotProven
	}
	_, err = fmt.Fprintf(w, "%d rules, each with a test\n", len(rules))
	if err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}
