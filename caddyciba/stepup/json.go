package stepup

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxDepth is how deep objects and arrays may be nested.
const maxDepth = 32

// The reasons for which a JSON text is refused. None of them repeats any of it.
var (
	errJSONSyntax    = errors.New("the text is not JSON")
	errJSONTrailing  = errors.New("something follows the JSON text")
	errJSONDepth     = errors.New("the JSON text is nested too deeply")
	errJSONDuplicate = errors.New("an object has two members of the same name, or two that differ in case only")
	errJSONEncoding  = errors.New("the JSON text is not valid UTF-8, or begins with a byte order mark")
	errJSONSurrogate = errors.New("a string has half of a surrogate pair")
	errJSONName      = errors.New("a member's name has a NUL character")
	errJSONNumber    = errors.New("a number is too large to be read alike everywhere")
)

// jsonKind is the type of a JSON value.
type jsonKind byte

const (
	jsonNull jsonKind = iota
	jsonBool
	jsonNumber
	jsonString
	jsonArray
	jsonObject
)

// jsonValue is one value of a parsed text.
type jsonValue struct {
	kind jsonKind

	// text is a string's characters, a number's digits as they were written, or
	// true or false.
	text string

	// items are an array's values, or those of an object's members.
	items []jsonValue

	// names are the names of an object's members, in the order of items.
	names []string
}

// member returns an object's member.
func (v *jsonValue) member(name string) (*jsonValue, bool) {
	for i, n := range v.names {
		if n == name {
			return &v.items[i], true
		}
	}
	return nil, false
}

// parseJSON reads a JSON text (RFC 8259) of which there must not be two
// readings: no two member names that some reader takes for one, no encoding but
// UTF-8, nothing that one reader repairs and another refuses. Whatever it
// accepts, encoding/json accepts and reads alike.
func parseJSON(text []byte) (*jsonValue, error) {
	if !utf8.Valid(text) || strings.HasPrefix(string(text[:min(len(text), 3)]), "\ufeff") {
		return nil, errJSONEncoding
	}
	p := jsonParser{text: text}
	p.space()
	v, err := p.value(1)
	if err != nil {
		return nil, err
	}
	p.space()
	if p.at < len(p.text) {
		return nil, errJSONTrailing
	}
	return &v, nil
}

// jsonParser is a recursive-descent parser; maxDepth bounds the recursion.
type jsonParser struct {
	text  []byte
	at    int
	nodes int
}

func (p *jsonParser) space() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\r', '\n':
			p.at++
		default:
			return
		}
	}
}

// peek returns the next byte, or 0 at the end, which no token begins with.
func (p *jsonParser) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

// take consumes c if it is the next byte.
func (p *jsonParser) take(c byte) bool {
	if p.peek() != c {
		return false
	}
	p.at++
	return true
}

func (p *jsonParser) value(depth int) (jsonValue, error) {
	p.nodes++
	if p.nodes > maxNodes {
		return jsonValue{}, errTooManyNodes
	}
	switch c := p.peek(); {
	case c == '{' || c == '[':
		if depth > maxDepth {
			return jsonValue{}, errJSONDepth
		}
		p.at++
		if c == '{' {
			return p.object(depth)
		}
		return p.array(depth)
	case c == '"':
		text, err := p.str()
		return jsonValue{kind: jsonString, text: text}, err
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	default:
		return p.literal()
	}
}

func (p *jsonParser) literal() (jsonValue, error) {
	for _, word := range []struct {
		text string
		kind jsonKind
	}{{"null", jsonNull}, {"true", jsonBool}, {"false", jsonBool}} {
		if strings.HasPrefix(string(p.text[p.at:min(len(p.text), p.at+len(word.text))]), word.text) {
			p.at += len(word.text)
			return jsonValue{kind: word.kind, text: word.text}, nil
		}
	}
	return jsonValue{}, errJSONSyntax
}

func (p *jsonParser) array(depth int) (jsonValue, error) {
	v := jsonValue{kind: jsonArray}
	p.space()
	if p.take(']') {
		return v, nil
	}
	for {
		p.space()
		item, err := p.value(depth + 1)
		if err != nil {
			return jsonValue{}, err
		}
		v.items = append(v.items, item)
		p.space()
		if p.take(']') {
			return v, nil
		}
		if !p.take(',') {
			return jsonValue{}, errJSONSyntax
		}
	}
}

