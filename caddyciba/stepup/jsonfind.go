package stepup

import "strconv"

// find implements content.
func (v *jsonValue) find(steps []pathStep, namespaces map[string]string) ([]string, error) {
	if len(steps) == 0 {
		switch v.kind {
		case jsonString, jsonNumber, jsonBool:
			return []string{v.text}, nil
		case jsonNull:
			return nil, errFieldNull
		default:
			return nil, errFieldType
		}
	}
	step, rest := steps[0], steps[1:]
	switch {
	case step.kind == stepName:
		next, found := v.step(step)
		if !found {
			return nil, errFieldMissing
		}
		return next.find(rest, namespaces)
	case v.kind != jsonArray:
		return nil, errFieldMissing
	case step.kind == stepCount:
		if len(rest) > 0 {
			return nil, errFieldMissing
		}
		return []string{strconv.Itoa(len(v.items))}, nil
	}
	var all []string
	for i := range v.items {
		values, err := v.items[i].find(rest, namespaces)
		if err != nil {
			return nil, err
		}
		all = append(all, values...)
	}
	return all, nil
}

// step goes from a value to one that it contains.
func (v *jsonValue) step(s pathStep) (*jsonValue, bool) {
	if v.kind == jsonObject {
		return v.member(s.text)
	}
	index, ok := s.index()
	if v.kind != jsonArray || !ok || index >= len(v.items) {
		return nil, false
	}
	return &v.items[index], true
}
