package idp

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyciba/gateway/idp/approval"
)

// maxBrandFile bounds one file of the folder, in bytes.
const maxBrandFile = 256 << 10

// readTemplates reads the folder with the operator's own templates; nil if there is
// none. Folders and hidden files in it are left out; the approval app refuses others
// that it has no use for.
func (b *Brand) readTemplates(repl *caddy.Replacer) (map[string][]byte, error) {
	if b == nil || b.Templates == "" {
		return nil, nil
	}
	name, err := resolve(repl, "templates", b.Templates)
	if err != nil {
		return nil, err
	}
	folder, err := os.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("reading templates: %w", err)
	}
	defer folder.Close()
	entries, err := fs.ReadDir(folder.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("reading templates: %w", err)
	}
	files := make(map[string][]byte)
	for _, entry := range entries {
		if entry.IsDir() || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		files[entry.Name()], err = readBrandFile(folder, entry.Name())
		if err != nil {
			return nil, fmt.Errorf("reading templates: %w", err)
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("reading templates: there are none in %s; put a file there such as page_end.html or %s", name, approval.StyleFile)
	}
	return files, nil
}

// readBrandFile reads one file of the folder. A link out of it is not followed.
func readBrandFile(folder *os.Root, name string) ([]byte, error) {
	file, err := folder.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxBrandFile+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxBrandFile {
		return nil, errors.New(name + " is too large")
	}
	return content, nil
}
