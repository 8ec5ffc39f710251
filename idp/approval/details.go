package approval

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode"
)

// leaf is a member of a JSON document that holds a value: its path, names
// joined by dots, and the value as it is written.
type leaf struct {
	member string // name at the top, as it is written
	path   string // all names, as foldName writes them
	value  string
	used   bool
}

// maxDepth bounds nesting of details that are taken apart. What is deeper is
// shown as it is written.
const maxDepth = 16

// nothing stands for null and for what is empty.
const nothing = "–"

var errDepth = errors.New("details nested too deeply")

// splitDetails reads an array of objects and returns the leaves of each in the
// order of the document, numbers with the digits that they were written with.
func splitDetails(raw []byte) ([][]leaf, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	token, err := dec.Token()
	if err != nil {
		return nil, err
	}
	if token != json.Delim('[') {
		return nil, errors.New("details are not an array")
	}
	var out [][]leaf
	for dec.More() {
		var leaves []leaf
		err = walk(dec, leaf{}, 0, &leaves)
		if err != nil {
			return nil, err
		}
		out = append(out, leaves)
	}
	_, err = dec.Token()
	if err != nil {
		return nil, err
	}
	_, err = dec.Token()
	if !errors.Is(err, io.EOF) {
		return nil, errors.New("data behind the details")
	}
	return out, nil
}

// walk reads one value and appends its leaves. at is where it stands.
func walk(dec *json.Decoder, at leaf, depth int, leaves *[]leaf) error {
	if depth > maxDepth {
		return errDepth
	}
	token, err := dec.Token()
	if err != nil {
		return err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		at.value = scalar(token)
		*leaves = append(*leaves, at)
		return nil
	}
	if !dec.More() {
		at.value = nothing
		*leaves = append(*leaves, at)
	}
	for i := 0; dec.More(); i++ {
		name := strconv.Itoa(i + 1)
		if delim == '{' {
			token, err = dec.Token()
			if err != nil {
				return err
			}
			name = token.(string)
		}
		below := leaf{member: at.member, path: strings.TrimPrefix(at.path+"."+foldName(name), ".")}
		if depth == 0 {
			below.member = name
		}
		err = walk(dec, below, depth+1, leaves)
		if err != nil {
			return err
		}
	}
	_, err = dec.Token()
	return err
}

// scalar writes a JSON value that is neither object nor array.
func scalar(token json.Token) string {
	switch v := token.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	return nothing
}

// foldName writes member names one way: creditorName is creditor_name. A dot in
// a name would look like a level and becomes a space.
func foldName(name string) string {
	var b strings.Builder
	lower := false
	for _, r := range name {
		if unicode.IsUpper(r) && lower {
			b.WriteByte('_')
		}
		lower = unicode.IsLower(r) || unicode.IsDigit(r)
		if r == '.' {
			r = ' '
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
