package provider

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// distinguishedName is the name of a certificate's subject, the most significant
// part first, as it lies in the certificate. Each part is a set of attributes,
// nearly always of one.
type distinguishedName [][]nameAttribute

// nameAttribute is one attribute of a name. It is compared as text where it is
// text, and else by its encoding.
type nameAttribute struct {
	oid  string
	text string // folded, see foldName
	der  []byte // nil where only the text is known
}

// attributeTypes are the short names of attribute types: those of RFC 4514 section
// 3, and those that certificates of banks and companies have besides.
var attributeTypes = map[string]string{
	"cn": "2.5.4.3", "commonname": "2.5.4.3",
	"sn": "2.5.4.4", "surname": "2.5.4.4",
	"serialnumber": "2.5.4.5",
	"c":            "2.5.4.6", "countryname": "2.5.4.6",
	"l": "2.5.4.7", "localityname": "2.5.4.7",
	"st": "2.5.4.8", "stateorprovincename": "2.5.4.8",
	"street": "2.5.4.9", "streetaddress": "2.5.4.9",
	"o": "2.5.4.10", "organizationname": "2.5.4.10",
	"ou": "2.5.4.11", "organizationalunitname": "2.5.4.11",
	"title": "2.5.4.12", "description": "2.5.4.13", "businesscategory": "2.5.4.15", "postalcode": "2.5.4.17",
	"name": "2.5.4.41", "givenname": "2.5.4.42", "gn": "2.5.4.42", "initials": "2.5.4.43",
	"dnqualifier": "2.5.4.46", "pseudonym": "2.5.4.65", "organizationidentifier": "2.5.4.97",
	"uid": "0.9.2342.19200300.100.1.1", "userid": "0.9.2342.19200300.100.1.1",
	"dc": "0.9.2342.19200300.100.1.25", "domaincomponent": "0.9.2342.19200300.100.1.25",
	"emailaddress":  "1.2.840.113549.1.9.1",
	"jurisdictionl": "1.3.6.1.4.1.311.60.2.1.1", "jurisdictionst": "1.3.6.1.4.1.311.60.2.1.2",
	"jurisdictionc": "1.3.6.1.4.1.311.60.2.1.3",
}

// textTags are the ASN.1 types that attributes are taken as text of.
var textTags = []int{
	asn1.TagUTF8String, asn1.TagNumericString, asn1.TagPrintableString, asn1.TagIA5String, asn1.TagBMPString,
}

// equal compares two names part by part (RFC 4517 section 4.2.15).
func (n distinguishedName) equal(other distinguishedName) bool {
	return slices.EqualFunc(n, other, equalParts)
}

// equalParts compares two sets of attributes. parseDN and subjectOf let no set
// have an attribute twice.
func equalParts(a, b []nameAttribute) bool {
	if len(a) != len(b) {
		return false
	}
	for _, attribute := range a {
		if !slices.ContainsFunc(b, attribute.equal) {
			return false
		}
	}
	return true
}

func (a nameAttribute) equal(b nameAttribute) bool {
	if a.oid != b.oid {
		return false
	}
	if a.text != "" && b.text != "" {
		return a.text == b.text
	}
	return a.der != nil && bytes.Equal(a.der, b.der)
}

// foldName prepares text for comparison: letters of ASCII in any case are equal,
// and so are runs of spaces of any length (RFC 4518 section 2.6.1). Other letters
// must be the same: what else looks alike is for nobody to say who can't see it.
func foldName(text string) string {
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' })
	return foldASCII(strings.Join(words, " "))
}

// rawAttribute is an attribute in a certificate. encoding/asn1 takes a type whose
// name ends with SET for a set.
type (
	rawAttribute struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue
	}
	rawAttributeSET []rawAttribute
)

// subjectOf returns the subject of a certificate.
func subjectOf(certificate *x509.Certificate) (distinguishedName, error) {
	var raw []rawAttributeSET
	rest, err := asn1.Unmarshal(certificate.RawSubject, &raw)
	if err != nil {
		return nil, fmt.Errorf("reading subject: %w", err)
	}
	if len(rest) > 0 {
		return nil, errors.New("subject is followed by further data")
	}
	var name distinguishedName
	for _, set := range raw {
		var part []nameAttribute
		for _, r := range set {
			attribute := nameAttribute{oid: r.Type.String(), der: r.Value.FullBytes}
			if r.Value.Class == asn1.ClassUniversal && slices.Contains(textTags, r.Value.Tag) {
				var value any
				_, err = asn1.Unmarshal(r.Value.FullBytes, &value)
				if err != nil {
					return nil, fmt.Errorf("reading subject: %w", err)
				}
				text, _ := value.(string)
				attribute.text = foldName(text)
			}
			if slices.ContainsFunc(part, attribute.equal) {
				return nil, errors.New("subject has an attribute twice")
			}
			part = append(part, attribute)
		}
		name = append(name, part)
	}
	return name, nil
}

