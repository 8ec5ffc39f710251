package stepup

import (
	"errors"
	"fmt"
	"strings"
)

// The mistakes in a path.
var (
	errPathEmptyStep = errors.New("an empty step")
	errPathEscape    = errors.New(`a backslash that is not in front of one of . \ * # @ or a digit`)
)

// Path names a field of a request's body, in one syntax for all formats: steps
// with dots in between, from the outside to the inside.
//
//   - In JSON a step is a member's name or an array index, counted from 0:
//     creditor.accounts.0.iban.
//   - In XML a step is an element's name, beginning with the root's, or the index
//     of one of several elements of the same name: Document.Pmt.Tx.0.Amt. A name
//     without prefix is that of an element of any namespace, one with a prefix
//     that of an element of the namespace which the operator has declared for it.
//     A last step @Ccy is an attribute.
//   - In a form the path is the field's whole name. For a file in multipart form
//     data, a last step @size, @sha256, @filename or @type says which file it is.
//
// The step # is the number of items of an array, or of elements of the same name;
// the step * is each of them. A dot, a backslash, *, #, @ or a digit that belongs
// to a name and not to this syntax has a backslash in front: Ver1\.0.
type Path struct {
	steps []pathStep
	many  bool
}

// stepKind says what a step does.
type stepKind byte

const (
	stepName  stepKind = iota // a name, or an index
	stepCount                 // the number of items
	stepEvery                 // every item
)

// pathStep is one step with its escapes taken away.
type pathStep struct {
	kind    stepKind
	text    string
	escaped bool // it begins with an escape, so that it is a name and nothing else
}

// ParsePath takes a path apart. Its error says what is wrong with the path, for
// whoever wrote it.
func ParsePath(text string) (Path, error) {
	var p Path
	var step strings.Builder
	escaped, started := false, false
	end := func() error {
		if step.Len() == 0 {
			return fmt.Errorf("path %q has %w", text, errPathEmptyStep)
		}
		s := pathStep{text: step.String(), escaped: escaped}
		switch {
		case escaped:
		case s.text == "*":
			s.kind, p.many = stepEvery, true
		case s.text == "#":
			s.kind = stepCount
		}
		p.steps = append(p.steps, s)
		step.Reset()
		escaped, started = false, false
		return nil
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\':
			i++
			if i == len(text) || !strings.ContainsRune(`.\*#@0123456789`, rune(text[i])) {
				return Path{}, fmt.Errorf("path %q has %w", text, errPathEscape)
			}
			escaped = escaped || !started
			step.WriteByte(text[i])
		case c == '.':
			err := end()
			if err != nil {
				return Path{}, err
			}
			continue
		default:
			step.WriteByte(c)
		}
		started = true
	}
	err := end()
	if err != nil {
		return Path{}, err
	}
	return p, nil
}

// Many reports whether the path can lead to several values, because it has a
// step *.
func (p Path) Many() bool { return p.many }

// Prefixes returns the namespace prefixes that the path uses if the body is XML.
func (p Path) Prefixes() []string {
	var prefixes []string
	for _, s := range p.steps {
		prefix, _, found := strings.Cut(strings.TrimPrefix(s.text, "@"), ":")
		if found {
			prefixes = append(prefixes, prefix)
		}
	}
	return prefixes
}

// attribute returns the name that follows the @ of a step.
func (s pathStep) attribute() (string, bool) {
	if s.escaped {
		return "", false
	}
	return strings.CutPrefix(s.text, "@")
}

// index returns the number that the step is.
func (s pathStep) index() (int, bool) {
	if s.escaped || s.kind != stepName || s.text == "" || len(s.text) > 9 || s.text[0] == '0' && len(s.text) > 1 {
		return 0, false
	}
	n := 0
	for _, c := range []byte(s.text) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, true
}

// String returns the path as it could be written.
func (p Path) String() string {
	var b strings.Builder
	for i, s := range p.steps {
		if i > 0 {
			b.WriteByte('.')
		}
		text := strings.NewReplacer(`\`, `\\`, `.`, `\.`).Replace(s.text)
		if s.escaped {
			text = `\` + strings.TrimPrefix(text, `\`)
		}
		b.WriteString(text)
	}
	return b.String()
}
