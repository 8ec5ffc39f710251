package stepup

import (
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// overrideField is the form field by which several frameworks are told another
// method than that of the request line.
const overrideField = "_method"

// checkOverrides refuses headers and query parameters by which a back end is
// told another method or target than that of the request line (threats G06).
func checkOverrides(r *http.Request) error {
	for name := range r.Header {
		if overrides[foldHeader(name)] {
			return refuse(ProblemOverride, "Nothing was sent. Headers that override the method or the target are not allowed.", nil)
		}
	}
	if r.URL != nil && hasOverrideField(r.URL.RawQuery) {
		return refuse(ProblemOverride, "Nothing was sent. A parameter that overrides the method is not allowed.", nil)
	}
	return nil
}

// hasOverrideField looks for the field in form data as the most generous reader
// would.
func hasOverrideField(form string) bool {
	for part := range strings.FieldsFuncSeq(form, func(c rune) bool { return c == '&' || c == ';' || c == '\r' || c == '\n' }) {
		key, _, _ := strings.Cut(part, "=")
		decoded, err := url.QueryUnescape(key)
		if err != nil {
			decoded = key
		}
		if isOverrideField(decoded) {
			return true
		}
	}
	return false
}

// isOverrideField reports whether some reader takes a name for the field: in any
// case, with what it makes an array, and with blanks and dots as PHP reads them.
func isOverrideField(name string) bool {
	name, _, _ = strings.Cut(strings.TrimPrefix(name, "\ufeff"), "[")
	return strings.Trim(flatName(name), "\x00\t\r\n ") == flatName(overrideField)
}

// checkOverride refuses a form with the field that overrides the method. A body
// without Content-Type is one to some frameworks.
func (d *Document) checkOverride() error {
	var found bool
	switch kind := formKindOf(d.contentType); {
	case len(d.body) == 0 || kind == noForm:
	case kind == plainForm:
		found = hasOverrideField(string(d.body))
	default:
		var fields *formFields
		if d.Check() == nil {
			fields, _ = d.root.(*formFields)
		}
		if fields == nil {
			// Some reader may find in it what we do not.
			found = overridePart.Match(d.body)
			break
		}
		for name := range fields.byName {
			found = found || isOverrideField(name)
		}
	}
	if found {
		return refuse(ProblemOverride, "Nothing was sent. A field that overrides the method is not allowed.", nil)
	}
	return nil
}

// formKind says as what kind of form some framework reads a body.
type formKind byte

const (
	noForm formKind = iota
	plainForm
	multipartForm
)

// formKindOf judges a Content-Type as the most generous framework would.
func formKindOf(contentType string) formKind {
	if contentType == "application/json" {
		return noForm
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		mediaType = strings.ToLower(contentType)
	}
	switch {
	case mediaType == "" || strings.Contains(mediaType, formType):
		return plainForm
	case strings.Contains(mediaType, "multipart/"):
		return multipartForm
	default:
		return noForm
	}
}

// overridePart finds what may be the header of a part with the field.
var overridePart = regexp.MustCompile(`(?i)name[^\r\n]{0,64}[_. ]method`)
