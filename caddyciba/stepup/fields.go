package stepup

import (
	"errors"
	"strings"
)

// The reasons for which the fields of a form are refused. None of them repeats
// any of it.
var (
	errFormSyntax    = errors.New("the form has a character, an escape or a part that readers do not agree on")
	errFormEncoding  = errors.New("a form field is not valid UTF-8, or begins with a byte order mark")
	errFormName      = errors.New("a form field has no name, or one that readers do not agree on")
	errFormDuplicate = errors.New("two form fields have the same name, or names that some reader takes for one")
	errFormCharset   = errors.New("the form's _charset_ is not UTF-8")
	errFormFields    = errors.New("the form has too many fields")
)

// Limits on the fields of a form. Readers cut off what is beyond theirs: 1000
// fields in PHP, Django and Node.js, and brackets five deep in Node.js.
const (
	maxFields     = 1000
	maxFieldName  = 256
	maxFieldDepth = 6
)

// formField is a field of a form, or a file.
type formField struct {
	value string
	file  *formFile // nil for a field
}

// formFile says which file was sent, without its content.
type formFile struct {
	size      int
	sha256    string // in hexadecimal digits
	name      string
	mediaType string
}

// formFields are the fields of a form by name. No two of them have names that
// some reader takes for one.
type formFields struct {
	byName map[string]formField
	plain  map[string]bool // by flatName
	tree   nameNode
}

// nameNode is a name, or the beginning of names, as frameworks take them apart
// that make nested values of a[b][c] or a[b].c.
type nameNode struct {
	leaf  bool
	inner map[string]*nameNode
}

func newFormFields() *formFields {
	return &formFields{byName: make(map[string]formField), plain: make(map[string]bool)}
}

// add takes one more field.
func (f *formFields) add(name string, field formField) error {
	if len(f.byName) == maxFields {
		return errFormFields
	}
	if !isFieldName(name) {
		return errFormName
	}
	flat := flatName(name)
	if f.plain[flat] || !f.tree.insert(nestedName(name)) {
		return errFormDuplicate
	}
	if flat == flatName("_charset_") && !strings.EqualFold(field.value, "utf-8") {
		// Section 4.6 of RFC 7578: the encoding of all the others.
		return errFormCharset
	}
	f.plain[flat] = true
	f.byName[name] = field
	return nil
}

// insert adds a name. It returns false if there is the same one, or one that is
// a value where the other one has values inside, or one that appends ([]) where
// another one names a place.
func (n *nameNode) insert(steps []string) bool {
	if len(steps) > maxFieldDepth {
		return false
	}
	for _, step := range steps {
		_, appends := n.inner[""]
		if n.leaf || appends || step == "" && len(n.inner) > 0 {
			return false
		}
		if n.inner == nil {
			n.inner = make(map[string]*nameNode)
		}
		next := n.inner[step]
		if next == nil {
			next = &nameNode{}
			n.inner[step] = next
		}
		n = next
	}
	if n.leaf || n.inner != nil {
		return false
	}
	n.leaf = true
	return true
}

// isFieldName reports whether a name is written as readers agree on.
func isFieldName(name string) bool {
	if name == "" || len(name) > maxFieldName || name[0] == ' ' || name[len(name)-1] == ' ' || name[0] == '[' {
		return false
	}
	if textProblem(name) != nil || strings.ContainsAny(name, "\"'\\<>{}") {
		return false
	}
	// Brackets come in pairs that are not nested.
	open := false
	for _, c := range []byte(name) {
		if c == '[' && open || c == ']' && !open {
			return false
		}
		if c == '[' || c == ']' {
			open = c == '['
		}
	}
	return !open
}

// flatName folds what is one name to a reader that knows no case, or writes "_"
// for blanks and dots, as PHP does.
func flatName(name string) string {
	return strings.NewReplacer(".", "_", " ", "_").Replace(strings.TrimLeft(foldName(name), " "))
}

// nestedName takes a name apart at brackets and dots: a[b].c and a.b.c are the
// same place. The step of [] is empty.
func nestedName(name string) []string {
	var steps []string
	for part := range strings.SplitSeq(foldName(name), ".") {
		base, inner, found := strings.Cut(part, "[")
		if base != "" || !found {
			steps = append(steps, base)
		}
		for found {
			var step string
			step, inner, _ = strings.Cut(inner, "]")
			steps = append(steps, step)
			_, inner, found = strings.Cut(inner, "[")
		}
	}
	return steps
}

// find implements content. The path, without a last step that begins with @, is
// the field's name.
func (f *formFields) find(steps []pathStep, _ map[string]string) ([]string, error) {
	about, isFile := steps[len(steps)-1].attribute()
	if isFile {
		steps = steps[:len(steps)-1]
	}
	names := make([]string, len(steps))
	for i, s := range steps {
		if s.kind != stepName {
			return nil, errFieldMissing
		}
		names[i] = s.text
	}
	field, found := f.byName[strings.Join(names, ".")]
	switch {
	case !found:
		return nil, errFieldMissing
	case isFile != (field.file != nil):
		return nil, errFieldType
	case !isFile:
		return []string{field.value}, nil
	}
	value, known := field.file.about(about)
	if !known {
		return nil, errFieldMissing
	}
	return []string{value}, nil
}
