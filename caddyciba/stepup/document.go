package stepup

import (
	"errors"
	"mime"
	"strings"
	"sync"
)

// Document is the body of a request, parsed so strictly that what is read from
// it is what any other reader would read. It is parsed when the first field is
// asked for; a route that shows nothing of the body takes any body. It is safe
// for concurrent use.
type Document struct {
	contentType     string
	contentEncoding string
	body            []byte
	namespaces      map[string]string

	once sync.Once
	root content
	err  error
}

// content is a body of some format, parsed.
type content interface {
	// find returns what the steps of a path lead to: one value, or any number of
	// them if one of the steps is stepEvery. The namespaces are those of prefixes
	// in the steps.
	find(steps []pathStep, namespaces map[string]string) ([]string, error)
}

// NewDocument returns the document in a snapshot's body. Namespaces are the
// prefixes, with their XML namespaces, that paths may use.
func NewDocument(s *Snapshot, namespaces map[string]string) *Document {
	return &Document{
		contentType:     s.header.Get("Content-Type"),
		contentEncoding: s.header.Get("Content-Encoding"),
		body:            s.body,
		namespaces:      namespaces,
	}
}

// maxNodes bounds the values, elements and attributes of one body, so that a
// body of many tiny ones does not take a multiple of its size in memory.
const maxNodes = 100_000

// The reasons for which a field cannot be shown.
var (
	errFieldMissing  = errors.New("a field that the customer is to see is missing")
	errFieldNull     = errors.New("a field that the customer is to see is null")
	errFieldType     = errors.New("a field that the customer is to see is not a single value")
	errFieldRepeated = errors.New("a field that the customer is to see occurs more than once")
	errFieldDoubtful = errors.New("a field that the customer is to see can be read in two ways")
	errTooManyNodes  = errors.New("the body has too many values")
)

// Lookup returns the one field that path names, in the syntax of [Path]. A
// string is returned as its characters, a number with the digits that were
// written, and a boolean as true or false.
//
// Anything else fails closed: the error is a *Refusal, with 422 for a field that
// is missing, null, no single value or there more than once and for a body with
// two readings, and with 415 for a body of an unknown format, in another encoding
// than UTF-8 or with content coding.
func (d *Document) Lookup(path string) (string, error) {
	p, err := ParsePath(path)
	if err != nil {
		return "", unreadable(errFieldMissing)
	}
	return d.Value(p)
}

// Value is Lookup for a path that was taken apart before.
func (d *Document) Value(p Path) (string, error) {
	values, err := d.Values(p)
	if err != nil {
		return "", err
	}
	if p.many || len(values) != 1 {
		return "", unreadable(errFieldType)
	}
	return values[0], nil
}

// Values returns all fields that the path names: none is possible only for a path
// with a step *. It fails as Lookup does, also if only one of them cannot be
// read.
func (d *Document) Values(p Path) ([]string, error) {
	d.once.Do(d.parse)
	if d.err != nil {
		return nil, d.err
	}
	values, err := d.root.find(p.steps, d.namespaces)
	if err != nil {
		return nil, unreadable(err)
	}
	return values, nil
}

// Check reads the body and returns why it cannot be read, as Lookup does.
func (d *Document) Check() error {
	d.once.Do(d.parse)
	return d.err
}

// parse decides by Content-Type alone which reader there is. A body is never
// sniffed: what it looks like is for its sender to choose.
func (d *Document) parse() {
	coding := strings.TrimSpace(d.contentEncoding)
	if coding != "" && !strings.EqualFold(coding, "identity") {
		d.err = refuse(ProblemMediaType, "Nothing was sent. Send the body without content coding.", nil)
		return
	}
	mediaType, params, err := mime.ParseMediaType(d.contentType)
	if err != nil {
		d.err = refuse(ProblemMediaType, "Nothing was sent. The Content-Type cannot be read.", err)
		return
	}
	charset, given := params["charset"]
	if given && !strings.EqualFold(charset, "utf-8") {
		d.err = refuse(ProblemMediaType, "Nothing was sent. Send the body in UTF-8.", nil)
		return
	}
	var root content
	switch {
	case isJSON(mediaType):
		root, err = parseJSON(d.body)
	case isXML(mediaType):
		root, err = parseXML(d.body)
	case mediaType == formType:
		root, err = parseForm(d.body)
	case mediaType == multipartType && !strings.ContainsAny(d.contentType, `\*`):
		// Readers differ about escapes and continuations (RFC 2231) in the boundary.
		root, err = parseMultipart(d.body, params["boundary"])
	default:
		d.err = refuse(ProblemMediaType, "Nothing was sent. Send the body as JSON, XML or form data.", nil)
		return
	}
	if err != nil {
		d.err = unreadable(err)
		return
	}
	d.root = root
}

// The media types of forms.
const (
	formType      = "application/x-www-form-urlencoded"
	multipartType = "multipart/form-data"
)

// isJSON reports whether a media type is JSON or, by its suffix, based on it
// (RFC 6839 section 3.1).
func isJSON(mediaType string) bool {
	return mediaType == "application/json" || hasSuffix(mediaType, "+json")
}

// isXML reports whether a media type is XML or, by its suffix, based on it (RFC
// 7303), such as application/soap+xml.
func isXML(mediaType string) bool {
	return mediaType == "application/xml" || mediaType == "text/xml" || hasSuffix(mediaType, "+xml")
}

func hasSuffix(mediaType, suffix string) bool {
	major, minor, found := strings.Cut(mediaType, "/")
	return found && major != "" && len(minor) > len(suffix) && strings.HasSuffix(minor, suffix)
}

// unreadable refuses a transaction that cannot be shown in full.
func unreadable(cause error) *Refusal {
	return refuse(ProblemNotReadable, "Nothing was sent and nobody was asked: "+cause.Error()+".", cause)
}
