package provider

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// maxJSONDepth bounds how deep JSON from outside may be nested.
const maxJSONDepth = 16

// checkJSON reports whether data is one JSON value that every parser reads alike:
// valid UTF-8, no name twice in an object, nothing behind the value, not too deep.
// encoding/json alone takes the last of two equal names.
func checkJSON(data []byte) error {
	if !utf8.Valid(data) {
		return errors.New("JSON is not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	err := checkValue(dec, 0)
	if err != nil {
		return err
	}
	_, err = dec.Token()
	if !errors.Is(err, io.EOF) {
		return errors.New("JSON is followed by further data")
	}
	return nil
}

func checkValue(dec *json.Decoder, depth int) error {
	if depth > maxJSONDepth {
		return errors.New("JSON is nested too deep")
	}
	token, err := dec.Token()
	if err != nil {
		return fmt.Errorf("reading JSON: %w", err)
	}
	switch token {
	case json.Delim('{'):
		return checkObject(dec, depth)
	case json.Delim('['):
		for dec.More() {
			err = checkValue(dec, depth+1)
			if err != nil {
				return err
			}
		}
		return closeValue(dec)
	}
	return nil
}

func checkObject(dec *json.Decoder, depth int) error {
	names := make(map[string]bool)
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return fmt.Errorf("reading JSON: %w", err)
		}
		name, ok := token.(string)
		if !ok || names[name] {
			return errors.New("JSON object has a name twice")
		}
		names[name] = true
		err = checkValue(dec, depth+1)
		if err != nil {
			return err
		}
	}
	return closeValue(dec)
}

// closeValue reads the delimiter that ends an object or array.
func closeValue(dec *json.Decoder) error {
	_, err := dec.Token()
	if err != nil {
		return fmt.Errorf("reading JSON: %w", err)
	}
	return nil
}
