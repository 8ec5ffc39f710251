package stepup

import (
	"strconv"
	"strings"
)

// element reads an element that begins at the next byte.
func (p *xmlParser) element(depth int) (*xmlElement, error) {
	if depth > maxDepth {
		return nil, errXMLDepth
	}
	if !p.take("<") {
		return nil, errXMLSyntax
	}
	start := p.at
	prefix, local, err := p.qname()
	if err != nil {
		return nil, err
	}
	tag := p.text[start:p.at]
	outer := len(p.spaces)
	e := &xmlElement{}
	err = p.attributes(e)
	if err != nil {
		return nil, err
	}
	e.name.local = local
	e.name.space, err = p.resolve(prefix)
	if err != nil {
		return nil, err
	}
	if e.name.space == xincludeSpace {
		return nil, errXMLInclude
	}
	if p.take("/>") {
		p.spaces = p.spaces[:outer]
		return e, nil
	}
	if !p.take(">") {
		return nil, errXMLSyntax
	}
	err = p.content(e, depth)
	if err != nil {
		return nil, err
	}
	if !p.take(tag) {
		return nil, errXMLSyntax
	}
	p.space()
	if !p.take(">") {
		return nil, errXMLSyntax
	}
	p.spaces = p.spaces[:outer]
	return e, nil
}

// content reads what is in an element, up to and with the "</" of its end.
func (p *xmlParser) content(e *xmlElement, depth int) error {
	var text strings.Builder
	comments, sections, outside := 0, 0, 0 // outside: bytes of text outside of CDATA
	for {
		switch rest := p.rest(); {
		case rest == "":
			return errXMLSyntax
		case p.take("</"):
			e.text = text.String()
			e.doubtful = comments > 0 && len(e.children) == 0 || sections > 0 && outside > 0 || sections > 1
			return nil
		case p.take("<!--"):
			comments++
			err := p.comment()
			if err != nil {
				return err
			}
		case p.take("<![CDATA["):
			sections++
			end := strings.Index(p.rest(), "]]>")
			if end < 0 {
				return errXMLSyntax
			}
			text.WriteString(p.rest()[:end])
			p.at += end + len("]]>")
		case rest[0] == '<':
			err := p.forbidden()
			if err != nil {
				return err
			}
			p.nodes++
			if p.nodes > maxNodes {
				return errTooManyNodes
			}
			child, err := p.element(depth + 1)
			if err != nil {
				return err
			}
			e.children = append(e.children, child)
		default:
			run, err := p.characters("<")
			if err != nil {
				return err
			}
			if strings.Contains(rest[:len(rest)-len(p.rest())], "]]>") {
				return errXMLSyntax
			}
			outside += len(run)
			text.WriteString(run)
		}
	}
}

// characters reads text up to one of the bytes of stop, and replaces references.
func (p *xmlParser) characters(stop string) (string, error) {
	var b strings.Builder
	for {
		rest := p.rest()
		end := strings.IndexAny(rest, stop+"&")
		if end < 0 {
			return "", errXMLSyntax
		}
		b.WriteString(rest[:end])
		p.at += end
		if rest[end] != '&' {
			return b.String(), nil
		}
		char, err := p.reference()
		if err != nil {
			return "", err
		}
		b.WriteRune(char)
	}
}

// xmlEntities are those that every reader knows (XML 1.0 section 4.6).
var xmlEntities = map[string]rune{"lt": '<', "gt": '>', "amp": '&', "apos": '\'', "quot": '"'}

// maxReference is the length of the longest reference that is of any use.
const maxReference = len("x0010ffff;") + 1

// reference reads a reference, which begins at the next byte.
func (p *xmlParser) reference() (rune, error) {
	name, _, found := strings.Cut(p.rest()[1:min(len(p.rest()), 1+maxReference)], ";")
	if !found {
		return 0, errXMLEntity
	}
	p.at += len("&") + len(name) + len(";")
	char, known := xmlEntities[name]
	if known {
		return char, nil
	}
	digits, numeric := strings.CutPrefix(name, "#")
	if !numeric {
		return 0, errXMLEntity
	}
	base := 10
	hex, isHex := strings.CutPrefix(digits, "x")
	if isHex {
		digits, base = hex, 16
	}
	code, err := strconv.ParseUint(digits, base, 21)
	if err != nil || code > 0x10ffff || code >= 0xd800 && code < 0xe000 || notXMLChar(rune(code)) {
		return 0, errXMLEntity
	}
	return rune(code), nil
}

// attributes reads the attributes of a start tag, up to its ">" or "/>".
func (p *xmlParser) attributes(e *xmlElement) error {
	type written struct{ prefix, local, value string }
	var list []written
	seen := make(map[string]bool)
	for {
		spaced := p.space()
		rest := p.rest()
		if rest == "" {
			return errXMLSyntax
		}
		if rest[0] == '>' || rest[0] == '/' {
			break
		}
		p.nodes++
		if p.nodes > maxNodes {
			return errTooManyNodes
		}
		start := p.at
		prefix, local, err := p.qname()
		if err != nil {
			return err
		}
		name := p.text[start:p.at]
		if !spaced || seen[name] {
			return errXMLSyntax
		}
		seen[name] = true
		value, err := p.attributeValue()
		if err != nil {
			return err
		}
		if prefix == "xmlns" || prefix == "" && local == "xmlns" {
			err = p.declare(prefix, local, value)
			if err != nil {
				return err
			}
			continue
		}
		list = append(list, written{prefix, local, value})
	}
	expanded := make(map[xmlName]bool, len(list))
	for _, a := range list {
		name := xmlName{local: a.local}
		if a.prefix != "" {
			space, err := p.resolve(a.prefix)
			if err != nil {
				return err
			}
			name.space = space
		}
		if expanded[name] {
			return errXMLNamespace
		}
		expanded[name] = true
		e.attributes = append(e.attributes, xmlAttribute{name: name, value: a.value})
	}
	return nil
}

// attributeValue reads "=" and a value in quotes. A line end or tab is a blank
// there (XML 1.0 section 3.3.3), unless it is a reference.
func (p *xmlParser) attributeValue() (string, error) {
	p.space()
	if !p.take("=") {
		return "", errXMLSyntax
	}
	p.space()
	quote := `"`
	if !p.take(quote) {
		quote = "'"
		if !p.take(quote) {
			return "", errXMLSyntax
		}
	}
	var b strings.Builder
	for {
		rest := p.rest()
		if rest == "" {
			return "", errXMLSyntax
		}
		switch c := rest[0]; {
		case c == quote[0]:
			p.at++
			return b.String(), nil
		case c == '<':
			return "", errXMLSyntax
		case c == '\n' || c == '\t':
			p.at++
			b.WriteByte(' ')
		case c == '&':
			char, err := p.reference()
			if err != nil {
				return "", err
			}
			b.WriteRune(char)
		default:
			p.at++
			b.WriteByte(c)
		}
	}
}
