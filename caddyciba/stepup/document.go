package stepup

import (
	"errors"
	"mime"
	"strconv"
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

	once sync.Once
	root *jsonValue
	err  error
}

// NewDocument returns the document in a snapshot's body.
func NewDocument(s *Snapshot) *Document {
	return &Document{
		contentType:     s.header.Get("Content-Type"),
		contentEncoding: s.header.Get("Content-Encoding"),
		body:            s.body,
	}
}

// The reasons for which a field cannot be shown.
var (
	errFieldMissing = errors.New("a field that the customer is to see is missing")
	errFieldNull    = errors.New("a field that the customer is to see is null")
	errFieldType    = errors.New("a field that the customer is to see is not a single value")
)

// Lookup returns the field that path names: members' names and the numbers of
// array items, counted from 0, with dots in between, as in
// "creditor.accounts.0.iban". A string is returned as its characters, a number
// with the digits that were written, and a boolean as true or false.
//
// Anything else fails closed: the error is a *Refusal, with 422 for a field that
// is missing, null, an object or an array and for a body with two readings, and
// with 415 for a body that is not JSON in UTF-8 without content coding.
func (d *Document) Lookup(path string) (string, error) {
	d.once.Do(d.parse)
	if d.err != nil {
		return "", d.err
	}
	value := d.root
	for step := range strings.SplitSeq(path, ".") {
		next, found := value.step(step)
		if !found {
			return "", unreadable(errFieldMissing)
		}
		value = next
	}
	switch value.kind {
	case jsonString, jsonNumber, jsonBool:
		return value.text, nil
	case jsonNull:
		return "", unreadable(errFieldNull)
	default:
		return "", unreadable(errFieldType)
	}
}

// step goes from a value to one that it contains.
func (v *jsonValue) step(name string) (*jsonValue, bool) {
	if v.kind == jsonObject {
		return v.member(name)
	}
	if v.kind != jsonArray {
		return nil, false
	}
	index, err := strconv.Atoi(name)
	if err != nil || index < 0 || index >= len(v.items) || strconv.Itoa(index) != name {
		return nil, false
	}
	return &v.items[index], true
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
	if !isJSON(mediaType) {
		d.err = refuse(ProblemMediaType, "Nothing was sent. Send the body as JSON.", nil)
		return
	}
	charset, given := params["charset"]
	if given && !strings.EqualFold(charset, "utf-8") {
		d.err = refuse(ProblemMediaType, "Nothing was sent. Send the body in UTF-8.", nil)
		return
	}
	root, err := parseJSON(d.body)
	if err != nil {
		d.err = unreadable(err)
		return
	}
	d.root = root
}

// isJSON reports whether a media type is JSON or, by its suffix, based on it
// (RFC 6839 section 3.1).
func isJSON(mediaType string) bool {
	if mediaType == "application/json" {
		return true
	}
	major, minor, found := strings.Cut(mediaType, "/")
	return found && major != "" && len(minor) > len("+json") && strings.HasSuffix(minor, "+json")
}

// unreadable refuses a transaction that cannot be shown in full.
func unreadable(cause error) *Refusal {
	return refuse(ProblemNotReadable, "Nothing was sent and nobody was asked: "+cause.Error()+".", cause)
}
