package stepup

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestJSONRefused(t *testing.T) {
	for _, text := range lines(t, "testdata/json/refused.txt") {
		t.Run(text, func(t *testing.T) {
			_, err := parseJSON([]byte(text))
			if err == nil {
				t.Error("is taken")
			}
		})
	}
}

func TestJSONAccepted(t *testing.T) {
	for _, text := range lines(t, "testdata/json/accepted.txt") {
		t.Run(text, func(t *testing.T) {
			v, err := parseJSON([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			checkAgainstLibrary(t, []byte(text), v)
		})
	}
}

// The reasons are told apart, as they are what a caller gets to see.
func TestJSONReasons(t *testing.T) {
	for text, want := range map[string]error{
		`{"a":1,"A":2}`:                  errJSONDuplicate,
		"\ufeff{}":                       errJSONEncoding,
		"{\"a\":\"\xff\"}":               errJSONEncoding,
		`{"a":"\ud800"}`:                 errJSONSurrogate,
		`{} {}`:                          errJSONTrailing,
		`{"a":1e400}`:                    errJSONNumber,
		`{"a\u0000":1}`:                  errJSONName,
		`{"a":NaN}`:                      errJSONSyntax,
		"":                               errJSONSyntax,
		strings.Repeat("[", 33) + "1":    errJSONDepth,
		strings.Repeat(`{"a":`, 33):      errJSONDepth,
		strings.Repeat("[", 100_000):     errJSONDepth,
		strings.Repeat(`[{"a":`, 50_000): errJSONDepth,
	} {
		_, err := parseJSON([]byte(text))
		if !errors.Is(err, want) {
			t.Errorf("%.40q: error is %v, want %v", text, err, want)
		}
	}
	deep := strings.Repeat("[", 32) + strings.Repeat("]", 32)
	_, err := parseJSON([]byte(deep))
	if err != nil {
		t.Errorf("depth 32: %v", err)
	}
}

// checkAgainstLibrary compares a parsed text with what encoding/json reads.
func checkAgainstLibrary(t *testing.T, text []byte, v *jsonValue) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var want any
	err := decoder.Decode(&want)
	if err != nil {
		t.Fatalf("encoding/json does not take %q: %v", text, err)
	}
	_, err = decoder.Token()
	if err != io.EOF {
		t.Fatalf("encoding/json finds more in %q", text)
	}
	compareJSON(t, v, want)
}

func compareJSON(t *testing.T, v *jsonValue, want any) {
	t.Helper()
	same := false
	switch want := want.(type) {
	case nil:
		same = v.kind == jsonNull
	case bool:
		same = v.kind == jsonBool && v.text == map[bool]string{true: "true", false: "false"}[want]
	case json.Number:
		same = v.kind == jsonNumber && v.text == want.String()
	case string:
		same = v.kind == jsonString && v.text == want
	case []any:
		same = v.kind == jsonArray && len(v.items) == len(want)
		for i := 0; same && i < len(want); i++ {
			compareJSON(t, &v.items[i], want[i])
		}
	case map[string]any:
		same = v.kind == jsonObject && len(v.items) == len(want)
		for name, inner := range want {
			member, found := v.member(name)
			if !found {
				same = false
				break
			}
			compareJSON(t, member, inner)
		}
	}
	if !same {
		t.Errorf("read as %+v, want %#v", v, want)
	}
}

// Threat T3: of a body that we take, others read what we read.
func FuzzJSON(f *testing.F) {
	for _, name := range []string{"refused", "accepted"} {
		for _, text := range lines(f, "testdata/json/"+name+".txt") {
			f.Add([]byte(text))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := parseJSON(text)
		if err != nil {
			return
		}
		checkAgainstLibrary(t, text, v)
		checkStruct(t, text, v)
	})
}

// checkStruct compares with a reader that folds names, as back ends in Go do.
func checkStruct(t *testing.T, text []byte, v *jsonValue) {
	t.Helper()
	if v.kind != jsonObject {
		return
	}
	var folded struct{ Amount, S, K any }
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	err := decoder.Decode(&folded)
	if err != nil {
		t.Fatal(err)
	}
	exact, found := v.member("amount")
	if found {
		compareJSON(t, exact, folded.Amount)
	}
	exact, found = v.member("s")
	if found {
		compareJSON(t, exact, folded.S)
	}
}

func documentOf(contentType, coding, body string) *Document {
	r := httptest.NewRequest("POST", "/p", strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	if coding != "" {
		r.Header.Set("Content-Encoding", coding)
	}
	s, err := takeSnapshot(httptest.NewRecorder(), r, defaultMaxBody, defaultBodyTimeout)
	if err != nil {
		panic(err)
	}
	return NewDocument(s, map[string]string{"p": "urn:bank:pay", "soap": "http://schemas.xmlsoap.org/soap/envelope/"})
}

func TestLookup(t *testing.T) {
	const body = `{
		"amount": 1250.00, "huge": 123456789012345678901234567890, "tiny": 1e3, "ok": true, "no": false, "none": null, "empty": "",
		"debtor": {"customer_id": "alice"}, "items": [{"amount": "1"}, {"amount": "2"}, [7]], "0": "zero", "text": "\u00e9\n",
		"a.b": "hidden", "Case": "x"
	}`
	d := documentOf("application/json", "", body)
	found := map[string]string{
		"amount": "1250.00", "huge": "123456789012345678901234567890", "tiny": "1e3", "ok": "true", "no": "false", "empty": "",
		"debtor.customer_id": "alice", "items.0.amount": "1", "items.1.amount": "2", "items.2.0": "7", "0": "zero", "text": "é\n",
		"Case": "x",
	}
	for path, want := range found {
		got, err := d.Lookup(path)
		if err != nil || got != want {
			t.Errorf("%s is %q, error %v, want %q", path, got, err, want)
		}
	}
	// Threat G10: missing, null or not a single value fails closed.
	refused := map[string]error{
		"": errFieldMissing, "missing": errFieldMissing, "debtor.missing": errFieldMissing, "amount.x": errFieldMissing,
		"none": errFieldNull, "none.x": errFieldMissing, "debtor": errFieldType, "items": errFieldType, "items.2": errFieldType,
		"items.3": errFieldMissing, "items.-1": errFieldMissing, "items.00": errFieldMissing, "items.+1": errFieldMissing,
		"items.x": errFieldMissing, "items.": errFieldMissing, "a.b": errFieldMissing, "case": errFieldMissing, "AMOUNT": errFieldMissing,
		"debtor..customer_id": errFieldMissing, ".amount": errFieldMissing, "items.99999999999999999999": errFieldMissing,
	}
	for path, want := range refused {
		_, err := d.Lookup(path)
		if problemOf(err) != ProblemNotReadable || !errors.Is(err, want) {
			t.Errorf("%s: error is %v, want %v", path, err, want)
		}
	}
}

// Threats G07, G11: what says how the body is to be read decides.
func TestDocumentMediaType(t *testing.T) {
	cases := []struct {
		contentType, coding string
		want                Problem
	}{
		{"application/json", "", ""},
		{"application/json; charset=utf-8", "", ""},
		{"application/json; charset=UTF-8", "identity", ""},
		{"Application/JSON", "Identity", ""},
		{"application/json; profile=\"x\"", "", ""},
		{"application/vnd.bank.transfer+json", "", ""},
		{"application/problem+json", "", ""},
		{"", "", ProblemMediaType},
		{"application/json;", "", ""},
		{"application", "", ProblemMediaType},
		{"application/json, text/plain", "", ProblemMediaType},
		{"text/json", "", ProblemMediaType},
		{"text/plain", "", ProblemMediaType},
		{"application/x-www-form-urlencoded", "", ProblemNotReadable},
		{"multipart/form-data; boundary=x", "", ProblemNotReadable},
		{"multipart/form-data; boundary=\"x\\y\"", "", ProblemMediaType},
		{"multipart/form-data; boundary*=utf-8''x", "", ProblemMediaType},
		{"multipart/mixed; boundary=x", "", ProblemMediaType},
		{"application/xml", "", ProblemNotReadable},
		{"text/xml; charset=utf-8", "", ProblemNotReadable},
		{"application/soap+xml; action=\"urn:pay\"", "", ProblemNotReadable},
		{"application/xml; charset=utf-16", "", ProblemMediaType},
		{"text/xml", "gzip", ProblemMediaType},
		{"application/x-www-form-urlencoded; charset=utf-7", "", ProblemMediaType},
		{"application/jsonp", "", ProblemMediaType},
		{"application/+json", "", ProblemMediaType},
		{"application/json; charset=utf-16", "", ProblemMediaType},
		{"application/json; charset=utf-7", "", ProblemMediaType},
		{"application/json; charset=latin1", "", ProblemMediaType},
		{"application/json; charset=", "", ProblemMediaType},
		{"application/json; charset=utf-8; charset=utf-7", "", ProblemMediaType},
		{"application/json; charset*=utf-8''utf-7", "", ProblemMediaType},
		{"application/json", "gzip", ProblemMediaType},
		{"application/json", "br", ProblemMediaType},
		{"application/json", "identity, gzip", ProblemMediaType},
		{"application/json", "x-custom", ProblemMediaType},
	}
	for _, c := range cases {
		t.Run(c.contentType+" "+c.coding, func(t *testing.T) {
			_, err := documentOf(c.contentType, c.coding, `{"a":1}`).Lookup("a")
			if got := problemOf(err); got != c.want {
				t.Errorf("problem is %q, want %q (%v)", got, c.want, err)
			}
		})
	}
}

// A route that shows nothing of the body takes any body.
func TestDocumentIsParsedOnDemand(t *testing.T) {
	upstream := &counting{}
	b := newBench(t, upstream.next)
	answer := b.do("POST", "/p", "amount=1&amount=2", http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
	if answer.Code != http.StatusCreated || upstream.count() != 1 {
		t.Errorf("status is %d", answer.Code)
	}
}
