package ciba

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
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
	var o object
	err := json.Unmarshal(data, &o)
	if _, ok := errors.AsType[*json.SyntaxError](err); ok {
		// The text of the error quotes what was sent.
		return nil, errors.New("text is not JSON")
	}
	if err != nil {
		return nil, errors.New("value is not a JSON object")
	}
	if o == nil {
		return nil, errors.New("value is null, not a JSON object")
	}
	err = checkNames(data)
	if err != nil {
		return nil, err
	}
	return o, nil
}

// fewNames is how many members an object has whose names are compared one by one.
const fewNames = 16

// openJSON is an object or array that has not ended.
type openJSON struct {
	from int                 // where its names begin
	many map[string]struct{} // its names, if there are more than a few
}

// checkNames refuses JSON text with a repeated name, or nested too deeply. The text
// must be valid: then a string is a name if and only if a colon follows.
func checkNames(data []byte) error {
	var roomOpen [8]openJSON
	var roomNames [2 * fewNames]string
	open, names := roomOpen[:0], roomNames[:0]
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '{', '[':
			open = append(open, openJSON{from: len(names)})
			if len(open) > maxJSONDepth {
				return errors.New("text is nested too deeply")
			}
		case '}', ']':
			names = names[:open[len(open)-1].from]
			open = open[:len(open)-1]
		case '"':
			begin := i
			for i++; data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
			if !isName(data[i+1:]) {
				continue
			}
			name, err := unquote(data[begin : i+1])
			if err != nil {
				return err
			}
			if open[len(open)-1].has(names, name) {
				return errors.New("a member name occurs twice")
			}
			names = append(names, name)
		}
	}
	return nil
}

// has reports whether the object has the name already, and takes note of it if
// comparing would take too long by then.
func (o *openJSON) has(all []string, name string) bool {
	names := all[o.from:]
	if len(names) < fewNames {
		return slices.Contains(names, name)
	}
	if o.many == nil {
		o.many = make(map[string]struct{}, 2*fewNames)
		for _, other := range names {
			o.many[other] = struct{}{}
		}
	}
	_, found := o.many[name]
	o.many[name] = struct{}{}
	return found
}

// isName reports whether the string that ends before rest is a member's name.
func isName(rest []byte) bool {
	for _, c := range rest {
		switch c {
		case ' ', '\t', '\r', '\n':
		default:
			return c == ':'
		}
	}
	return false
}

// unquote reads a JSON string of valid text.
func unquote(raw []byte) (string, error) {
	if bytes.IndexByte(raw, '\\') < 0 && len(raw) >= 2 && raw[0] == '"' {
		return string(raw[1 : len(raw)-1]), nil
	}
	var s string
	err := json.Unmarshal(raw, &s)
	if err != nil {
		return "", errors.New("value is not a string")
	}
	return s, nil
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
	s, err := unquote(o[name])
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
