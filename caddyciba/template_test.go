package caddyciba

import (
	"errors"
	"testing"
)

func TestTemplateFill(t *testing.T) {
	errMissing := errors.New("no such field")
	body := func(path string) (string, error) {
		switch path {
		case "amount":
			return "100.00", nil
		case "creditor.name":
			return "{file./etc/passwd}", nil
		case "memo":
			return "", nil
		}
		return "", errMissing
	}
	lookup := func(key string) (string, bool, error) {
		switch key {
		case "http.auth.user.id":
			return "alice", true, nil
		case "http.request.header.X":
			return "", true, nil
		case "http.request.header.Y":
			return "", true, errSeveral
		}
		return "", false, nil
	}

	tests := []struct {
		name, source, want string
		err                error
	}{
		{name: "literal", source: "Transfer money", want: "Transfer money"},
		{name: "body and request", source: "Pay {ciba.body.amount} for {http.auth.user.id}", want: "Pay 100.00 for alice"},
		{name: "escaped braces", source: `\{{ciba.body.amount}\}`, want: "{100.00}"},
		{name: "lone backslash", source: `a\b`, want: `a\b`},
		// What comes from the request is never a template.
		{name: "braces in a value", source: "To {ciba.body.creditor.name}", want: "To {file./etc/passwd}"},
		// threats.md C10
		{name: "missing field", source: "Pay {ciba.body.amuont}", err: errMissing},
		{name: "empty field", source: "Memo {ciba.body.memo}", err: errEmptyPlaceholder},
		{name: "unknown name", source: "Pay {amount}", err: errUnknownPlaceholder},
		{name: "repeated header", source: "Pay {http.request.header.Y}", err: errSeveral},
		{name: "empty header", source: "Pay {http.request.header.X}", err: errEmptyPlaceholder},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tpl, err := parseTemplate(tt.source)
			if err != nil {
				t.Fatal(err)
			}
			got, err := tpl.fill(body, lookup)
			if !errors.Is(err, tt.err) || got != tt.want {
				t.Errorf("fill(%q) = %q, %v; want %q, %v", tt.source, got, err, tt.want, tt.err)
			}
		})
	}
}

// threats.md C10
func TestTemplateMistakes(t *testing.T) {
	for _, source := range []string{
		"Pay {ciba.body.amount", "Pay }", "Pay {}", "Pay { x }", "Pay {a{b}}",
		"{ciba.amount}", "{ciba.body.}", "{ciba.body.a..b}", "{ciba.body.a.}", "{ciba.claims.sub}", "{ciba.body.items.*.amount}", `{ciba.body.a\b}`,
	} {
		_, err := parseTemplate(source)
		if err == nil {
			t.Errorf("parseTemplate(%q) was accepted", source)
		}
	}
}

func TestTemplateNeedsBody(t *testing.T) {
	for source, want := range map[string]bool{"{http.auth.user.id}": false, "x {ciba.body.a} y": true, "": false} {
		tpl, err := parseTemplate(source)
		if err != nil {
			t.Fatal(err)
		}
		if tpl.needsBody() != want {
			t.Errorf("needsBody(%q) = %t", source, !want)
		}
	}
}
