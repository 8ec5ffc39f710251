package stepup

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"net/url"
	"strings"
	"testing"
)

// checkAgainstFormLibrary compares a form with what net/url reads.
func checkAgainstFormLibrary(t *testing.T, body []byte, f *formFields) {
	t.Helper()
	values, err := url.ParseQuery(string(body))
	if err != nil || len(values) != len(f.byName) {
		t.Fatalf("net/url reads %q as %v, %v, and we as %v", body, values, err, f.byName)
	}
	for name, field := range f.byName {
		if len(values[name]) != 1 || values.Get(name) != field.value {
			t.Errorf("%q is %q for net/url and %q for us", name, values[name], field.value)
		}
	}
}

// checkAgainstXMLLibrary compares a document with what encoding/xml reads.
func checkAgainstXMLLibrary(t *testing.T, body []byte, root *xmlElement) {
	t.Helper()
	decoder := xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(body, []byte("\ufeff"))))
	decoder.CharsetReader = func(_ string, input io.Reader) (io.Reader, error) { return input, nil }
	virtual := &xmlElement{}
	open := []*xmlElement{virtual}
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("encoding/xml does not take %q: %v", body, err)
		}
		top := open[len(open)-1]
		switch token := token.(type) {
		case xml.StartElement:
			e := &xmlElement{name: xmlName{token.Name.Space, token.Name.Local}}
			for _, a := range token.Attr {
				if a.Name.Space != "xmlns" && (a.Name.Space != "" || a.Name.Local != "xmlns") {
					space := strings.Replace(a.Name.Space, "xml", xmlSpace, 1)
					if a.Name.Space != "xml" {
						space = a.Name.Space
					}
					e.attributes = append(e.attributes, xmlAttribute{xmlName{space, a.Name.Local}, a.Value})
				}
			}
			top.children = append(top.children, e)
			open = append(open, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			top.text += string(token)
		}
	}
	if len(virtual.children) != 1 {
		t.Fatalf("encoding/xml finds %d roots in %q", len(virtual.children), body)
	}
	compareXML(t, root, virtual.children[0])
}

func compareXML(t *testing.T, have, want *xmlElement) {
	t.Helper()
	if have.name.local != want.name.local || have.name.space != want.name.space && want.name.space != "xml" || have.text != want.text ||
		len(have.children) != len(want.children) || len(have.attributes) != len(want.attributes) {
		t.Fatalf("read as %+v, want %+v", have, want)
	}
	// encoding/xml does not make blanks of line ends in attributes.
	blank := strings.NewReplacer("\n", " ", "\t", " ")
	for i, a := range have.attributes {
		if a.name != want.attributes[i].name || blank.Replace(a.value) != blank.Replace(want.attributes[i].value) {
			t.Fatalf("attribute is read as %+v, want %+v", a, want.attributes[i])
		}
	}
	for i := range have.children {
		compareXML(t, have.children[i], want.children[i])
	}
}
