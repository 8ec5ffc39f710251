package suite

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode"
)

// maxAnswer bounds in bytes what is read of an answer.
const maxAnswer = 1 << 20

// answer is an answer of the provider.
type answer struct {
	run    *run
	status int
	header http.Header
	body   []byte
	json   map[string]any // nil if the body is not a JSON object
}

// do sends a request.
func (r *run) do(c *http.Client, request *http.Request) *answer {
	r.Helper()
	a, err := r.try(c, request)
	if err != nil {
		r.Fatalf("%s %s: %v", request.Method, request.URL.Redacted(), err)
	}
	return a
}

// try sends a request to which there may be no answer.
func (r *run) try(c *http.Client, request *http.Request) (*answer, error) {
	r.Helper()
	response, err := c.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	a := &answer{run: r, status: response.StatusCode, header: response.Header}
	a.body, err = io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	err = json.Unmarshal(a.body, &a.json)
	if err != nil {
		a.json = nil
	}
	return a, nil
}

// get fetches a document.
func (r *run) get(c *http.Client, address string) *answer {
	r.Helper()
	request, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		r.Fatal(err)
	}
	return r.do(c, request)
}

// post sends a form.
func (r *run) post(c *http.Client, address string, form url.Values) *answer {
	r.Helper()
	return r.do(c, r.postRequest(address, form))
}

func (r *run) postRequest(address string, form url.Values) *http.Request {
	r.Helper()
	request, err := http.NewRequest(http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		r.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")
	return request
}

// text returns a member of the answer if it is a string.
func (a *answer) text(name string) string {
	s, _ := a.json[name].(string)
	return s
}

// isJSON checks the content type and that there is an object.
func (a *answer) isJSON() {
	a.run.Helper()
	media, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil || media != "application/json" || a.json == nil {
		a.run.Fatalf("answer %d is not JSON: %q %s", a.status, a.header.Get("Content-Type"), a.body)
	}
}

// ok checks that an answer is JSON with status 200.
func (a *answer) ok() {
	a.run.Helper()
	a.isJSON()
	if a.status != http.StatusOK {
		a.run.Fatalf("got %d, want 200: %s", a.status, a.body)
	}
}

// problem is one of the errors that a module takes.
type problem struct {
	status int
	code   string
}

// refused checks that an answer is a well-formed error, and one of those given.
func (a *answer) refused(allowed ...problem) {
	a.run.Helper()
	a.wellFormedError()
	for _, p := range allowed {
		if a.status == p.status && a.text("error") == p.code {
			return
		}
	}
	a.run.Fatalf("got %d %s, want one of %v", a.status, a.body, allowed)
}

// wellFormedError checks an error document (RFC 6749 section 5.2). It has no
// members but the three that are defined.
func (a *answer) wellFormedError() {
	a.run.Helper()
	a.isJSON()
	if a.status < 400 || a.status > 499 {
		a.run.Fatalf("got %d, want an error of the client: %s", a.status, a.body)
	}
	for name, value := range a.json {
		text, ok := value.(string)
		if !ok || text == "" {
			a.run.Fatalf("%s is not a text: %s", name, a.body)
		}
		switch name {
		case "error", "error_description":
			if strings.ContainsFunc(text, notInError) {
				a.run.Fatalf("%s has characters that RFC 6749 forbids: %s", name, a.body)
			}
		case "error_uri":
			_, err := url.Parse(text)
			if err != nil {
				a.run.Fatalf("error_uri: %v", err)
			}
		default:
			a.run.Fatalf("error has the member %s: %s", name, a.body)
		}
	}
	if a.text("error") == "" {
		a.run.Fatalf("error is missing: %s", a.body)
	}
}

// notInError reports characters outside of %x20-21 / %x23-5B / %x5D-7E.
func notInError(c rune) bool {
	return c > unicode.MaxASCII || !unicode.IsPrint(c) || c == '"' || c == '\\'
}
