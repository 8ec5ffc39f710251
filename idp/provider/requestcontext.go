package provider

import (
	"encoding/json"
	"unicode/utf8"
)

// maxRequestContext bounds request_context in bytes.
const maxRequestContext = 4 << 10

// maxPlace bounds the place that a user is shown, in characters.
const maxPlace = 64

// readRequestContext checks request_context (FAPI-CIBA section 5.2.2): a JSON object
// in which the client tells of the circumstances of the request, such as the address
// of the caller, for decisions about fraud (CIBA checklist A14). It is
// not kept but for the place.
func readRequestContext(value string) (json.RawMessage, error) {
	if value == "" {
		return nil, nil
	}
	if len(value) > maxRequestContext {
		return nil, badRequest("request_context is too long.")
	}
	err := checkJSON([]byte(value))
	if err != nil {
		return nil, badRequest("request_context is not a JSON object.").because(err)
	}
	var object map[string]json.RawMessage
	err = json.Unmarshal([]byte(value), &object)
	if err != nil || object == nil {
		return nil, badRequest("request_context is not a JSON object.").because(err)
	}
	return json.RawMessage(value), nil
}

// placeOf returns where the request was made, as its client says: the member place of
// request_context. Users are shown it, so that what is no short plain text is left out;
// a client may mean something else by a member of that name.
func placeOf(context json.RawMessage) string {
	var known struct {
		Place any `json:"place"`
	}
	if len(context) == 0 || json.Unmarshal(context, &known) != nil {
		return ""
	}
	place, ok := known.Place.(string)
	if !ok || utf8.RuneCountInString(place) > maxPlace || checkPlainText(place, false) != nil {
		return ""
	}
	return place
}
