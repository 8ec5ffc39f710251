package approval

import (
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

//go:embed templates/*.html
var templateFiles embed.FS

// StyleFile is the name of a file in [Config.Templates] that is no template but a style
// sheet: it comes behind the app's own.
const StyleFile = "brand.css"

// maxTemplate bounds one file of the operator, in bytes.
const maxTemplate = 256 << 10

// pageSet holds the templates of one language by page.
type pageSet map[string]*template.Template

// pageName returns the page that a template file is for, or empty for one that all
// pages have.
func pageName(file string) string {
	name, ok := strings.CutPrefix(file, "page_")
	if !ok {
		return ""
	}
	return strings.TrimSuffix(name, ".html")
}

// templateNames are the names of all template files; those that all pages have come
// first.
func templateNames() ([]string, error) {
	files, err := fs.Glob(templateFiles, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("listing templates: %w", err)
	}
	names := make([]string, len(files))
	for i, file := range files {
		names[i] = path.Base(file)
	}
	slices.SortFunc(names, func(a, b string) int {
		if shared := pageName(a) == ""; shared != (pageName(b) == "") {
			return map[bool]int{true: -1, false: 1}[shared]
		}
		return strings.Compare(a, b)
	})
	return names, nil
}

// checkTemplateNames refuses files that replace nothing: most likely a name is
// mistyped.
func checkTemplateNames(own map[string][]byte) error {
	names, err := templateNames()
	if err != nil {
		return err
	}
	var errs []error
	for name, content := range own {
		switch {
		case name != StyleFile && !slices.Contains(names, name):
			errs = append(errs, fmt.Errorf("there is no template %q to replace", name))
		case len(content) > maxTemplate:
			errs = append(errs, fmt.Errorf("template %s is larger than %d bytes", name, maxTemplate))
		}
	}
	return errors.Join(errs...)
}

// loadPages parses the templates once for each language, with the language's words
// bound to them: the operator's where there is one, else ours.
func (a *App) loadPages() (map[string]pageSet, error) {
	sets := map[string]pageSet{}
	for _, l := range a.locales.all {
		set, err := a.loadPageSet(l)
		if err != nil {
			return nil, err
		}
		sets[l.name] = set
	}
	return sets, nil
}

func (a *App) loadPageSet(l *locale) (pageSet, error) {
	names, err := templateNames()
	if err != nil {
		return nil, err
	}
	base := template.New("layout").Funcs(template.FuncMap{
		"t":        l.t,
		"tn":       l.tn,
		"duration": l.duration,
		"asset":    func(name string) string { return a.assets.urls[name] },
		"url":      func(parts ...string) string { return a.base + "/" + strings.Join(parts, "/") },
		"pushes":   func() bool { return a.cfg.Push != nil },
		"seconds":  func(d time.Duration) int { return int(d / time.Second) },
	})
	set := pageSet{}
	for _, name := range names {
		into := base
		page := pageName(name)
		if page != "" {
			into, err = base.Clone()
			if err != nil {
				return nil, fmt.Errorf("copying templates: %w", err)
			}
			set[page] = into
		}
		err = a.parseTemplate(into, name)
		if err != nil {
			return nil, err
		}
		if page == "" {
			continue
		}
		err = checkPage(into, name)
		if err != nil {
			return nil, err
		}
	}
	return set, nil
}

// parseTemplate parses one file. What it defines takes the place of what was defined
// before.
func (a *App) parseTemplate(into *template.Template, name string) error {
	content, ok := a.cfg.Templates[name]
	if !ok {
		var err error
		content, err = templateFiles.ReadFile("templates/" + name)
		if err != nil {
			return fmt.Errorf("reading template: %w", err)
		}
	}
	_, err := into.New(name).Parse(string(content))
	if err != nil {
		return fmt.Errorf("parsing template: %w", err)
	}
	return nil
}

// checkPage makes sure that a page has the blocks that it is put together from.
func checkPage(page *template.Template, file string) error {
	for _, block := range []string{"layout", "title", "content"} {
		if page.Lookup(block) == nil {
			return fmt.Errorf("template %s: the block %q is not defined", file, block)
		}
	}
	return nil
}

// checkPages renders pages with examples, where the operator has replaced a template:
// a page that breaks, or on which nobody can deny, must be found before a customer has
// it.
func (a *App) checkPages() error {
	if len(a.cfg.Templates) == 0 {
		return nil
	}
	for _, l := range a.locales.all {
		for _, example := range a.examples(l) {
			body, err := a.renderBytes(l, example.page, nil, example.data)
			if err != nil {
				return fmt.Errorf("rendering page %q with an example: %w", example.page, err)
			}
			for _, needed := range example.needs {
				if !strings.Contains(string(body), needed) {
					return fmt.Errorf("template page_%s.html: the page lacks %s", example.page, needed)
				}
			}
		}
	}
	return nil
}
