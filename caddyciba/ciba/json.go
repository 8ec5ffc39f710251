package ciba

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// maxJSONDepth bounds the nesting of what a provider sends.
const maxJSONDepth = 32

// object is one JSON object by its exact member names. encoding/json on its own
// would fold "Access_Token" into "access_token" and let the last of two equal
// names win; an answer that two parsers read differently is refused instead.
type object map[string]json.RawMessage

// parseObject reads data as exactly one JSON object in valid UTF-8, without a
// repeated name at any depth, without trailing data, and at most maxJSONDepth
// deep.
func parseObject(data []byte) (object, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("text is not UTF-8")
	}
	err := checkNames(data)
	if err != nil {
		return nil, err
	}
	var o object
	err = json.Unmarshal(data, &o)
	if err != nil {
		return nil, errors.New("value is not a JSON object")
	}
	if o == nil {
		return nil, errors.New("value is null, not a JSON object")
	}
	return o, nil
}

// checkNames walks all tokens of data. Only the structure is judged; the text of
// a syntax error is dropped because it quotes what was sent.
func checkNames(data []byte) error {
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

// has reports whether the member is there and is not null. Providers written in
// languages that serialize empty fields send null for "absent".
func (o object) has(name string) bool {
	raw, ok := o[name]
	return ok && string(raw) != "null"
}

// text returns a string member, or "" where it is absent.
func (o object) text(name string) (string, error) {
	if !o.has(name) {
		return "", nil
	}
	var s string
	err := json.Unmarshal(o[name], &s)
	if err != nil {
		return "", fmt.Errorf("%s is not a string", name)
	}
	return s, nil
}

// texts returns a member that is an array of strings, or nil where it is absent.
func (o object) texts(name string) ([]string, error) {
	if !o.has(name) {
		return nil, nil
	}
	var list []string
	err := json.Unmarshal(o[name], &list)
	if err != nil {
		return nil, fmt.Errorf("%s is not an array of strings", name)
	}
	return list, nil
}

// flag returns a boolean member, or false where it is absent.
func (o object) flag(name string) (bool, error) {
	if !o.has(name) {
		return false, nil
	}
	var b bool
	err := json.Unmarshal(o[name], &b)
	if err != nil {
		return false, fmt.Errorf("%s is not a boolean", name)
	}
	return b, nil
}

// seconds returns a member that counts whole seconds, at least 1. A count above
// limit is cut to it where clamp says so and refused otherwise. An absent member
// gives 0.
func (o object) seconds(name string, limit time.Duration, clamp bool) (time.Duration, error) {
	if !o.has(name) {
		return 0, nil
	}
	f, err := number(o[name])
	if err != nil {
		return 0, fmt.Errorf("%s is not a number", name)
	}
	if f < 1 || f != math.Trunc(f) {
		return 0, fmt.Errorf("%s is not a positive number of seconds", name)
	}
	if f > limit.Seconds() {
		if !clamp {
			return 0, fmt.Errorf("%s is above %d seconds", name, int(limit.Seconds()))
		}
		return limit, nil
	}
	return time.Duration(f) * time.Second, nil
}

// maxNumericDate is the end of the year 9999, the last moment that every
// consumer of a time can write.
const maxNumericDate = 253402300799

// date returns a NumericDate member (RFC 7519 section 2) and whether it is there.
func (o object) date(name string) (time.Time, bool, error) {
	if !o.has(name) {
		return time.Time{}, false, nil
	}
	f, err := number(o[name])
	if err != nil {
		return time.Time{}, false, fmt.Errorf("%s is not a number", name)
	}
	if f < 0 || f > maxNumericDate {
		return time.Time{}, false, fmt.Errorf("%s is out of range", name)
	}
	whole, fraction := math.Modf(f)
	return time.Unix(int64(whole), int64(fraction*1e9)), true, nil
}

// number reads raw as a JSON number and as nothing else: a number in quotes is
// a string.
func number(raw json.RawMessage) (float64, error) {
	if len(raw) == 0 || raw[0] == '"' {
		return 0, errors.New("not a number")
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, errors.New("not a number")
	}
	return f, nil
}
