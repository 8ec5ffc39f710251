package provider

import (
	"errors"
	"fmt"
	"slices"
)

// Kinds of values of a [DetailsField].
const (
	// DetailText is a line of text. It is the default.
	DetailText = "text"

	// DetailAmount is a decimal number without sign and exponent, of at most 15
	// digits before and 8 behind the point, as a JSON string or number.
	DetailAmount = "amount"

	// DetailCurrency is an ISO 4217 code of three capital letters.
	DetailCurrency = "currency"

	// DetailBoolean is true or false.
	DetailBoolean = "boolean"

	// DetailDigest is a SHA-256 in base64url. It is not meant for the eye.
	DetailDigest = "digest"
)

// DetailsType is a type of authorization details (RFC 9396) that clients may ask
// for and users are shown. Objects of other types, and objects with members that
// are not declared, are refused: what can't be shown must not be approved.
//
// Every type also takes the member request_digest, a DetailDigest, by which a
// client ties the approval to one request of its own. The type http_request, with
// method, host and target, is always there.
type DetailsType struct {
	// Name is the value of the member type. Required.
	Name string

	// DisplayName is the heading that the user sees. Default: Name.
	DisplayName string

	// Fields are the members, in the order in which they are shown.
	Fields []DetailsField
}

// DetailsField is one member of a [DetailsType].
type DetailsField struct {
	// Name is the name of the member. Required.
	Name string

	// Label stands before the value. Default: Name.
	Label string

	// Kind is one of the Detail constants. Default: DetailText.
	Kind string

	// Required members must be there.
	Required bool

	// MaxLength bounds a text in characters. Default: 256.
	MaxLength int
}

const (
	defaultDetailLength = 256
	requestDigestMember = "request_digest"
)

// httpRequestDetails is the type by which a gateway says which HTTP request it
// holds.
func httpRequestDetails() DetailsType {
	return DetailsType{
		Name: "http_request", DisplayName: "Request",
		Fields: []DetailsField{
			{Name: "method", Label: "Action", Required: true, MaxLength: 32},
			{Name: "host", Label: "Service", Required: true},
			{Name: "target", Label: "Address", Required: true, MaxLength: 2048},
		},
	}
}

// compileDetailsTypes returns all declared types by name.
func compileDetailsTypes(configured []DetailsType) (map[string]DetailsType, error) {
	standard := httpRequestDetails()
	types := map[string]DetailsType{standard.Name: withDigest(standard)}
	seen := make(map[string]bool)
	var errs []error
	for _, t := range configured {
		if seen[t.Name] {
			errs = append(errs, fmt.Errorf("authorization details type %q is declared twice", t.Name))
		}
		seen[t.Name] = true
		err := checkDetailsType(t)
		if err != nil {
			errs = append(errs, fmt.Errorf("authorization details type %q: %w", t.Name, err))
			continue
		}
		if t.DisplayName == "" {
			t.DisplayName = t.Name
		}
		types[t.Name] = withDigest(t)
	}
	return types, errors.Join(errs...)
}

func checkDetailsType(t DetailsType) error {
	if !isScopeToken(t.Name) {
		return errors.New("the name must be printable ASCII without spaces")
	}
	kinds := []string{"", DetailText, DetailAmount, DetailCurrency, DetailBoolean, DetailDigest}
	seen := []string{"type", requestDigestMember}
	for _, f := range t.Fields {
		switch {
		case f.Name == "":
			return errors.New("a field has no name")
		case slices.Contains(seen, f.Name):
			return fmt.Errorf("field %q is reserved or declared twice", f.Name)
		case !slices.Contains(kinds, f.Kind):
			return fmt.Errorf("field %q: unknown kind %q", f.Name, f.Kind)
		case f.MaxLength < 0:
			return fmt.Errorf("field %q: the length is negative", f.Name)
		}
		seen = append(seen, f.Name)
	}
	return nil
}

// withDigest returns the type with defaults, and with the member request_digest.
func withDigest(t DetailsType) DetailsType {
	t.Fields = append(slices.Clone(t.Fields), DetailsField{Name: requestDigestMember, Label: "Digest", Kind: DetailDigest})
	for i := range t.Fields {
		f := &t.Fields[i]
		if f.Label == "" {
			f.Label = f.Name
		}
		if f.Kind == "" {
			f.Kind = DetailText
		}
		setInt(&f.MaxLength, defaultDetailLength)
	}
	return t
}

func (t DetailsType) field(name string) (DetailsField, bool) {
	for _, f := range t.Fields {
		if f.Name == name {
			return f, true
		}
	}
	return DetailsField{}, false
}
