package idp

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyciba/gateway/idp/provider"
)

// detailTypes are the kinds of values that a field of authorization details has.
var detailTypes = []string{
	provider.DetailText, provider.DetailAmount, provider.DetailCurrency, provider.DetailBoolean, provider.DetailDigest,
}

// maxDetailLength bounds in characters what one field may hold.
const maxDetailLength = 4096

// DetailsType is a type of authorization details (RFC 9396): what a client may ask
// the customer to approve beyond scopes, for example one transfer. The approval
// page shows an object of it as a table with a row for each field. Objects with
// fields that are not declared are refused, since nobody could see them.
type DetailsType struct {
	// The value of the member type, for example "wire_transfer". Required.
	Name string `json:"name,omitempty"`

	// The heading of the table. Default: the name.
	DisplayName string `json:"display_name,omitempty"`

	// The rows, in this order. Default: none.
	Fields []*DetailsField `json:"fields,omitempty"`
}

// DetailsField is a member of a type of authorization details.
type DetailsField struct {
	// The name of the member. Required.
	Name string `json:"name,omitempty"`

	// What stands before the value. Default: the name.
	Label string `json:"label,omitempty"`

	// What the value is: text, amount (a decimal number without sign and
	// exponent), currency (three capital letters, ISO 4217), boolean or digest
	// (a SHA-256 in base64url, which is not shown). Default: text.
	Type string `json:"type,omitempty"`

	// Whether objects without the member are refused. Default: false.
	Required bool `json:"required,omitempty"`

	// How many characters a text may have. Default: 256. At most 4096.
	MaxLength int `json:"max_length,omitempty"`
}

// check finds what is wrong with the type.
func (t *DetailsType) check() error {
	if !isScopeToken(t.Name) {
		return fmt.Errorf("details '%s': the name must be printable ASCII without spaces and braces", t.Name)
	}
	for i, field := range t.Fields {
		if field == nil {
			return fmt.Errorf("details '%s' has a null field", t.Name)
		}
		err := field.check()
		if err != nil {
			return fmt.Errorf("details '%s': %w", t.Name, err)
		}
		if slices.ContainsFunc(t.Fields[:i], func(f *DetailsField) bool { return f.Name == field.Name }) {
			return fmt.Errorf("details '%s': %w", t.Name, errTwice("field", field.Name))
		}
	}
	return nil
}

// check finds what is wrong with the field by itself.
func (f *DetailsField) check() error {
	switch {
	case f.Name == "":
		return errors.New("a field has no name")
	case f.Name == "type" || f.Name == "request_digest":
		return fmt.Errorf("field '%s' is there already", f.Name)
	case f.Type != "" && !slices.Contains(detailTypes, f.Type):
		return fmt.Errorf("field '%s': type '%s' is not one of %s", f.Name, f.Type, strings.Join(detailTypes, ", "))
	case f.MaxLength < 0 || f.MaxLength > maxDetailLength:
		return fmt.Errorf("field '%s': max_length is %d, but must be from 1 to %d", f.Name, f.MaxLength, maxDetailLength)
	}
	return nil
}

// settings returns the type as the provider takes it.
func (t *DetailsType) settings() provider.DetailsType {
	settings := provider.DetailsType{Name: t.Name, DisplayName: t.DisplayName}
	for _, field := range t.Fields {
		settings.Fields = append(settings.Fields, provider.DetailsField{
			Name:      field.Name,
			Label:     field.Label,
			Kind:      field.Type,
			Required:  field.Required,
			MaxLength: field.MaxLength,
		})
	}
	return settings
}
