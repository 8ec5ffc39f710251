package caddyciba

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// raw sends bytes as they are and reads one answer.
func (s *site) raw(request string) answer {
	conn, err := net.DialTimeout("tcp", s.addr, 5*time.Second)
	if err != nil {
		return answer{err: err}
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	_, err = io.WriteString(conn, request)
	if err != nil {
		return answer{err: err}
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, header: resp.Header, body: string(text), err: err}
}

// folded counts the values of a header in all spellings that upstreams take for
// one.
func folded(h http.Header, name string) []string {
	var values []string
	fold := strings.NewReplacer("_", "-", ".", "-")
	for key, vv := range h {
		if strings.EqualFold(fold.Replace(key), name) {
			values = append(values, vv...)
		}
	}
	return values
}

// TestHeaderHygiene is threats.md G04 and style rule R28: a header of ours
// arrives once, with our value, whatever the caller has sent and in which
// spelling, even when the operator lets such spellings in.
func TestHeaderHygiene(t *testing.T) {
	const lenient = memoryStore + `
	servers {
		expected_underscore_headers X_Customer_Token X_Other
		expected_dot_headers X.Customer.Token
	}`
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	gate := func(token string) string {
		return fmt.Sprintf("@post method POST\nciba @post %s {\n\tcustomer alice\n\tmessage Transfer\n\ttoken %s\n}\nreverse_proxy %s", op.URL, token, b.addr())
	}
	tests := []struct {
		name, token, headers string
		method               string
		status               int
		header               string
		want                 []string
	}{
		{"authorization replaced", "Authorization", "Authorization: Bearer stolen\r\n", "POST", 201, "Authorization", []string{"Bearer token-of-alice"}},
		{"other case", "Authorization", "aUTHORIZATION: Basic c3RvbGVu\r\n", "POST", 201, "Authorization", []string{"Bearer token-of-alice"}},
		{"own header thrice", "X-Customer-Token", "x-customer-token: a\r\nX-Customer-Token: b\r\nX-CUSTOMER-TOKEN: c\r\n", "POST", 201, "X-Customer-Token", []string{"token-of-alice"}},
		{"underscores", "X-Customer-Token", "X_Customer_Token: a\r\n", "POST", 201, "X-Customer-Token", []string{"token-of-alice"}},
		{"dots", "X-Customer-Token", "X.Customer.Token: a\r\n", "POST", 201, "X-Customer-Token", []string{"token-of-alice"}},
		{"caller keeps own credentials", "X-Customer-Token", "Authorization: Bearer mine\r\n", "POST", 201, "Authorization", []string{"Bearer mine"}},
		{"no token", "off", "Authorization: Bearer mine\r\n", "POST", 201, "Authorization", []string{"Bearer mine"}},
		{"unguarded method", "X-Customer-Token", "X-Customer-Token: a\r\nX_Customer_Token: b\r\n", "GET", 201, "X-Customer-Token", nil},
		{"unguarded method keeps credentials", "Authorization", "Authorization: Bearer mine\r\n", "GET", 201, "Authorization", []string{"Bearer mine"}},
		{"authorization twice", "Authorization", "Authorization: Bearer a\r\nAuthorization: Bearer b\r\n", "POST", 400, "", nil},
		{"connection names the token", "X-Customer-Token", "Connection: close, X-Customer-Token\r\n", "POST", 400, "", nil},
		{"method override", "Authorization", "X-HTTP-Method-Override: DELETE\r\n", "POST", 400, "", nil},
		{"method override on an unguarded method", "Authorization", "X-HTTP-Method-Override: POST\r\n", "GET", 400, "", nil},
		{"method in lower case", "Authorization", "", "post", 400, "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := startSite(t, lenient, gate(tt.token))
			before := len(b.received())
			got := s.raw(fmt.Sprintf("%s /transfers HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n%s",
				tt.method, s.addr, len(transfer), tt.headers, transfer))
			if got.err != nil || got.status != tt.status {
				t.Fatalf("got %+v, want status %d", got, tt.status)
			}
			seen := b.received()[before:]
			if tt.status != 201 {
				if len(seen) != 0 {
					t.Errorf("the upstream got %+v", seen)
				}
				return
			}
			if len(seen) != 1 {
				t.Fatalf("the upstream got %d requests", len(seen))
			}
			if values := folded(seen[0].header, tt.header); strings.Join(values, "\n") != strings.Join(tt.want, "\n") {
				t.Errorf("the upstream got %s %q, want %q", tt.header, values, tt.want)
			}
		})
	}
}

// Spellings that the matcher misses and an upstream may fold onto the protected
// path do not slip past it (design.md section 3.1, step 1).
func TestTargetsBesideTheMatcher(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	s := startSite(t, memoryStore, gateBlock(op, b))
	for _, target := range []string{
		`/x\..\transfers`, "/%74ransfers", "/transfer%C5%BF", "/x/%2e%2e/transfers", "/x/../transfers", "//transfers",
		"/transfers;a=b", "/%2Ftransfers", "/./transfers", "/transfers%00", "/transfers%20", "*",
	} {
		got := s.raw(fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			target, s.addr, len(transfer), transfer))
		if got.err != nil || got.status < 400 || got.status > 499 {
			t.Errorf("%s: %+v", target, got)
		}
	}
	// Another host is another site, and there is none.
	got := s.raw(fmt.Sprintf("POST http://other.example/transfers HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n\r\n", s.addr))
	if got.err != nil || got.body != "" {
		t.Errorf("another host: %+v", got)
	}
	b.wantCount(t, 0)
	if n := len(op.started()); n != 0 {
		t.Errorf("the customer was asked %d times", n)
	}
}

// Braces in a request are never a template: neither of the message nor of
// anything that Caddy would expand.
func TestRequestIsNoTemplate(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	s := startSite(t, memoryStore, fmt.Sprintf("ciba %s {\n\tcustomer {ciba.body.who}\n\tmessage \"For {ciba.body.what}\"\n}\nreverse_proxy %s", op.URL, b.addr()))
	got := s.post("/transfers", `{"who":"{env.CIBA_CLIENT_SECRET}","what":"(env.CIBA_CLIENT_SECRET)"}`)
	for _, request := range op.started() {
		if strings.Contains(request.form.Encode(), testClientSecret) {
			t.Errorf("the secret was put in: %v", request.form)
		}
		if request.form.Get("login_hint") != "{env.CIBA_CLIENT_SECRET}" {
			t.Errorf("login hint %q", request.form.Get("login_hint"))
		}
	}
	if got.err != nil || len(op.started()) != 1 {
		t.Errorf("got %+v, asked %d times", got, len(op.started()))
	}
}
