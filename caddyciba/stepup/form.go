package stepup

import (
	"strings"
	"unicode/utf8"
)

// parseForm reads application/x-www-form-urlencoded as the URL Standard of the
// WHATWG defines it, and refuses what readers make different things of: a
// semicolon, a name without "=", an empty pair, an escape that is none, bytes
// that must be escaped, text that is not UTF-8, and fields that are there twice.
func parseForm(body []byte) (*formFields, error) {
	fields := newFormFields()
	if len(body) == 0 {
		return fields, nil
	}
	if body[0] == '?' {
		// Part of the name, or not.
		return nil, errFormSyntax
	}
	for pair := range strings.SplitSeq(string(body), "&") {
		rawName, rawValue, found := strings.Cut(pair, "=")
		if !found {
			return nil, errFormSyntax
		}
		name, err := unescapeForm(rawName)
		if err != nil {
			return nil, err
		}
		value, err := unescapeForm(rawValue)
		if err != nil {
			return nil, err
		}
		err = fields.add(name, formField{value: value})
		if err != nil {
			return nil, err
		}
	}
	return fields, nil
}

// formPunctuation are the characters, beside letters, digits, "%" and "+", that
// may stand in a form unescaped. Programs other than browsers escape less than
// these do.
const formPunctuation = "-._~!$'()*,/:=?@[]|"

// unescapeForm decodes a name or a value.
func unescapeForm(text string) (string, error) {
	var b strings.Builder
	b.Grow(len(text))
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '%':
			octet, ok := unescape(text, i)
			if !ok || octet == 0 {
				return "", errFormSyntax
			}
			b.WriteByte(octet)
			i += 2
		case c == '+':
			b.WriteByte(' ')
		case isAlphanumeric(c) || strings.IndexByte(formPunctuation, c) >= 0:
			b.WriteByte(c)
		default:
			return "", errFormSyntax
		}
	}
	return formText(b.String())
}

// formText checks the text of a field. A byte order mark at its beginning is
// removed by some readers.
func formText(text string) (string, error) {
	if !utf8.ValidString(text) || strings.HasPrefix(text, "\ufeff") {
		return "", errFormEncoding
	}
	if strings.IndexByte(text, 0) >= 0 {
		return "", errFormSyntax
	}
	return text, nil
}
