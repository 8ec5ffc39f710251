package provider_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// Every row of the catalogue of bad inputs that concerns the provider is a case of a
// data file, by its id. Tests read each of the files.
func TestCatalogueIsComplete(t *testing.T) {
	files, err := filepath.Glob("testdata/badinput/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(file) == "README.txt" {
			continue
		}
		for _, m := range regexp.MustCompile(`(?m)^(?:== |# )([BTN][0-9]{2})[: ]`).FindAllStringSubmatch(string(data), -1) {
			found[m[1]] = true
		}
	}
	want := func(letter string, first, last int) {
		for i := first; i <= last; i++ {
			id := fmt.Sprintf("%s%02d", letter, i)
			if !found[id] {
				t.Errorf("no case for %s", id)
			}
		}
	}
	want("B", 1, 66)
	want("T", 1, 19)
	want("N", 9, 10)
}
