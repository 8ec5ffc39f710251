package stepup

import (
	"strconv"
	"strings"
)

// The namespaces that mean something by themselves.
const (
	xmlSpace      = "http://www.w3.org/XML/1998/namespace"
	xmlnsSpace    = "http://www.w3.org/2000/xmlns/"
	xincludeSpace = "http://www.w3.org/2001/XInclude"
	schemaSpace   = "http://www.w3.org/2001/XMLSchema-instance"
)

// maxBindings is how many namespace declarations there may be at one place.
const maxBindings = 64

// xmlBinding is a prefix, or "" for the default, and what it stands for.
type xmlBinding struct{ prefix, space string }

// declare takes a namespace declaration (Namespaces in XML 1.0 section 3).
func (p *xmlParser) declare(prefix, local, space string) error {
	bound := local
	if prefix == "" {
		bound = ""
	}
	reserved := bound == "xmlns" || space == xmlnsSpace || (bound == "xml") != (space == xmlSpace)
	if len(p.spaces) > maxBindings {
		return errXMLNamespace
	}
	if reserved || bound != "" && space == "" || strings.TrimSpace(space) != space {
		return errXMLNamespace
	}
	p.spaces = append(p.spaces, xmlBinding{prefix: bound, space: space})
	return nil
}

// resolve returns what a prefix stands for here.
func (p *xmlParser) resolve(prefix string) (string, error) {
	for i := len(p.spaces) - 1; i >= 0; i-- {
		if p.spaces[i].prefix == prefix {
			return p.spaces[i].space, nil
		}
	}
	if prefix != "" {
		return "", errXMLNamespace
	}
	return "", nil
}

// xmlRoot is a document: what the root is in.
type xmlRoot struct{ element *xmlElement }

// find implements content.
func (r *xmlRoot) find(steps []pathStep, namespaces map[string]string) ([]string, error) {
	return findXML([]*xmlElement{r.element}, steps, namespaces)
}

// findXML follows a path from the elements among which its first step chooses.
func findXML(among []*xmlElement, steps []pathStep, namespaces map[string]string) ([]string, error) {
	wanted, ok := wantedName(steps[0].text, namespaces)
	if !ok || steps[0].kind != stepName {
		return nil, errFieldMissing
	}
	var found []*xmlElement
	for _, e := range among {
		if wanted.matches(e.name) {
			found = append(found, e)
		}
	}
	rest := steps[1:]
	if len(rest) > 0 {
		index, isIndex := rest[0].index()
		switch {
		case rest[0].kind == stepCount:
			if len(rest) > 1 {
				return nil, errFieldMissing
			}
			return []string{strconv.Itoa(len(found))}, nil
		case rest[0].kind == stepEvery:
			var all []string
			for _, e := range found {
				values, err := e.find(rest[1:], namespaces)
				if err != nil {
					return nil, err
				}
				all = append(all, values...)
			}
			return all, nil
		case isIndex && index < len(found):
			return found[index].find(rest[1:], namespaces)
		case isIndex:
			return nil, errFieldMissing
		}
	}
	switch len(found) {
	case 0:
		return nil, errFieldMissing
	case 1:
		return found[0].find(rest, namespaces)
	default:
		return nil, errFieldRepeated
	}
}

// find follows a path that goes on from this element.
func (e *xmlElement) find(steps []pathStep, namespaces map[string]string) ([]string, error) {
	if e.isElsewhere() {
		return nil, errFieldDoubtful
	}
	if len(steps) == 0 {
		return e.value()
	}
	name, isAttribute := steps[0].attribute()
	if !isAttribute {
		return findXML(e.children, steps, namespaces)
	}
	wanted, ok := wantedName(name, namespaces)
	if !ok || len(steps) > 1 {
		return nil, errFieldMissing
	}
	var values []string
	for _, a := range e.attributes {
		if wanted.matches(a.name) {
			values = append(values, a.value)
		}
	}
	switch len(values) {
	case 0:
		return nil, errFieldMissing
	case 1:
		return values, nil
	default:
		return nil, errFieldRepeated
	}
}

// value returns the element's text, if it has nothing else.
func (e *xmlElement) value() ([]string, error) {
	switch {
	case len(e.children) > 0:
		return nil, errFieldType
	case e.doubtful:
		return nil, errFieldDoubtful
	}
	for _, a := range e.attributes {
		if a.name == (xmlName{schemaSpace, "nil"}) && a.value != "false" && a.value != "0" {
			return nil, errFieldNull
		}
	}
	return []string{e.text}, nil
}

// isElsewhere reports whether the element points to another one that takes its
// place, as the encoding of SOAP 1.1 (href) and 1.2 (ref) has it.
func (e *xmlElement) isElsewhere() bool {
	for _, a := range e.attributes {
		if (a.name.local == "href" || a.name.local == "ref") && strings.HasPrefix(a.value, "#") {
			return true
		}
	}
	return false
}

// wantedXML is a name in a path.
type wantedXML struct {
	name     xmlName
	anySpace bool
}

// wantedName reads a step: a local name, or a prefix and a local name.
func wantedName(step string, namespaces map[string]string) (wantedXML, bool) {
	prefix, local, found := strings.Cut(step, ":")
	if !found {
		return wantedXML{name: xmlName{local: step}, anySpace: true}, true
	}
	space, declared := namespaces[prefix]
	return wantedXML{name: xmlName{space: space, local: local}}, declared
}

func (w wantedXML) matches(name xmlName) bool {
	return name.local == w.name.local && (w.anySpace || name.space == w.name.space)
}
