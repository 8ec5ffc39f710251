package idp

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestReadTemplates(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	write := func(path, content string) {
		t.Helper()
		err := os.WriteFile(path, []byte(content), 0o600)
		if err != nil {
			t.Fatal(err)
		}
	}
	write(outside, "secret")
	for name, test := range map[string]struct {
		fill func(folder string)
		want string // of the error
		read int
	}{
		"two files": {func(f string) {
			write(f+"/page_end.html", "x")
			write(f+"/brand.css", "y")
			write(f+"/.hidden", "z")
			_ = os.Mkdir(f+"/old", 0o700)
		}, "", 2},
		"none":      {func(string) {}, "there are none", 0},
		"missing":   {func(f string) { _ = os.Remove(f) }, "reading templates", 0},
		"too large": {func(f string) { write(f+"/page_end.html", strings.Repeat("x", maxBrandFile+1)) }, "too large", 0},
		"link out":  {func(f string) { _ = os.Symlink(outside, f+"/page_end.html") }, "escapes", 0},
	} {
		folder := filepath.Join(t.TempDir(), "templates")
		err := os.Mkdir(folder, 0o700)
		if err != nil {
			t.Fatal(err)
		}
		test.fill(folder)
		files, err := (&Brand{Templates: folder}).readTemplates(caddy.NewReplacer())
		if len(files) != test.read || (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %d files, %v", name, len(files), err)
		}
	}
}
