package ciba

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestParseObject(t *testing.T) {
	for text, ok := range map[string]bool{
		`{}`:                       true,
		` {"a":1,"b":{"a":2}} `:    true,
		`{"a":["a","a",{"a":1}]}`:  true,
		`{"a":"b","b":"a"}`:        true,
		`{"a":1,"A":2}`:            true,
		`{"":1}`:                   true,
		``:                         false,
		`null`:                     false,
		`[]`:                       false,
		`"a"`:                      false,
		`1`:                        false,
		`{`:                        false,
		`{"a"}`:                    false,
		`{"a":1,}`:                 false,
		`{"a":1}}`:                 false,
		`{"a":1} {"a":1}`:          false,
		`{"a":1}x`:                 false,
		`{"a":1,"a":1}`:            false,
		`{"a":1,"\u0061":1}`:       false,
		`{"x":{"a":1,"a":1}}`:      false,
		`{"x":[[{"a":1,"a":1}]]}`:  false,
		`{"x":{},"x":{}}`:          false,
		`{"x":[],"y":1,"x":2}`:     false,
		"{\"a\":\"\xff\"}":         false,
		"\ufeff{}":                 false,
		`{'a':1}`:                  false,
		`{"a":01}`:                 false,
		`{"a":NaN}`:                false,
		nested(maxJSONDepth):       true,
		nested(maxJSONDepth + 1):   false,
		strings.Repeat(`{"a":`, 9): false,
	} {
		o, err := parseObject([]byte(text))
		if (err == nil) != ok || (o == nil) == ok {
			t.Errorf("%.60s: %v", text, err)
		}
	}
}

// nested returns an object of the given depth.
func nested(depth int) string {
	return `{"a":` + strings.Repeat("[", depth-1) + strings.Repeat("]", depth-1) + `}`
}

func TestSeconds(t *testing.T) {
	for raw, want := range map[string]time.Duration{
		"1": time.Second, "5.0": 5 * time.Second, "1e1": 10 * time.Second, "60": time.Minute, "null": 0,
		"61": -1, "0": -1, "-1": -1, "0.5": -1, "1.5": -1, `"5"`: -1, "true": -1, "[5]": -1, "{}": -1, "1e309": -1,
	} {
		got, err := object{"x": json.RawMessage(raw)}.seconds("x", time.Minute, false)
		if want == -1 && err == nil || want != -1 && (err != nil || got != want) {
			t.Errorf("%s gives %s, %v", raw, got, err)
		}
	}
	got, err := object{"x": json.RawMessage("1e300")}.seconds("x", time.Minute, true)
	if err != nil || got != time.Minute {
		t.Errorf("clamped to %s, %v", got, err)
	}
}

func TestDate(t *testing.T) {
	for raw, want := range map[string]int64{
		"0": 0, "1700000000": 1700000000, "1.7e9": 1700000000, "1700000000.9": 1700000000, "253402300799": 253402300799,
		"-1": -1, "253402300800": -1, "1e300": -1, `"1"`: -1, "true": -1,
	} {
		got, ok, err := object{"x": json.RawMessage(raw)}.date("x")
		if want == -1 && err == nil || want != -1 && (err != nil || !ok || got.Unix() != want) {
			t.Errorf("%s gives %s, %v", raw, got, err)
		}
	}
}

// manyNames returns an object with so many members, of which the last one has the
// name of the n-th.
func manyNames(count, n int) string {
	var b strings.Builder
	b.WriteString("{")
	for i := range count - 1 {
		fmt.Fprintf(&b, `"m%d":{"m%d":1},`, i, i)
	}
	fmt.Fprintf(&b, `"m%d":0}`, n)
	return b.String()
}

// Whatever is accepted as an object means the same to encoding/json, and no
// member of it was there twice.
func FuzzParseObject(f *testing.F) {
	for _, seed := range []string{`{"a":1,"b":[{"c":null}]}`, `{"a":1,"a":2}`, `{"\u0061":"\ud800"}`, nested(40),
		` { "a\"b" : "c:\\" , "c:\\" :[{"a":{}},{"a":"a"}],"d":{"\ud800":1,"\ufffd":2}}`, manyNames(40, 41), manyNames(40, 39), manyNames(17, 0), manyNames(16, 15)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := parseObject(data)
		if utf8.Valid(data) && json.Unmarshal(data, new(map[string]any)) == nil && !bytes.Equal(bytes.TrimSpace(data), []byte("null")) {
			want := checkNamesByTokens(data)
			if (err == nil) != (want == nil) {
				t.Fatalf("%q: error is %v, want %v", data, err, want)
			}
		}
		if err != nil {
			return
		}
		var m map[string]any
		err = json.Unmarshal(data, &m)
		if err != nil {
			t.Fatalf("encoding/json refuses it: %v", err)
		}
		if len(m) != len(o) {
			t.Fatalf("%d members, encoding/json has %d", len(o), len(m))
		}
	})
}

// No answer of a token endpoint makes the parser panic, and what it lets through
// can be put into a header.
func FuzzParseTokens(f *testing.F) {
	for _, seed := range []string{
		`{"access_token":"abc","token_type":"Bearer","id_token":"a.b.c","expires_in":5,"scope":"a b"}`,
		`{"access_token":"a b","token_type":"Bearer","id_token":"a.b.c","authorization_details":[]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := parseObject(data)
		if err != nil {
			return
		}
		tokens, err := parseTokens(o, time.Unix(1700000000, 0))
		if err != nil {
			return
		}
		if tokens.AccessToken == "" || strings.ContainsAny(tokens.AccessToken, " \r\n\x00\"") || tokens.IDToken == "" {
			t.Fatalf("accepted %q", tokens.AccessToken)
		}
	})
}

// checkNamesByTokens is checkNames by encoding/json's own tokens: slow, and what
// checkNames is compared with.
func checkNamesByTokens(data []byte) error {
	// scope is what one open bracket contains: names is nil for an array, and in
	// an object expectName says whether the next string is a name.
	type scope struct {
		names      map[string]struct{}
		expectName bool
	}
	var open []scope
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) && len(open) == 0 {
			return nil
		}
		if err != nil {
			return errors.New("text is not JSON")
		}
		if len(open) > 0 {
			top := &open[len(open)-1]
			name, isString := token.(string)
			if top.names != nil && top.expectName && isString {
				_, repeated := top.names[name]
				if repeated {
					return errors.New("a member name occurs twice")
				}
				top.names[name] = struct{}{}
				top.expectName = false
				continue
			}
			top.expectName = true
		}
		switch token {
		case json.Delim('{'):
			open = append(open, scope{names: map[string]struct{}{}, expectName: true})
		case json.Delim('['):
			open = append(open, scope{})
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
		if len(open) > maxJSONDepth {
			return errors.New("text is nested too deeply")
		}
	}
}
