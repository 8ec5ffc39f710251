package provider

import "encoding/json"

// maxRequestContext bounds request_context in bytes.
const maxRequestContext = 4 << 10

// readRequestContext checks request_context (FAPI-CIBA section 5.2.2): a JSON object
// in which the client tells of the circumstances of the request, such as the address
// of the caller, for decisions about fraud (CIBA checklist A14). It is not kept.
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
