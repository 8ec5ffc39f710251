package caddyciba

import (
	"encoding/json"
	"net/http"
	"testing"
)

// Members of the details are what the operator says: numbers with the digits that
// were sent, booleans, and everything else a text. What is none is refused, and
// nobody is asked.
func TestDetailsValues(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	op.metadata = map[string]any{"authorization_details_types_supported": []string{"order"}}
	s := startSite(t, memoryStore, whenBlock(op, b, "limit off\n\t\tdetails order {\n\t\t\tamount {ciba.body.amount}\n\t\t\tcount {ciba.body.count} number\n\t\t\tinstant {ciba.body.instant} boolean\n\t\t}"))
	const head = `{"debtor":{"customer_id":"alice"},"currency":"EUR","amount":12.50,`
	for _, c := range []struct {
		body   string
		status int
		want   string // count and instant
	}{
		{`"count":3,"instant":true}`, 201, `3 true`},
		{`"count":"3","instant":"false"}`, 201, `3 false`},
		{`"count":-12345678901234567890.10,"instant":true}`, 201, `-12345678901234567890.10 true`},
		{`"count":"3 pieces","instant":true}`, 422, ""},
		{`"count":"007","instant":true}`, 422, ""},
		{`"count":1e3,"instant":true}`, 422, ""},
		{`"count":3,"instant":"yes"}`, 422, ""},
		{`"count":3,"instant":1}`, 422, ""},
		{`"instant":true}`, 422, ""},
	} {
		asked := len(op.started())
		got := s.do(http.MethodPost, "/orders", head+c.body, http.Header{"Content-Type": {"application/json"}})
		if c.status != 201 {
			got.wantProblem(t, c.status, "transaction-not-readable", false)
			if len(op.started()) != asked {
				t.Errorf("%s: the customer was asked", c.body)
			}
			continue
		}
		if got.status != c.status {
			t.Fatalf("%s: %+v", c.body, got)
		}
		var list []map[string]json.RawMessage
		err := json.Unmarshal([]byte(op.started()[asked].form.Get("authorization_details")), &list)
		if err != nil || len(list) != 1 {
			t.Fatalf("%s: sent %v, %v", c.body, list, err)
		}
		if have := string(list[0]["count"]) + " " + string(list[0]["instant"]); have != c.want || string(list[0]["amount"]) != `"12.50"` {
			t.Errorf("%s: sent %s, amount %s", c.body, have, list[0]["amount"])
		}
	}
}

// A value that a field cannot have, or of no field, is a mistake in JSON, too.
func TestDetailsValuesChecked(t *testing.T) {
	for _, values := range []map[string]string{{"amount": "money"}, {"other": "number"}} {
		h := Handler{Details: &Details{Type: "a", Fields: map[string]string{"amount": "1"}, Values: values}}
		_, err := h.detailsTemplate()
		if err == nil {
			t.Errorf("%v is taken", values)
		}
	}
}
