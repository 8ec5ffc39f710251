package provider

import "reflect"

// StoredMembers returns the names of what a stored request has, as it was declared.
func StoredMembers(data []byte) ([]string, error) {
	var r requestRecord
	err := r.decode(data)
	if err != nil {
		return nil, err
	}
	var names []string
	v := reflect.ValueOf(r)
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			names = append(names, v.Type().Field(i).Name)
		}
	}
	return names, nil
}

// StoredInState returns a request as it is stored that has nothing but a state.
func StoredInState(s State) ([]byte, error) {
	r := requestRecord{State: s}
	return r.encode()
}
