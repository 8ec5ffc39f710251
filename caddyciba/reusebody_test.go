package caddyciba

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// A form that names another method is refused on a covered request as on any other
// (threats G06), other bodies come through as they were sent.
func TestReuseLooksAtForms(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	s := startSite(t, "ciba {\n\tstore memory "+t.Name()+"\n}", tellers+fmt.Sprintf("ciba %s {\n\treuse 1m\n}\nreverse_proxy %s", op.URL, b.addr()))
	s.as("anna", "POST", "/a", transfer)
	const form, parts = "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"
	part := func(name string) string {
		return "--x\r\nContent-Disposition: form-data; name=\"" + name + "\"\r\n\r\nDELETE\r\n--x--\r\n"
	}
	sent := 1
	for _, row := range []struct {
		contentType, body string
		problem           string
		status            int
	}{
		{form, "amount=1&method=a", "", 201},
		{form, "amount=1&_method=DELETE", "method-override", 400},
		{form + "; charset=utf-8", "%5fMETHOD=DELETE", "method-override", 400},
		{strings.ToUpper(form), "_method=DELETE", "method-override", 400},
		{"", "_method=DELETE", "method-override", 400},
		{"", "amount=1", "", 201},
		{parts, part("amount"), "", 201},
		{parts, part("_method"), "method-override", 400},
		{"multipart/form-data", part("_method"), "method-override", 400},
		{form, "a=" + strings.Repeat("x", defaultMaxBody), "body-too-large", 413},
		{"application/json", `{"_method":"` + strings.Repeat("x", defaultMaxBody) + `"}`, "", 201},
	} {
		header := http.Header{"Authorization": s.basic("anna")}
		if row.contentType != "" {
			header.Set("Content-Type", row.contentType)
		}
		got := s.do("POST", "/a", row.body, header)
		if row.problem != "" {
			got.wantProblem(t, row.status, row.problem, false)
			b.wantCount(t, sent)
			continue
		}
		sent++
		b.wantCount(t, sent)
		last := b.received()[len(b.received())-1]
		if got.status != row.status || last.body != row.body || last.header.Get("Content-Type") != row.contentType {
			t.Errorf("%s: got %+v, the upstream %.80q", row.contentType, got, last.body)
		}
	}
	if n := len(op.started()); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// What needs no approval goes on as it came, also while an approval covers what
// does; and a condition that reads the body is no option with reuse.
func TestReuseAndWhen(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	s := startSite(t, "ciba {\n\tstore memory "+t.Name()+"\n}", tellers+fmt.Sprintf("ciba %s {\n\treuse 1m\n\twhen `method != \"GET\"`\n}\nreverse_proxy %s", op.URL, b.addr()))
	const token = "booked for Bearer token-of-anna"
	for _, method := range []string{"POST", "GET", "PUT"} {
		got := s.as("anna", method, "/a", transfer)
		if got.status != 201 || (got.body == token) != (method != "GET") {
			t.Errorf("%s: got %+v", method, got)
		}
	}
	if n := len(op.started()); n != 1 {
		t.Errorf("asked %d times", n)
	}

	h := &Handler{Issuer: op.URL, Reuse: caddy.Duration(time.Minute), When: `{ciba.body.amount} > 1000`}
	h.setDefaults()
	_, err := h.buildRoute()
	if err != errReuseWhen {
		t.Errorf("error is %v", err)
	}
}
