package main

import (
	"net/url"
	"os"
	"path/filepath"
	"testing"
)

// TestForm fills and sends a form as a browser does: what is unticked, disabled
// or behind another button is left out.
func TestForm(t *testing.T) {
	file, err := os.Open(filepath.Join("testdata", "form.html"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	at := &url.URL{Scheme: "http", Host: "localhost", Path: "/requests/1"}
	p, err := readPage(at, file)
	if err != nil {
		t.Fatal(err)
	}
	if p.heading != "" || p.text != "Requests Pay 250.00 EUR Approve Deny" {
		t.Errorf("text %q", p.text)
	}
	if len(p.links) != 1 || p.links[0].String() != "http://localhost/" {
		t.Errorf("links %v", p.links)
	}
	if len(p.forms) != 1 || p.passwordForm() == nil {
		t.Fatalf("%d forms", len(p.forms))
	}
	f := p.forms[0]
	for _, refused := range []error{f.fill("nowhere", "x"), f.untick("nowhere"), f.untick("required"), f.untick("unticked")} {
		if refused == nil {
			t.Error("a control that is not there, locked or unticked was changed")
		}
	}
	err = f.fill("password", "p&q")
	if err != nil {
		t.Fatal(err)
	}
	err = f.untick("profile")
	if err != nil {
		t.Fatal(err)
	}
	target, body, err := f.press("approve")
	if err != nil {
		t.Fatal(err)
	}
	if target.String() != "http://localhost/requests/1/decision" {
		t.Errorf("sent to %s", target)
	}
	if got := body.Encode(); got != "decision=approve&password=p%26q&scope=email&token=abc" {
		t.Errorf("sent %s", got)
	}
	target, _, err = f.press("deny")
	if err != nil || target.Path != "/elsewhere" {
		t.Errorf("deny: %v, %v", target, err)
	}
	_, _, err = f.press("never")
	if err == nil {
		t.Error("a button that is not there was pressed")
	}
}
