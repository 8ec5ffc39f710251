package caddyciba

import (
	"net/http"
	"os"
	"strings"
	"testing"
)

// The example for SOAP, as it stands in examples/soap.
func TestSOAPExample(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	s := newSite(t, "")
	for name, value := range map[string]string{
		"ADMIN": s.admin, "STORE": "memory", "ISSUER": op.URL, "GATEWAY": "http://" + s.addr, "SERVICE": b.addr(),
	} {
		t.Setenv(name, value)
	}
	source, err := os.ReadFile("../examples/soap/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	body, err := os.ReadFile("../examples/soap/transfer.xml")
	if err != nil {
		t.Fatal(err)
	}
	s.build = func(string) string { return string(source) }
	err = s.load("")
	if err != nil {
		t.Fatal(err)
	}
	envelope := string(body)
	send := func(action, envelope string) answer {
		return s.do("POST", "/services/payments", envelope, http.Header{
			"Content-Type": {"text/xml; charset=utf-8"}, "Soapaction": {action}, "Authorization": {"Basic YnJhbmNoOnRlbGxlci1kZW1v"},
		})
	}
	for _, c := range []struct {
		name, action, envelope string
		status                 int
		asked                  bool
	}{
		{"transfer", `"urn:transfer"`, envelope, 201, true},
		{"small", `"urn:transfer"`, strings.Replace(envelope, "480.00", "48.00", 1), 201, false},
		{"small, other operation", `"urn:closeAccount"`, strings.Replace(envelope, "480.00", "48.00", 1), 201, true},
		{"other prefixes", `"urn:transfer"`, strings.NewReplacer("<p:", "<ns1:", "</p:", "</ns1:", ":p=", ":ns1=").Replace(envelope), 201, true},
		{"two operations", `"urn:transfer"`, strings.Replace(envelope, "</s:Body>", "<x/></s:Body>", 1), 422, false},
		{"other operation", `"urn:transfer"`, strings.ReplaceAll(envelope, "TransferRequest", "CloseRequest"), 422, false},
		{"document type", `"urn:transfer"`, strings.Replace(envelope, "<s:Envelope", "<!DOCTYPE s:Envelope><s:Envelope", 1), 422, false},
		{"comment in the amount", `"urn:transfer"`, strings.Replace(envelope, "480.00", "48<!-- -->0.00", 1), 422, false},
		{"two amounts", `"urn:transfer"`, strings.Replace(envelope, "<p:Beneficiary>", "<p:Amount currency='EUR'>1</p:Amount><p:Beneficiary>", 1), 422, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			asked, seen := len(op.started()), len(b.received())
			got := send(c.action, c.envelope)
			if got.err != nil || got.status != c.status || (len(op.started()) > asked) != c.asked {
				t.Fatalf("got %+v, asked: %t", got, len(op.started()) > asked)
			}
			if c.status == 201 && b.received()[seen].body != c.envelope {
				t.Errorf("the service got %q", b.received()[seen].body)
			}
			if c.status != 201 {
				b.wantCount(t, seen)
			}
		})
	}
	message := op.started()[0].form.Get("binding_message")
	if !strings.HasPrefix(message, `"urn:transfer": 480.00 EUR to Harbour Boats`) {
		t.Errorf("the customer was shown %q", message)
	}
}
