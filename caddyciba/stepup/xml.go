package stepup

import (
	"errors"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The reasons for which an XML document is refused. None of them repeats any of
// it.
var (
	errXMLSyntax      = errors.New("the document is not well-formed XML")
	errXMLEncoding    = errors.New("the document is not XML 1.0 in UTF-8, or has a character that XML has not")
	errXMLDepth       = errors.New("the document is nested too deeply")
	errXMLDoctype     = errors.New("the document has a document type declaration")
	errXMLInstruction = errors.New("the document has a processing instruction")
	errXMLEntity      = errors.New("the document has a reference that is neither a character nor one of the five entities of XML")
	errXMLNamespace   = errors.New("the document uses namespaces in a way that readers do not agree on")
	errXMLInclude     = errors.New("the document includes others")
	errSOAPBody       = errors.New("the envelope has not one body with one element in it")
)

// xmlName is a name with its namespace.
type xmlName struct{ space, local string }

// xmlAttribute is an attribute that is no namespace declaration.
type xmlAttribute struct {
	name  xmlName
	value string
}

// xmlElement is an element with all that is in it.
type xmlElement struct {
	name       xmlName
	attributes []xmlAttribute
	children   []*xmlElement
	text       string

	// doubtful says that readers do not agree on the text: it has a comment within
	// it, or a CDATA section beside other text, at which some readers stop.
	doubtful bool
}

// xmlDeclaration is the only one that is taken (XML 1.0 section 2.8).
var xmlDeclaration = regexp.MustCompile(`^<\?xml[ \t\n]+version[ \t\n]*=[ \t\n]*(?:"1\.0"|'1\.0')` +
	`(?:[ \t\n]+encoding[ \t\n]*=[ \t\n]*(?:"([A-Za-z0-9._-]+)"|'([A-Za-z0-9._-]+)'))?` +
	`(?:[ \t\n]+standalone[ \t\n]*=[ \t\n]*(?:"(?:yes|no)"|'(?:yes|no)'))?[ \t\n]*\?>`)

// parseXML reads an XML document (XML 1.0 with namespaces) of which there must
// not be two readings. It may begin with a byte order mark and an XML
// declaration. Document type declarations and with them entities and external
// texts, processing instructions, XInclude, and names whose prefix is not declared
// are refused. So is a SOAP envelope whose body has several elements, as some
// servers pick the operation by the first and others by a header.
func parseXML(body []byte) (*xmlRoot, error) {
	text := strings.TrimPrefix(string(body), "\ufeff")
	if strings.IndexByte(text, '\r') >= 0 {
		// XML 1.0 section 2.11.
		text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	}
	if !utf8.ValidString(text) || strings.ContainsFunc(text, notXMLChar) {
		return nil, errXMLEncoding
	}
	p := &xmlParser{text: text, spaces: []xmlBinding{{prefix: "xml", space: xmlSpace}}}
	if strings.HasPrefix(text, "<?xml") && len(text) > 5 && isXMLSpace(text[5]) {
		match := xmlDeclaration.FindStringSubmatch(text)
		if match == nil {
			return nil, errXMLEncoding
		}
		encoding := match[1] + match[2]
		if encoding != "" && !strings.EqualFold(encoding, "utf-8") {
			return nil, errXMLEncoding
		}
		p.at = len(match[0])
	}
	err := p.misc()
	if err != nil {
		return nil, err
	}
	if p.rest() == "" {
		return nil, errXMLSyntax
	}
	root, err := p.element(1)
	if err != nil {
		return nil, err
	}
	err = p.misc()
	if err != nil {
		return nil, err
	}
	if p.rest() != "" {
		return nil, errXMLSyntax
	}
	err = checkEnvelope(root)
	if err != nil {
		return nil, err
	}
	return &xmlRoot{element: root}, nil
}

// notXMLChar reports whether XML 1.0 section 2.2 has no such character.
func notXMLChar(char rune) bool {
	return char < ' ' && char != '\t' && char != '\n' && char != '\r' || char == 0xfffe || char == 0xffff
}

func isXMLSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' }

// soapSpaces are the namespaces of SOAP 1.1 and 1.2.
var soapSpaces = map[string]bool{
	"http://schemas.xmlsoap.org/soap/envelope/": true,
	"http://www.w3.org/2003/05/soap-envelope":   true,
}

// checkEnvelope checks that a SOAP envelope has one body with one element.
func checkEnvelope(root *xmlElement) error {
	if !soapSpaces[root.name.space] || root.name.local != "Envelope" {
		return nil
	}
	bodies := 0
	for _, child := range root.children {
		if child.name.local != "Body" {
			continue
		}
		bodies++
		if child.name.space != root.name.space || len(child.children) != 1 {
			return errSOAPBody
		}
	}
	if bodies != 1 {
		return errSOAPBody
	}
	return nil
}

// xmlParser is a recursive-descent parser; maxDepth bounds the recursion.
type xmlParser struct {
	text   string
	at     int
	nodes  int
	spaces []xmlBinding // the innermost at the end
}

func (p *xmlParser) rest() string { return p.text[p.at:] }

// take consumes a string if it is next.
func (p *xmlParser) take(s string) bool {
	if !strings.HasPrefix(p.rest(), s) {
		return false
	}
	p.at += len(s)
	return true
}

// space consumes white space and reports whether there was any.
func (p *xmlParser) space() bool {
	start := p.at
	for p.at < len(p.text) && isXMLSpace(p.text[p.at]) {
		p.at++
	}
	return p.at > start
}

// misc consumes what may stand in front of the root and behind it.
func (p *xmlParser) misc() error {
	for {
		p.space()
		if !p.take("<!--") {
			return p.forbidden()
		}
		err := p.comment()
		if err != nil {
			return err
		}
	}
}

// forbidden names what is next if it is nothing that a document may have.
func (p *xmlParser) forbidden() error {
	switch rest := p.rest(); {
	case strings.HasPrefix(rest, "<?"):
		return errXMLInstruction
	case strings.HasPrefix(rest, "<!DOCTYPE"):
		return errXMLDoctype
	case strings.HasPrefix(rest, "<!"):
		return errXMLSyntax
	default:
		return nil
	}
}

// comment consumes a comment whose beginning was consumed.
func (p *xmlParser) comment() error {
	end := strings.Index(p.rest(), "--")
	if end < 0 {
		return errXMLSyntax
	}
	p.at += end
	if !p.take("-->") {
		return errXMLSyntax
	}
	return nil
}

// qname reads a name with its prefix, which is not yet resolved.
func (p *xmlParser) qname() (prefix, local string, err error) {
	first, err := p.ncname()
	if err != nil || !p.take(":") {
		return "", first, err
	}
	local, err = p.ncname()
	return first, local, err
}

// ncname reads a name without colon. Beyond ASCII, the letters and digits of
// Unicode are taken, which are the characters that editions of XML agree on.
func (p *xmlParser) ncname() (string, error) {
	rest := p.rest()
	end := strings.IndexFunc(rest, func(char rune) bool {
		return char != '_' && char != '-' && char != '.' && !unicode.IsLetter(char) && !unicode.IsDigit(char)
	})
	if end < 0 {
		end = len(rest)
	}
	name := rest[:end]
	first, _ := utf8.DecodeRuneInString(name)
	if name == "" || first != '_' && !unicode.IsLetter(first) {
		return "", errXMLSyntax
	}
	p.at += end
	return name, nil
}
