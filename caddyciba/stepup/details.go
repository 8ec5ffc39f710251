package stepup

import (
	"encoding/json"
	"errors"
	"fmt"
)

// defaultDetails is the type of authorization details of a route that names
// none: what is asked for is one HTTP request.
const defaultDetails = "http_request"

// requestDigest is the member by which our digest travels to the provider and
// comes back in the answer.
const requestDigest = "request_digest"

var (
	errDetailsMissing  = errors.New("the answer has not the authorization details that were asked for")
	errDetailsMismatch = errors.New("the authorization details of the answer have another digest")
)

// details is the object of authorization_details (RFC 9396) that says what is
// to be approved and carries the digest.
type details struct {
	kind   string
	digest string
	list   json.RawMessage // an array with the one object
}

// newDetails adds the digest to the operator's object, or makes one that says
// which request it is.
func newDetails(object json.RawMessage, s *Snapshot, d Digest) (details, error) {
	members := make(map[string]json.RawMessage)
	if len(object) == 0 {
		for name, value := range map[string]string{
			"type": defaultDetails, "method": s.Method(), "host": s.Host(), "target": s.Target(),
		} {
			members[name] = quote(value)
		}
	} else {
		_, err := parseJSON(object)
		if err != nil {
			return details{}, fmt.Errorf("reading authorization details: %w", err)
		}
		err = json.Unmarshal(object, &members)
		if err != nil {
			return details{}, fmt.Errorf("reading authorization details: %w", err)
		}
	}
	var kind string
	err := json.Unmarshal(members["type"], &kind)
	if err != nil || kind == "" {
		return details{}, errors.New("authorization details have no type")
	}
	_, taken := members[requestDigest]
	if taken {
		return details{}, errors.New("authorization details have a request_digest of their own")
	}
	members[requestDigest] = quote(d.String())
	list, err := json.Marshal([]map[string]json.RawMessage{members})
	if err != nil {
		return details{}, fmt.Errorf("writing authorization details: %w", err)
	}
	return details{kind: kind, digest: d.String(), list: list}, nil
}

// quote returns text as a JSON string. Strings can always be marshaled.
func quote(text string) json.RawMessage {
	quoted, _ := json.Marshal(text)
	return quoted
}

// check compares what was granted with what was asked for: one object, of our
// type, with our digest.
func (d details) check(granted json.RawMessage) error {
	if len(granted) == 0 {
		return errDetailsMissing
	}
	_, err := parseJSON(granted)
	if err != nil {
		return fmt.Errorf("reading authorization details of the answer: %w", err)
	}
	var list []struct {
		Type   string `json:"type"`
		Digest string `json:"request_digest"`
	}
	err = json.Unmarshal(granted, &list)
	if err != nil {
		return fmt.Errorf("reading authorization details of the answer: %w", err)
	}
	if len(list) != 1 || list[0].Type != d.kind {
		return errDetailsMissing
	}
	if list[0].Digest != d.digest {
		return errDetailsMismatch
	}
	return nil
}
