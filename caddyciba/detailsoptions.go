package caddyciba

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// Details are the authorization details (RFC 9396) that say to the provider, field
// by field, what is to be approved. The gateway adds `request_digest`, the digest of
// the request, and takes only an answer whose details carry it.
type Details struct {
	// Type is the type of the details, as the provider knows it. Required.
	Type string `json:"type,omitempty"`

	// Fields are the members of the details, as texts in which placeholders are
	// filled in for each request. A request for which one of them is unknown or
	// empty is refused. Default: none.
	Fields map[string]string `json:"fields,omitempty"`

	// Values say of fields whose members are not texts what they are: `number` or
	// `boolean`. A number is written with the digits that were sent. A request for
	// which the field is no plain decimal number, or neither `true` nor `false`, is
	// refused. Default: every field is a text.
	Values map[string]string `json:"values,omitempty"`
}

// The kinds of members.
const (
	detailsText    = "text"
	detailsNumber  = "number"
	detailsBoolean = "boolean"
)

var (
	detailsTypeName  = regexp.MustCompile(`^[!#-\[\]-~]{1,128}$`)
	detailsFieldName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,63}$`)
	plainNumber      = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`)

	// reservedDetails are members with a meaning of their own: those of RFC 9396
	// section 2.2 that are lists, and ours.
	reservedDetails = []string{"type", "locations", "actions", "datatypes", "privileges", "request_digest"}
)

// Reasons for which a field cannot be written as what it is to be.
var (
	errNoNumber  = errors.New("is no plain decimal number in this request")
	errNoBoolean = errors.New("is neither true nor false in this request")
)

// detailsTemplate is an object of authorization details to be filled in.
type detailsTemplate struct {
	kind   string
	fields map[string]*template
	values map[string]string
}

// detailsTemplate takes the option details apart. It is nil where there is none.
func (h *Handler) detailsTemplate() (*detailsTemplate, error) {
	if h.Details == nil {
		return nil, nil
	}
	if !detailsTypeName.MatchString(h.Details.Type) {
		return nil, fmt.Errorf("details: '%s' is not a type of authorization details", h.Details.Type)
	}
	d := &detailsTemplate{kind: h.Details.Type, fields: make(map[string]*template, len(h.Details.Fields)), values: h.Details.Values}
	for name, source := range h.Details.Fields {
		t, err := parseDetailsField(name, source)
		if err != nil {
			return nil, fmt.Errorf("details: %w", err)
		}
		d.fields[name] = t
	}
	for name, value := range h.Details.Values {
		err := checkDetailsValue(name, value)
		if err != nil {
			return nil, fmt.Errorf("details: %w", err)
		}
		if d.fields[name] == nil {
			return nil, fmt.Errorf("details: there is no field '%s' to be a %s", name, value)
		}
	}
	return d, nil
}

func parseDetailsField(name, source string) (*template, error) {
	if !detailsFieldName.MatchString(name) || slices.Contains(reservedDetails, name) {
		return nil, fmt.Errorf("'%s' cannot be a field of authorization details", name)
	}
	t, err := parseTemplate(source)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

func checkDetailsValue(name, value string) error {
	if !slices.Contains([]string{detailsText, detailsNumber, detailsBoolean}, value) {
		return fmt.Errorf("%s cannot be a '%s': a field is a %s, a %s or a %s", name, value, detailsText, detailsNumber, detailsBoolean)
	}
	return nil
}

// fill makes the object for one request.
func (d *detailsTemplate) fill(ctx context.Context, s *stepup.Snapshot, doc *stepup.Document) (json.RawMessage, error) {
	if d == nil {
		return nil, nil
	}
	repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return nil, errNoReplacer
	}
	object := map[string]any{"type": d.kind}
	for name, t := range d.fields {
		text, err := t.fill(doc.Lookup, strictly(s, repl.GetString))
		if err == nil {
			object[name], err = detailsMember(text, d.values[name])
		}
		if err != nil {
			return nil, fmt.Errorf("details %s: %w", name, err)
		}
	}
	encoded, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("encoding details: %w", err)
	}
	return encoded, nil
}

// detailsMember is a field as the member that it is to be.
func detailsMember(text, value string) (any, error) {
	switch value {
	case detailsNumber:
		if !plainNumber.MatchString(text) {
			return nil, errNoNumber
		}
		return json.RawMessage(text), nil
	case detailsBoolean:
		if text != "true" && text != "false" {
			return nil, errNoBoolean
		}
		return text == "true", nil
	default:
		return text, nil
	}
}

// unmarshalDetails reads "details TYPE { FIELD TEMPLATE [text|number|boolean] ... }".
func (d *directive) unmarshalDetails(disp *caddyfile.Dispenser) error {
	d.Details = &Details{Fields: make(map[string]string)}
	if !disp.AllArgs(&d.Details.Type) {
		return disp.ArgErr()
	}
	if !detailsTypeName.MatchString(d.Details.Type) {
		return disp.Errf("'%s' is not a type of authorization details", d.Details.Type)
	}
	for nesting := disp.Nesting(); disp.NextBlock(nesting); {
		name, args := disp.Val(), disp.RemainingArgs()
		if len(args) != 1 && len(args) != 2 {
			return disp.ArgErr()
		}
		_, twice := d.Details.Fields[name]
		if twice {
			return disp.Errf("field %s already specified", name)
		}
		_, err := parseDetailsField(name, args[0])
		if err == nil && len(args) == 2 {
			err = checkDetailsValue(name, args[1])
		}
		if err != nil {
			return disp.Errf("invalid details: %w", err)
		}
		d.Details.Fields[name] = args[0]
		if len(args) == 1 || args[1] == detailsText {
			continue
		}
		if d.Details.Values == nil {
			d.Details.Values = make(map[string]string)
		}
		d.Details.Values[name] = args[1]
	}
	return nil
}
