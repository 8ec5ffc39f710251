package caddyciba

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// catalogue are the rows of the threat catalogue that concern the gateway.
var catalogue = map[string]int{"G": 22, "S": 7, "R": 9, "N": 8, "C": 13}

// Every row of the catalogue of bad inputs that concerns the gateway is a case of a data
// file, by its id. Each file is read by a test, and each test that is named exists.
func TestCatalogueIsComplete(t *testing.T) {
	found := make(map[string]int)
	for _, file := range []string{"gate.txt", "http2.txt", "notify.txt", "idtoken.txt"} {
		for _, row := range spellings(t, filepath.Join("testdata", "badinput", file)) {
			id, _, _ := strings.Cut(row, "\t")
			found[id]++
		}
	}
	for _, file := range []string{"scenarios.txt", "config.txt"} {
		for _, block := range readScenarios(t, filepath.Join("testdata", "badinput", file)) {
			id, _, _ := strings.Cut(block.title, " ")
			found[id]++
		}
	}
	data, err := os.ReadFile("ciba/testdata/bad_answers.json")
	if err != nil {
		t.Fatal(err)
	}
	var answers []badAnswer
	err = json.Unmarshal(data, &answers)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range answers {
		found[row.ID]++
	}
	elsewhere := namedTests(t, "elsewhere.txt")
	rows := 0
	for letter, last := range catalogue {
		for i := 1; i <= last; i++ {
			id := fmt.Sprintf("%s%02d", letter, i)
			rows += found[id]
			if found[id] == 0 && len(elsewhere[id]) == 0 {
				t.Errorf("no case for %s", id)
			}
		}
	}
	if rows < 300 {
		t.Errorf("only %d cases", rows)
	}
}

// namedTests returns the ids of a list with the tests that show them, after it has made
// sure that those are there.
func namedTests(t *testing.T, list string) map[string][]string {
	t.Helper()
	ids := make(map[string][]string)
	for _, row := range spellings(t, filepath.Join("testdata", "badinput", list)) {
		columns := strings.Split(row, "\t")
		if len(columns) != 3 {
			t.Fatalf("%q has %d columns", row, len(columns))
		}
		files, err := filepath.Glob(filepath.Join(columns[1], "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		there := false
		declared := regexp.MustCompile(`(?m)^func ` + columns[2] + `\(t \*testing\.T\)`)
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			there = there || declared.Match(content)
		}
		ids[columns[0]] = append(ids[columns[0]], columns[2])
		if !there {
			t.Errorf("%s: there is no %s in %s", columns[0], columns[2], columns[1])
		}
	}
	return ids
}
