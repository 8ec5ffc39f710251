package policy

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// bodyPrefix begins placeholders of fields of the body.
const bodyPrefix = "ciba.body."

// reference is a placeholder in a condition, and the variable that takes its
// place.
type reference struct {
	variable string
	key      string
	isBody   bool
	path     stepup.Path
}

// references are the placeholders of a condition.
type references []reference

var (
	errQuoted       = errors.New("a placeholder in quotes is a text and stands for nothing; take the quotes away")
	errPlaceholder  = errors.New("an opening brace begins a placeholder, such as {ciba.body.amount}")
	errUnterminated = errors.New("a text in quotes does not end")
)

// placeholderLike finds what an operator takes for a placeholder.
var placeholderLike = regexp.MustCompile(`\{[A-Za-z_][A-Za-z0-9_]*\.[^{}]*\}`)

// scan replaces the placeholders of a condition by variables. Texts in quotes and
// comments stay as they are.
func scan(source string) (string, references, error) {
	var out strings.Builder
	var refs references
	for i := 0; i < len(source); {
		rest := source[i:]
		switch {
		case strings.HasPrefix(rest, "//"):
			end := strings.IndexByte(rest, '\n')
			if end < 0 {
				end = len(rest)
			}
			i += end
		case rest[0] == '"' || rest[0] == '\'':
			text, err := quoted(rest, i > 0 && (source[i-1] == 'r' || source[i-1] == 'R'))
			if err != nil {
				return "", nil, err
			}
			if placeholderLike.MatchString(text) {
				return "", nil, errQuoted
			}
			out.WriteString(text)
			i += len(text)
		case rest[0] == '{':
			end := strings.IndexByte(rest, '}')
			if end < 0 {
				return "", nil, errPlaceholder
			}
			r, err := refs.add(rest[1:end])
			if err != nil {
				return "", nil, err
			}
			if r.variable != "" {
				out.WriteString(r.variable)
				refs = append(refs, r)
			} else {
				out.WriteString(refs.variableOf(r.key))
			}
			i += end + 1
		default:
			out.WriteByte(rest[0])
			i++
		}
	}
	return out.String(), refs, nil
}

// variableOf returns the variable of a placeholder that was there before.
func (refs references) variableOf(key string) string {
	for _, r := range refs {
		if r.key == key {
			return r.variable
		}
	}
	return ""
}

// add makes a reference, without a variable if there is one for this placeholder.
func (refs references) add(key string) (reference, error) {
	r := reference{key: key, variable: "ref_" + strconv.Itoa(len(refs))}
	if refs.variableOf(key) != "" {
		r.variable = ""
	}
	path, isBody := strings.CutPrefix(key, bodyPrefix)
	switch {
	case isBody:
		var err error
		r.isBody = true
		r.path, err = stepup.ParsePath(path)
		if err != nil {
			return reference{}, fmt.Errorf("placeholder {%s}: %w", key, err)
		}
	case strings.HasPrefix(key, "ciba."):
		return reference{}, fmt.Errorf("unknown placeholder {%s}: of this family there is {ciba.body.PATH}", key)
	case !strings.Contains(key, ".") || strings.ContainsAny(key, " \t\n\"'"):
		return reference{}, errPlaceholder
	}
	return r, nil
}

// quoted returns the text literal with which the source begins, quotes included.
func quoted(source string, raw bool) (string, error) {
	quote := source[:1]
	if strings.HasPrefix(source, strings.Repeat(quote, 3)) {
		quote = strings.Repeat(quote, 3)
	}
	for i := len(quote); i < len(source); i++ {
		switch {
		case source[i] == '\\' && !raw:
			i++
		case strings.HasPrefix(source[i:], quote):
			return source[:i+len(quote)], nil
		}
	}
	return "", errUnterminated
}
