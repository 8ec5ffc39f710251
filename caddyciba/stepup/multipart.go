package stepup

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"mime"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The reasons for which multipart form data is refused. None of them repeats
// any of it.
var (
	errPartBoundary = errors.New("the parts of the form are not delimited as readers agree on")
	errPartHeader   = errors.New("a part of the form has a header that readers do not agree on")
	errPartCharset  = errors.New("a part of the form is not in UTF-8")
)

// maxBoundary is the length of a boundary (RFC 2046 section 5.1.1).
const maxBoundary = 70

// parseMultipart reads multipart/form-data (RFC 7578). The body is its parts and
// nothing else: no text before the first or after the last delimiter, no blanks
// behind delimiters, no line ends but CR LF, and the boundary nowhere else.
func parseMultipart(body []byte, boundary string) (*formFields, error) {
	if !isBoundary(boundary) {
		return nil, errPartBoundary
	}
	fields := newFormFields()
	dashes := []byte("--" + boundary)
	rest, found := bytes.CutPrefix(body, dashes)
	if !found {
		return nil, errPartBoundary
	}
	for {
		if string(rest) == "--" || string(rest) == "--\r\n" {
			return fields, nil
		}
		part, found := bytes.CutPrefix(rest, []byte("\r\n"))
		if !found {
			return nil, errPartBoundary
		}
		part, rest, found = bytes.Cut(part, dashes)
		if !found {
			return nil, errPartBoundary
		}
		part, found = bytes.CutSuffix(part, []byte("\r\n"))
		if !found {
			return nil, errPartBoundary
		}
		err := fields.addPart(part)
		if err != nil {
			return nil, err
		}
	}
}

// isBoundary reports whether text is a boundary that needs no care: readers do
// not agree on blanks in it.
func isBoundary(text string) bool {
	if text == "" || len(text) > maxBoundary {
		return false
	}
	for _, c := range []byte(text) {
		if !isAlphanumeric(c) && strings.IndexByte("'()+_,-./:=?", c) < 0 {
			return false
		}
	}
	return true
}

// addPart takes one part, headers and content.
func (f *formFields) addPart(part []byte) error {
	head, content, found := bytes.Cut(part, []byte("\r\n\r\n"))
	if !found {
		return errPartHeader
	}
	h, err := parsePartHeader(string(head))
	if err != nil {
		return err
	}
	if h.length != "" && h.length != strconv.Itoa(len(content)) {
		return errPartHeader
	}
	if h.isFile {
		sum := sha256.Sum256(content)
		return f.add(h.name, formField{file: &formFile{
			size: len(content), sha256: hex.EncodeToString(sum[:]), name: h.filename, mediaType: h.mediaType,
		}})
	}
	if h.charset != "" && !strings.EqualFold(h.charset, "utf-8") {
		return errPartCharset
	}
	value, err := formText(string(content))
	if err != nil {
		return err
	}
	return f.add(h.name, formField{value: value})
}

// partHeader is what the headers of a part say.
type partHeader struct {
	name      string
	filename  string
	isFile    bool
	mediaType string
	charset   string
	length    string
}

// parsePartHeader reads the headers of a part. There may be those that RFC 7578
// has, each once and on one line; a transfer encoding is none of them.
func parsePartHeader(head string) (*partHeader, error) {
	h := &partHeader{}
	seen := make(map[string]bool)
	for line := range strings.SplitSeq(head, "\r\n") {
		name, value, found := strings.Cut(line, ":")
		name = strings.ToLower(name)
		if !found || seen[name] || !isHeaderText(value) {
			return nil, errPartHeader
		}
		seen[name] = true
		value = strings.Trim(value, " \t")
		var err error
		switch name {
		case "content-disposition":
			err = h.disposition(value)
		case "content-type":
			err = h.contentType(value)
		case "content-length":
			h.length = value
		default:
			err = errPartHeader
		}
		if err != nil {
			return nil, err
		}
	}
	if !seen["content-disposition"] {
		return nil, errPartHeader
	}
	return h, nil
}

// isHeaderText reports whether the text is on one line and in UTF-8.
func isHeaderText(text string) bool {
	for _, c := range []byte(text) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return utf8.ValidString(text)
}

// disposition reads `form-data; name="x"; filename="y"`. Names are quoted or
// plain, without escapes, of which each reader has its own. The extended
// parameter filename* is refused, as one reader prefers it and another one does
// not know it.
func (h *partHeader) disposition(value string) error {
	kind, rest, _ := strings.Cut(value, ";")
	if !strings.EqualFold(strings.TrimRight(kind, " \t"), "form-data") {
		return errPartHeader
	}
	named := false
	for strings.Trim(rest, " \t") != "" {
		key, text, after, ok := dispositionParam(rest)
		if !ok {
			return errPartHeader
		}
		rest = after
		switch {
		case key == "name" && !named && strings.IndexByte(text, '%') < 0 && isASCII(text):
			h.name, named = text, true
		case key == "filename" && !h.isFile && !hasEscapedDelimiter(text) && (text == "" || textProblem(text) == nil):
			h.filename, h.isFile = text, true
		default:
			return errPartHeader
		}
	}
	if !named {
		return errPartHeader
	}
	return nil
}

// dispositionParam reads one parameter and returns what follows its semicolon.
func dispositionParam(text string) (key, value, rest string, ok bool) {
	key, after, found := strings.Cut(strings.TrimLeft(text, " \t"), "=")
	if !found || key == "" {
		return "", "", "", false
	}
	quoted, isQuoted := strings.CutPrefix(after, `"`)
	if isQuoted {
		value, after, found = strings.Cut(quoted, `"`)
		if !found || strings.IndexByte(value, '\\') >= 0 {
			return "", "", "", false
		}
		after = strings.TrimLeft(after, " \t")
		if after != "" && after[0] != ';' {
			return "", "", "", false
		}
		return strings.ToLower(key), value, strings.TrimPrefix(after, ";"), true
	}
	value, rest, _ = strings.Cut(after, ";")
	value = strings.TrimRight(value, " \t")
	for _, c := range []byte(value) {
		if !isAlphanumeric(c) && strings.IndexByte("-._", c) < 0 {
			return "", "", "", false
		}
	}
	return strings.ToLower(key), value, rest, value != ""
}

// hasEscapedDelimiter reports whether a name has one of the escapes that browsers
// write and not every reader takes back.
func hasEscapedDelimiter(text string) bool {
	upper := strings.ToUpper(text)
	return strings.Contains(upper, "%22") || strings.Contains(upper, "%0D") || strings.Contains(upper, "%0A")
}

func isASCII(text string) bool {
	for _, c := range []byte(text) {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// contentType keeps media type and charset, and refuses parts within the part.
func (h *partHeader) contentType(value string) error {
	mediaType, params, err := mime.ParseMediaType(value)
	if err != nil || strings.HasPrefix(mediaType, "multipart/") {
		return errPartHeader
	}
	h.mediaType, h.charset = mediaType, params["charset"]
	return nil
}

// about returns what a last step of a path, without its @, says of a file.
func (f *formFile) about(what string) (string, bool) {
	switch what {
	case "size":
		return strconv.Itoa(f.size), true
	case "sha256":
		return f.sha256, true
	case "filename":
		return f.name, true
	case "type":
		return f.mediaType, true
	default:
		return "", false
	}
}
