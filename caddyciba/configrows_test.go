package caddyciba

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// The rows C of the threat catalogue: what `caddy validate` says about mistakes.
func TestBadConfigurations(t *testing.T) {
	for _, row := range readScenarios(t, "testdata/badinput/config.txt") {
		t.Run(row.title, func(t *testing.T) {
			dir := t.TempDir()
			var text strings.Builder
			isJSON, verdict, want := false, "", ""
			for _, line := range row.lines {
				word, argument, _ := strings.Cut(line, " ")
				switch word {
				case "file":
					name, content, _ := strings.Cut(argument, " ")
					content, err := strconv.Unquote(`"` + content + `"`)
					if err == nil {
						err = os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600)
					}
					if err != nil {
						t.Fatal(err)
					}
				case ">":
					text.WriteString(strings.ReplaceAll(argument, "{dir}", dir) + "\n")
				case "json":
					isJSON = true
				case "error", "warning", "taken":
					verdict, want = word, argument
				default:
					t.Fatalf("unknown line %q", line)
				}
			}
			log, err := validated(t, text.String(), isJSON)
			switch {
			case verdict == "error" && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("error %v, want %q", err, want)
			case verdict != "error" && err != nil:
				t.Error(err)
			case verdict == "warning" && !strings.Contains(log, want):
				t.Errorf("the log lacks %q:\n%s", want, log)
			case verdict == "":
				t.Error("nothing is wanted")
			}
			if strings.Contains(log, "hunter2") || err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("a secret is repeated: %v\n%s", err, log)
			}
		})
	}
	if n := references(); n != 0 {
		t.Errorf("%d gates are left after validation", n)
	}
}

// validated does what `caddy validate` does, and returns what was logged.
func validated(t *testing.T, text string, isJSON bool) (string, error) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "caddy.log")
	var config []byte
	if isJSON {
		config = []byte(strings.Replace(text, "{", `{"logging":{"logs":{"default":{"writer":{"output":"file","filename":"`+log+`"}}}},`, 1))
	} else {
		options := "\tlog {\n\t\toutput file " + log + "\n\t}\n"
		if strings.HasPrefix(text, "{\n") {
			text = "{\n" + options + text[2:]
		} else {
			text = "{\n" + options + "}\n" + text
		}
		adapted, err := adapt(t, text)
		if err != nil {
			return "", err
		}
		config = adapted
	}
	err := validate(config)
	content, readErr := os.ReadFile(log)
	if readErr != nil && err == nil {
		t.Fatal(readErr)
	}
	return string(content), err
}
