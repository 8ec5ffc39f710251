package caddyciba

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// bodyPrefix begins the names of the placeholders that stand for fields of the
// request's body.
const bodyPrefix = "ciba.body."

// ownPrefix begins every placeholder name that only a template of this
// directive knows.
const ownPrefix = "ciba."

// A template is a text of the operator's with placeholders in braces. It is
// taken apart once, when the configuration is loaded. What a placeholder stands
// for is put in as it is and never read as a template again, so braces in a
// request mean nothing.
//
// This is stricter than Caddy's replacer, which replaces what it does not know
// by nothing or leaves it standing: a customer must not be asked to approve a
// sentence with a hole in it.
type template struct {
	source string
	parts  []templatePart
}

// A templatePart is either a literal text or the name of a placeholder.
type templatePart struct {
	literal string
	key     string
}

// A placeholderError says which placeholder could not be filled in. It never
// contains a value.
type placeholderError struct {
	key string
	err error
}

func (e *placeholderError) Error() string {
	return fmt.Sprintf("placeholder {%s}: %v", e.key, e.err)
}

func (e *placeholderError) Unwrap() error { return e.err }

// Reasons for which a placeholder cannot be filled in.
var (
	errUnknownPlaceholder = errors.New("unknown")
	errEmptyPlaceholder   = errors.New("has no value in this request")
)

// parseTemplate takes a template apart. A brace that is meant literally is
// written \{ or \}. Unbalanced and empty placeholders are errors, and so is a
// placeholder below {ciba.} that this directive does not know.
func parseTemplate(source string) (*template, error) {
	return splitTemplate(source, checkPlaceholder)
}

// splitTemplate takes a template apart and lets check judge the placeholders.
func splitTemplate(source string, check func(key string) error) (*template, error) {
	t := &template{source: source}
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			t.parts = append(t.parts, templatePart{literal: literal.String()})
			literal.Reset()
		}
	}
	for i := 0; i < len(source); i++ {
		switch c := source[i]; {
		case c == '\\' && i+1 < len(source) && (source[i+1] == '{' || source[i+1] == '}'):
			i++
			literal.WriteByte(source[i])
		case c == '}':
			return nil, fmt.Errorf("closing brace without an opening one in %q", source)
		case c == '{':
			end := strings.IndexAny(source[i+1:], "{}")
			if end < 0 || source[i+1+end] == '{' {
				return nil, fmt.Errorf("placeholder is not closed in %q", source)
			}
			key := source[i+1 : i+1+end]
			err := check(key)
			if err != nil {
				return nil, err
			}
			flush()
			t.parts = append(t.parts, templatePart{key: key})
			i += 1 + end
		default:
			literal.WriteByte(c)
		}
	}
	flush()
	return t, nil
}

// checkPlaceholder finds mistakes in a name that are certain without a request.
func checkPlaceholder(key string) error {
	if key == "" || strings.TrimSpace(key) != key {
		return fmt.Errorf("placeholder {%s} has no proper name", key)
	}
	if !strings.HasPrefix(key, ownPrefix) {
		return nil
	}
	path, ok := strings.CutPrefix(key, bodyPrefix)
	if !ok {
		return fmt.Errorf("unknown placeholder {%s}: of this family there is {ciba.body.PATH}", key)
	}
	parsed, err := stepup.ParsePath(path)
	if err != nil {
		return fmt.Errorf("placeholder {%s}: %w", key, err)
	}
	if parsed.Many() {
		return fmt.Errorf("placeholder {%s} can stand for several values: use the number of one, or # for how many there are", key)
	}
	return nil
}

// needsBody reports whether the template shows a field of the body.
func (t *template) needsBody() bool {
	for _, p := range t.parts {
		if strings.HasPrefix(p.key, bodyPrefix) {
			return true
		}
	}
	return false
}

// prefixes are the namespace prefixes in the template's paths into the body.
func (t *template) prefixes() []string {
	var prefixes []string
	for _, p := range t.parts {
		path, ok := strings.CutPrefix(p.key, bodyPrefix)
		if !ok {
			continue
		}
		parsed, err := stepup.ParsePath(path)
		if err == nil {
			prefixes = append(prefixes, parsed.Prefixes()...)
		}
	}
	return prefixes
}

// fill puts the template together. Body answers for a path in the body, lookup
// for every other name. The first placeholder that is unknown, cannot be read
// or is empty ends it with a *placeholderError.
func (t *template) fill(body func(path string) (string, error), lookup func(key string) (string, bool, error)) (string, error) {
	if len(t.parts) == 1 {
		return t.parts[0].fill(body, lookup)
	}
	var out strings.Builder
	for _, p := range t.parts {
		text, err := p.fill(body, lookup)
		if err != nil {
			return "", err
		}
		out.WriteString(text)
	}
	return out.String(), nil
}

// fill is what one part of a template stands for.
func (p *templatePart) fill(body func(path string) (string, error), lookup func(key string) (string, bool, error)) (string, error) {
	if p.key == "" {
		return p.literal, nil
	}
	text, err := fillOne(p.key, body, lookup)
	if err != nil {
		return "", &placeholderError{key: p.key, err: err}
	}
	return text, nil
}

// fillOne finds what one placeholder stands for.
func fillOne(key string, body func(path string) (string, error), lookup func(key string) (string, bool, error)) (string, error) {
	path, ok := strings.CutPrefix(key, bodyPrefix)
	if ok {
		text, err := body(path)
		if err != nil {
			return "", err
		}
		if text == "" {
			return "", errEmptyPlaceholder
		}
		return text, nil
	}
	text, known, err := lookup(key)
	if err != nil {
		return "", err
	}
	if !known {
		return "", errUnknownPlaceholder
	}
	if text == "" {
		return "", errEmptyPlaceholder
	}
	return text, nil
}
