package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"unicode/utf8"
)

// Limits of authorization_details.
const (
	maxDetails     = 32
	maxDetailsSize = 16 << 10
)

var (
	amountForm   = regexp.MustCompile(`^(0|[1-9][0-9]{0,14})(\.[0-9]{1,8})?$`)
	currencyForm = regexp.MustCompile(`^[A-Z]{3}$`)
	digestForm   = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)
)

// Detail is one object of authorization details, ready to be shown.
type Detail struct {
	// Type is the name of the type, and DisplayName its heading.
	Type, DisplayName string

	// Rows are the members that are there, in the order of the declaration.
	Rows []DetailRow
}

// DetailRow is one member of a [Detail].
type DetailRow struct {
	// Name is the name of the member, Label what stands before the value, Kind
	// one of the Detail constants.
	Name, Label, Kind string

	// Value is the value as text, digit by digit as the client has sent it.
	Value string
}

// readDetails checks authorization_details and returns them in compact form
// (RFC 9396 section 2; threats B62 to B64).
func (p *Provider) readDetails(c *client, value string) (json.RawMessage, error) {
	if value == "" {
		return nil, nil
	}
	compact, err := p.checkDetails(c, value)
	if err != nil {
		return nil, refuse(codeInvalidDetails, "The authorization_details are malformed or of a kind that can not be shown.").because(err)
	}
	return compact, nil
}

func (p *Provider) checkDetails(c *client, value string) (json.RawMessage, error) {
	if len(value) > maxDetailsSize {
		return nil, errors.New("authorization_details are too large")
	}
	err := checkJSON([]byte(value))
	if err != nil {
		return nil, err
	}
	var objects []map[string]json.RawMessage
	err = json.Unmarshal([]byte(value), &objects)
	if err != nil {
		return nil, errors.New("authorization_details are not an array of objects")
	}
	if len(objects) == 0 || len(objects) > maxDetails {
		return nil, errors.New("authorization_details have no or too many objects")
	}
	for i, object := range objects {
		err = p.checkDetail(c, object)
		if err != nil {
			return nil, fmt.Errorf("object %d: %w", i, err)
		}
	}
	var compact bytes.Buffer
	err = json.Compact(&compact, []byte(value))
	if err != nil {
		return nil, fmt.Errorf("compacting authorization_details: %w", err)
	}
	return compact.Bytes(), nil
}

func (p *Provider) checkDetail(c *client, object map[string]json.RawMessage) error {
	var name string
	err := json.Unmarshal(object["type"], &name)
	if err != nil {
		return errors.New("type is missing or not a string")
	}
	t, ok := p.detailsTypes[name]
	if !ok || !p.allowsDetails(c, name) {
		return errors.New("type is not declared or not allowed for the client")
	}
	for member, raw := range object {
		if member == "type" {
			continue
		}
		f, ok := t.field(member)
		if !ok {
			return errors.New("a member is not declared")
		}
		_, err = f.text(raw)
		if err != nil {
			return fmt.Errorf("member %s: %w", f.Name, err)
		}
	}
	for _, f := range t.Fields {
		if f.Required && object[f.Name] == nil {
			return fmt.Errorf("member %s is missing", f.Name)
		}
	}
	return nil
}

// text returns a value as it is shown, or an error if it is not of the kind.
func (f DetailsField) text(raw json.RawMessage) (string, error) {
	if f.Kind == DetailBoolean {
		var value bool
		err := json.Unmarshal(raw, &value)
		if err != nil || string(raw) == "null" {
			return "", errors.New("value is not a boolean")
		}
		return strconv.FormatBool(value), nil
	}
	var value string
	if f.Kind == DetailAmount && len(raw) > 0 && raw[0] != '"' {
		value = string(raw) // a number, digit by digit
	} else {
		err := json.Unmarshal(raw, &value)
		if err != nil || string(raw) == "null" {
			return "", errors.New("value is not a string")
		}
	}
	ok := true
	switch f.Kind {
	case DetailText:
		if value == "" || utf8.RuneCountInString(value) > f.MaxLength {
			return "", errors.New("text is empty or too long")
		}
		return value, checkPlainText(value, true)
	case DetailAmount:
		ok = amountForm.MatchString(value)
	case DetailCurrency:
		ok = currencyForm.MatchString(value)
	case DetailDigest:
		ok = digestForm.MatchString(value)
	}
	if !ok {
		return "", fmt.Errorf("value is not of kind %s", f.Kind)
	}
	return value, nil
}

// describeDetails turns checked authorization_details into rows. A type that was
// removed from the configuration since then has none; its digest still counts.
func (p *Provider) describeDetails(details json.RawMessage) []Detail {
	var objects []map[string]json.RawMessage
	if len(details) == 0 || json.Unmarshal(details, &objects) != nil {
		return nil
	}
	out := make([]Detail, 0, len(objects))
	for _, object := range objects {
		var name string
		_ = json.Unmarshal(object["type"], &name) // it was a string when it was checked
		t, ok := p.detailsTypes[name]
		if !ok {
			t = DetailsType{Name: name, DisplayName: name}
		}
		d := Detail{Type: t.Name, DisplayName: t.DisplayName}
		for _, f := range t.Fields {
			raw, given := object[f.Name]
			if !given {
				continue
			}
			value, err := f.text(raw)
			if err == nil {
				d.Rows = append(d.Rows, DetailRow{Name: f.Name, Label: f.Label, Kind: f.Kind, Value: value})
			}
		}
		out = append(out, d)
	}
	return out
}

// checkSameDetails refuses a token request whose authorization_details differ
// from the approved ones (threats T17).
func checkSameDetails(value string, approved json.RawMessage) error {
	if value == "" {
		return nil
	}
	refusal := refuse(codeInvalidDetails, "The authorization_details differ from the approved ones.")
	if len(value) > maxDetailsSize || checkJSON([]byte(value)) != nil || len(approved) == 0 {
		return refusal
	}
	a, errA := decodeNumbers([]byte(value))
	b, errB := decodeNumbers(approved)
	if errA != nil || errB != nil || !reflect.DeepEqual(a, b) {
		return refusal
	}
	return nil
}

// decodeNumbers decodes JSON and keeps numbers as they are written.
func decodeNumbers(data []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var value any
	err := dec.Decode(&value)
	return value, err
}
