package provider

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of a form body.
const (
	maxBody       = 64 << 10
	maxParameters = 64

	// smallBody is for what memory is set aside before it has come.
	smallBody = 4 << 10

	// bodyTime is how long a body may take.
	bodyTime = 10 * time.Second
)

// form holds the parameters of one request body.
type form struct {
	params []param
	signed bool // they come from a signed request
}

type param struct {
	name, value string
}

// get returns the value of a parameter. An empty value counts as absent (RFC
// 6749 section 3.2), so "" means either.
func (f *form) get(name string) string {
	for _, p := range f.params {
		if p.name == name {
			return p.value
		}
	}
	return ""
}

// all returns the non-empty values of a parameter that may be repeated.
func (f *form) all(name string) []string {
	var values []string
	for _, p := range f.params {
		if p.name == name && p.value != "" {
			values = append(values, p.value)
		}
	}
	return values
}

// readForm reads the body of a POST as application/x-www-form-urlencoded. It
// takes one reading of each byte only: what two parsers could read differently is
// refused (CIBA Core 1.0 section 13; RFC 6749 section 3.2).
func readForm(w http.ResponseWriter, r *http.Request) (*form, error) {
	err := checkFormHeaders(r)
	if err != nil {
		return nil, err
	}
	if r.ContentLength > maxBody {
		return nil, tooLarge()
	}
	// A client that sends its body byte by byte must not hold a connection for long.
	// If it does, the deadline stays, and ends the connection.
	control := http.NewResponseController(w)
	err = control.SetReadDeadline(time.Now().Add(bodyTime))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, unavailable(fmt.Errorf("setting read deadline: %w", err))
	}
	body, err := readAll(r.Body, r.ContentLength)
	if err != nil {
		return nil, err
	}
	err = control.SetReadDeadline(time.Time{})
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, unavailable(fmt.Errorf("clearing read deadline: %w", err))
	}
	return parseForm(body)
}

func tooLarge() *oauthError {
	return &oauthError{
		status:      http.StatusRequestEntityTooLarge,
		code:        codeInvalidRequest,
		description: "The request body is too large.",
	}
}

func checkFormHeaders(r *http.Request) error {
	if r.URL.RawQuery != "" {
		// Parameters in the URL end up in logs and must not be taken (RFC 6749
		// section 2.3.1). Refusing tells the developer where they belong.
		return badRequest("Parameters belong into the body, not into the URL.")
	}
	types := r.Header["Content-Type"]
	if len(types) != 1 {
		return badRequest("The content type must be application/x-www-form-urlencoded.")
	}
	if types[0] != "application/x-www-form-urlencoded" {
		mediaType, params, err := mime.ParseMediaType(types[0])
		charset := params["charset"]
		if err != nil || mediaType != "application/x-www-form-urlencoded" || charset != "" && !strings.EqualFold(charset, "utf-8") {
			return badRequest("The content type must be application/x-www-form-urlencoded.").because(err)
		}
	}
	if r.Header.Get("Content-Encoding") != "" {
		return badRequest("The body must not be compressed.")
	}
	return nil
}

func readAll(body io.Reader, length int64) ([]byte, error) {
	if body == nil {
		return nil, nil
	}
	if length > 0 && length <= smallBody {
		data := make([]byte, length)
		_, err := io.ReadFull(body, data)
		if err != nil {
			return nil, badRequest("The request body is incomplete.").because(err)
		}
		return data, nil
	}
	data, err := io.ReadAll(io.LimitReader(body, maxBody+1))
	if err != nil {
		return nil, badRequest("The request body is incomplete.").because(err)
	}
	if len(data) > maxBody {
		return nil, tooLarge()
	}
	if length > 0 && int64(len(data)) != length {
		return nil, badRequest("The request body is incomplete.")
	}
	return data, nil
}

// errMalformed says that a body is no form, as the log sees it.
var errMalformed = errors.New("body is not a form")

func parseForm(body []byte) (*form, error) {
	for _, c := range body {
		if c < 0x20 || c == 0x7f || c == ';' {
			return nil, badRequest("The request body is malformed.").because(errMalformed)
		}
	}
	rest := string(body)
	f := &form{params: make([]param, 0, min(strings.Count(rest, "&")+1, maxParameters))}
	for rest != "" {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		if pair == "" {
			continue
		}
		if len(f.params) == maxParameters {
			return nil, badRequest("There are too many parameters.")
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, nameErr := url.QueryUnescape(rawName)
		value, valueErr := url.QueryUnescape(rawValue)
		err := errors.Join(nameErr, valueErr)
		if err != nil {
			return nil, badRequest("The request body is malformed.").because(errMalformed)
		}
		err = f.add(name, value)
		if err != nil {
			return nil, err
		}
	}
	return f, nil
}

// add checks one parameter and keeps it.
func (f *form) add(name, value string) error {
	if name == "" || !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
		return badRequest("The request body is malformed.").because(errMalformed)
	}
	if name != "resource" {
		for _, p := range f.params {
			if p.name == name {
				return badRequest("A parameter is given more than once.")
			}
		}
	}
	if !checksItself(name) && (!utf8.ValidString(value) || strings.IndexByte(value, 0) >= 0) {
		return badRequest("A parameter is not valid UTF-8.").because(errMalformed)
	}
	f.params = append(f.params, param{name: name, value: value})
	return nil
}

// checksItself reports whether the reader of a parameter looks at every byte of
// it and has an error code of its own for what is wrong.
func checksItself(name string) bool {
	return name == "binding_message" || name == "auth_req_id"
}
