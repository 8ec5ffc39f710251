package provider_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyciba/gateway/idp/provider"
)

// badInput is one case of testdata/badinput; README.txt there tells the format.
type badInput struct {
	name  string
	lines []string
}

func readBadInputs(t *testing.T, file string) []badInput {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "badinput", file))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var cases []badInput
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		line := scanner.Text()
		switch {
		case strings.HasPrefix(line, "== "):
			cases = append(cases, badInput{name: line[3:]})
		case strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "":
		default:
			last := &cases[len(cases)-1]
			last.lines = append(last.lines, line)
		}
	}
	err = scanner.Err()
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

// badRequest is a request while it is changed from good to bad.
type badRequest struct {
	method, endpoint, auth string
	body                   string
	params                 []string // name=value, as they stand in the body
	header                 http.Header
	status                 int
	code                   string
}

var repeated = regexp.MustCompile(`\{([^{}*]+)\*(\d+)\}`)

func expand(s, authReqID string) string {
	s = strings.ReplaceAll(s, "{auth_req_id}", authReqID)
	return repeated.ReplaceAllStringFunc(s, func(m string) string {
		parts := repeated.FindStringSubmatch(m)
		n, _ := strconv.Atoi(parts[2])
		return strings.Repeat(parts[1], n)
	})
}

// apply changes the request by one line of a case.
func (b *badRequest) apply(t *testing.T, line, authReqID string) {
	t.Helper()
	verb, rest, _ := strings.Cut(line, " ")
	rest = expand(rest, authReqID)
	name, _, _ := strings.Cut(rest, "=")
	without := func() {
		var kept []string
		for _, p := range b.params {
			if !strings.HasPrefix(p, name+"=") {
				kept = append(kept, p)
			}
		}
		b.params = kept
	}
	switch verb {
	case "method":
		b.method = rest
	case "endpoint":
		b.endpoint = rest
	case "auth":
		b.auth = rest
	case "body":
		b.body = rest
	case "set":
		without()
		b.params = append(b.params, rest)
	case "add":
		b.params = append(b.params, rest)
	case "drop":
		without()
	case "header":
		key, value, given := strings.Cut(rest, ": ")
		b.header.Del(key)
		if given {
			b.header.Set(key, value)
		}
	case "want":
		status, code, _ := strings.Cut(rest, " ")
		b.status, _ = strconv.Atoi(status)
		b.code = code
	default:
		t.Fatalf("unknown line %q", line)
	}
}

func (b *badRequest) request() *http.Request {
	body := b.body
	if body == "" {
		body = strings.Join(b.params, "&")
	}
	r := httptest.NewRequest(b.method, issuer+b.endpoint, strings.NewReader(body))
	r.Header = b.header
	switch b.auth {
	case "none":
	case "other":
		r.SetBasicAuth("other", secret2)
	default:
		r.SetBasicAuth(b.auth, secret1)
	}
	return r
}

// TestBadInput sends every bad input and looks at the whole answer. No bad input
// may lead to a prompt. CIBA checklist A1, A4, A11, E4
func TestBadInput(t *testing.T) {
	files := map[string]badRequest{
		"backchannel.txt": {endpoint: "/backchannel-authentication", params: []string{"scope=openid", "login_hint=alice"}},
		"details.txt":     {endpoint: "/backchannel-authentication", params: []string{"scope=openid", "login_hint=alice"}},
		"token.txt": {endpoint: "/token", params: []string{
			"grant_type=" + provider.GrantCIBA, "auth_req_id={auth_req_id}",
		}},
	}
	for file, good := range files {
		for _, c := range readBadInputs(t, file) {
			t.Run(strings.TrimSuffix(file, ".txt")+"/"+c.name, func(t *testing.T) {
				w := newWorld(t, worlds[strings.TrimSuffix(file, ".txt")])
				b := good
				b.method, b.auth = http.MethodPost, "gateway"
				b.header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
				authReqID, before := "", 0
				if file == "token.txt" {
					authReqID, _ = w.start()
					before = 1
				}
				b.params = nil
				for _, p := range good.params {
					b.params = append(b.params, expand(p, authReqID))
				}
				for _, line := range c.lines {
					b.apply(t, line, authReqID)
				}
				a := w.do(b.request())
				a.want(t, b.status, b.code)
				checkErrorAnswer(t, a)
				pending, err := w.Pending(t.Context(), "sub-alice")
				prompted := len(pending) > before
				if err != nil || prompted != (b.status == http.StatusOK) {
					t.Errorf("pending %d, %v", len(pending), err)
				}
			})
		}
	}
}

// checkErrorAnswer checks the form of an answer.
func checkErrorAnswer(t *testing.T, a *answer) {
	t.Helper()
	if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("headers: %v", a.header)
	}
	if a.status == http.StatusOK {
		return
	}
	for name := range a.body {
		if name != "error" && name != "error_description" && name != "error_uri" {
			t.Errorf("unknown member %q", name)
		}
	}
	for _, r := range a.str("error_description") {
		if r < 0x20 || r > 0x7e || r == '"' || r == '\\' {
			t.Errorf("error_description has %q", r)
		}
	}
	if a.status == http.StatusMethodNotAllowed && a.header.Get("Allow") != "POST" {
		t.Errorf("Allow: %q", a.header.Get("Allow"))
	}
}