// parseDN reads a name as RFC 4514 writes it, strictly: the least significant part
// first, without spaces around the signs between the parts.
func parseDN(text string) (distinguishedName, error) {
	var name distinguishedName
	part := []nameAttribute(nil)
	for {
		attribute, sign, rest, err := parseAttribute(text)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(part, attribute.equal) {
			return nil, errors.New("an attribute is given twice")
		}
		part = append(part, attribute)
		if sign != '+' {
			name = append(name, part)
			part = nil
		}
		if sign == 0 {
			slices.Reverse(name)
			return name, nil
		}
		text = rest
	}
}

// parseAttribute reads one attribute, the sign behind it (0 at the end), and
// returns what follows.
func parseAttribute(text string) (a nameAttribute, sign byte, rest string, err error) {
	kind, value, ok := strings.Cut(text, "=")
	if !ok {
		return a, 0, "", errors.New("an attribute is not of the form type=value")
	}
	a.oid, err = attributeOID(kind)
	if err != nil {
		return a, 0, "", err
	}
	raw, sign, rest, err := cutValue(value)
	if err != nil {
		return a, 0, "", fmt.Errorf("attribute %s: %w", kind, err)
	}
	encoded, isHex := strings.CutPrefix(raw, "#")
	if isHex {
		a.der, err = parseDER(encoded)
	} else {
		a.text, err = unescapeValue(raw)
	}
	if err != nil {
		return a, 0, "", fmt.Errorf("attribute %s: %w", kind, err)
	}
	return a, sign, rest, nil
}

// attributeOID returns the object identifier of an attribute type.
func attributeOID(kind string) (string, error) {
	oid := attributeTypes[strings.ToLower(kind)]
	if oid != "" {
		return oid, nil
	}
	parts := strings.Split(kind, ".")
	for _, part := range parts {
		_, err := strconv.ParseUint(part, 10, 32)
		if err != nil || len(part) > 1 && part[0] == '0' {
			return "", fmt.Errorf("unknown attribute type %q", kind)
		}
	}
	if len(parts) < 2 {
		return "", fmt.Errorf("unknown attribute type %q", kind)
	}
	return kind, nil
}

// cutValue cuts a value, still escaped, from the text that begins with it.
func cutValue(text string) (value string, sign byte, rest string, err error) {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++ // unescapeValue sees to it that something follows
		case ',', '+':
			return text[:i], text[i], text[i+1:], nil
		case '"', ';', '<', '>', 0:
			return "", 0, "", fmt.Errorf("%q must be escaped", text[i])
		}
	}
	return text, 0, "", nil
}

func parseDER(encoded string) ([]byte, error) {
	der, err := hex.DecodeString(encoded)
	if err != nil {
		return nil, fmt.Errorf("reading hexadecimal value: %w", err)
	}
	var value asn1.RawValue
	rest, err := asn1.Unmarshal(der, &value)
	if err != nil || len(rest) > 0 {
		return nil, errors.New("hexadecimal value is not one DER value")
	}
	return der, nil
}

// unescapeValue reads the string form of a value (RFC 4514 section 3) and folds it
// for comparison.
func unescapeValue(raw string) (string, error) {
	if strings.HasPrefix(raw, " ") || strings.HasSuffix(raw, " ") && !strings.HasSuffix(raw, `\ `) {
		return "", errors.New("a space at the beginning or end must be escaped")
	}
	var out []byte
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			continue
		}
		rest := raw[i+1:]
		if rest != "" && strings.IndexByte(` "#+,;<=>\`, rest[0]) >= 0 {
			out = append(out, rest[0])
			i++
			continue
		}
		if len(rest) < 2 {
			return "", errors.New("an escape is not complete")
		}
		pair, err := hex.DecodeString(rest[:2])
		if err != nil {
			return "", errors.New("an escape is neither a special character nor two hexadecimal digits")
		}
		out = append(out, pair[0])
		i += 2
	}
	text := foldName(string(out))
	if text == "" || !utf8.Valid(out) {
		return "", errors.New("value is empty or not valid UTF-8")
	}
	return text, nil
}