func (p *jsonParser) object(depth int) (jsonValue, error) {
	v := jsonValue{kind: jsonObject}
	p.space()
	if p.take('}') {
		return v, nil
	}
	folded := make(map[string]bool)
	for {
		p.space()
		name, item, err := p.memberOf(depth)
		if err != nil {
			return jsonValue{}, err
		}
		key := foldName(name)
		if folded[key] {
			return jsonValue{}, errJSONDuplicate
		}
		folded[key] = true
		v.names = append(v.names, name)
		v.items = append(v.items, item)
		p.space()
		if p.take('}') {
			return v, nil
		}
		if !p.take(',') {
			return jsonValue{}, errJSONSyntax
		}
	}
}

func (p *jsonParser) memberOf(depth int) (string, jsonValue, error) {
	if p.peek() != '"' {
		return "", jsonValue{}, errJSONSyntax
	}
	name, err := p.str()
	if err != nil {
		return "", jsonValue{}, err
	}
	if strings.IndexByte(name, 0) >= 0 {
		// Readers in C end the name here.
		return "", jsonValue{}, errJSONName
	}
	p.space()
	if !p.take(':') {
		return "", jsonValue{}, errJSONSyntax
	}
	p.space()
	item, err := p.value(depth + 1)
	return name, item, err
}

// foldName maps names that some reader takes for one to one string: those that
// differ in case, by simple folding over all of Unicode, and those that are
// canonically equivalent.
func foldName(name string) string {
	return strings.Map(func(char rune) rune {
		least := char
		for next := unicode.SimpleFold(char); next != char; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, norm.NFC.String(name))
}

// number checks the grammar of RFC 8259 section 6 and keeps the digits.
func (p *jsonParser) number() (jsonValue, error) {
	start := p.at
	p.take('-')
	if !p.take('0') && !p.digits() {
		return jsonValue{}, errJSONSyntax
	}
	if p.take('.') && !p.digits() {
		return jsonValue{}, errJSONSyntax
	}
	if p.take('e') || p.take('E') {
		if !p.take('+') {
			p.take('-')
		}
		if !p.digits() {
			return jsonValue{}, errJSONSyntax
		}
	}
	text := string(p.text[start:p.at])
	value, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(value, 0) {
		return jsonValue{}, errJSONNumber
	}
	return jsonValue{kind: jsonNumber, text: text}, nil
}

func (p *jsonParser) digits() bool {
	start := p.at
	for c := p.peek(); c >= '0' && c <= '9'; c = p.peek() {
		p.at++
	}
	return p.at > start
}

// str reads a string that begins at the next byte.
func (p *jsonParser) str() (string, error) {
	p.at++
	var b strings.Builder
	for p.at < len(p.text) {
		c := p.text[p.at]
		switch {
		case c == '"':
			p.at++
			return b.String(), nil
		case c == '\\':
			char, err := p.escape()
			if err != nil {
				return "", err
			}
			b.WriteRune(char)
		case c < 0x20:
			return "", errJSONSyntax
		default:
			b.WriteByte(c)
			p.at++
		}
	}
	return "", errJSONSyntax
}

// escapes are the short ones of RFC 8259 section 7.
var escapes = map[byte]rune{
	'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

func (p *jsonParser) escape() (rune, error) {
	p.at++
	c := p.peek()
	if c != 'u' {
		char, known := escapes[c]
		if !known {
			return 0, errJSONSyntax
		}
		p.at++
		return char, nil
	}
	first, ok := p.unit()
	if !ok {
		return 0, errJSONSyntax
	}
	if !utf16.IsSurrogate(first) {
		return first, nil
	}
	if !p.take('\\') || p.peek() != 'u' {
		return 0, errJSONSurrogate
	}
	second, ok := p.unit()
	if !ok {
		return 0, errJSONSyntax
	}
	char := utf16.DecodeRune(first, second)
	if char == utf8.RuneError {
		return 0, errJSONSurrogate
	}
	return char, nil
}

// unit reads "u" and four hexadecimal digits.
func (p *jsonParser) unit() (rune, bool) {
	if p.at+5 > len(p.text) {
		return 0, false
	}
	var value rune
	for _, c := range p.text[p.at+1 : p.at+5] {
		if !isHex(c) {
			return 0, false
		}
		value = value<<4 | rune(hexValue(c))
	}
	p.at += 5
	return value, true
}
