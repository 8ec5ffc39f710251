package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/html"
)

// page is a web page as a browser without JavaScript works with it: its text,
// its links and its forms.
type page struct {
	url     *url.URL
	text    string
	heading string // the first h1
	links   []*url.URL
	forms   []*form
}

// form is what a browser would send, and the buttons that send it.
type form struct {
	action  *url.URL
	method  string
	fields  []field
	buttons []field
}

// field is one control: its name, and its value if it is sent at all.
type field struct {
	name, value string
	kind        string // the type of an input in lower case
	action      string // a button's formaction
	sent        bool   // false for an unticked box
	locked      bool   // disabled: never sent
}

// readPage parses an HTML page that was found at the URL.
func readPage(at *url.URL, body io.Reader) (*page, error) {
	root, err := html.Parse(body)
	if err != nil {
		return nil, fmt.Errorf("parsing page: %w", err)
	}
	p := &page{url: at}
	p.text = textOf(root)
	for n := range root.Descendants() {
		switch {
		case n.Type == html.ElementNode && n.Data == "h1" && p.heading == "":
			p.heading = textOf(n)
		case n.Type == html.ElementNode && n.Data == "a":
			target, err := at.Parse(attr(n, "href"))
			if err == nil {
				p.links = append(p.links, target)
			}
		case n.Type == html.ElementNode && n.Data == "form":
			f, err := readForm(at, n)
			if err != nil {
				return nil, err
			}
			p.forms = append(p.forms, f)
		}
	}
	return p, nil
}

// textOf returns the words in an element, with one space between them.
func textOf(node *html.Node) string {
	var words []string
	for n := range node.Descendants() {
		if n.Type == html.TextNode && n.Parent.Data != "script" && n.Parent.Data != "style" {
			words = append(words, strings.Fields(n.Data)...)
		}
	}
	return strings.Join(words, " ")
}

// formWith returns the form with a button that has the value, or nil.
func (p *page) formWith(button string) *form {
	for _, f := range p.forms {
		if slices.ContainsFunc(f.buttons, func(b field) bool { return b.value == button }) {
			return f
		}
	}
	return nil
}

// passwordForm returns the form that asks for a password, or nil.
func (p *page) passwordForm() *form {
	for _, f := range p.forms {
		if slices.ContainsFunc(f.fields, func(c field) bool { return c.kind == "password" }) {
			return f
		}
	}
	return nil
}

func readForm(at *url.URL, node *html.Node) (*form, error) {
	action, err := at.Parse(attr(node, "action"))
	if err != nil {
		return nil, fmt.Errorf("reading a form's action: %w", err)
	}
	f := &form{action: action, method: strings.ToUpper(attr(node, "method"))}
	if f.method == "" {
		f.method = "GET"
	}
	for n := range node.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		c := field{
			name:   attr(n, "name"),
			value:  attr(n, "value"),
			kind:   strings.ToLower(attr(n, "type")),
			action: attr(n, "formaction"),
			locked: has(n, "disabled"),
			sent:   true,
		}
		switch {
		case n.Data == "button", n.Data == "input" && c.kind == "submit":
			if n.Data == "button" && c.kind == "button" {
				continue
			}
			f.buttons = append(f.buttons, c)
		case n.Data == "input" && (c.kind == "checkbox" || c.kind == "radio"):
			if !has(n, "value") {
				c.value = "on"
			}
			c.sent = has(n, "checked")
			f.fields = append(f.fields, c)
		case n.Data == "input":
			f.fields = append(f.fields, c)
		}
	}
	return f, nil
}

// fill sets the first control with the name, and says so if there is none.
func (f *form) fill(name, value string) error {
	for i := range f.fields {
		if f.fields[i].name == name {
			f.fields[i].value = value
			return nil
		}
	}
	return fmt.Errorf("the form has no field %q", name)
}

// untick clears the box with the value, as a customer does who does not grant
// a permission.
func (f *form) untick(value string) error {
	for i := range f.fields {
		c := &f.fields[i]
		if c.kind == "checkbox" && c.value == value && c.sent {
			if c.locked {
				return fmt.Errorf("the box %q is locked", value)
			}
			c.sent = false
			return nil
		}
	}
	return fmt.Errorf("the form has no ticked box %q", value)
}

// press returns where and what the form sends with the button that has the
// value. An empty value presses the first button.
func (f *form) press(value string) (*url.URL, url.Values, error) {
	body := make(url.Values)
	for _, c := range f.fields {
		if c.name != "" && c.sent && !c.locked {
			body.Add(c.name, c.value)
		}
	}
	for _, b := range f.buttons {
		if b.locked || value != "" && b.value != value {
			continue
		}
		if b.name != "" {
			body.Add(b.name, b.value)
		}
		if b.action == "" {
			return f.action, body, nil
		}
		target, err := f.action.Parse(b.action)
		return target, body, err
	}
	return nil, nil, errors.New("the form has no such button")
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	for _, a := range n.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}
