package provider

import (
	"encoding/json"
	"fmt"
	"slices"
)

// What an operator takes away from a client in the configuration is gone from the next
// token on, whatever was approved before. What was approved is not changed: it counts
// again if the client gets it back.

// scopesLeft returns those of the approved scopes that the client still may ask for.
func (p *Provider) scopesLeft(c *client, granted []string) []string {
	allowed := func(name string) bool {
		_, known := p.scopes[name]
		return known && c.allows(name)
	}
	if !slices.ContainsFunc(granted, func(name string) bool { return !allowed(name) }) {
		return granted
	}
	return slices.DeleteFunc(slices.Clone(granted), func(name string) bool { return !allowed(name) })
}

// detailsLeft returns those of the approved authorization details whose types the client
// still may ask for.
func (p *Provider) detailsLeft(c *client, details json.RawMessage) (json.RawMessage, error) {
	if len(details) == 0 {
		return nil, nil
	}
	var objects []json.RawMessage
	err := json.Unmarshal(details, &objects)
	if err != nil {
		return nil, fmt.Errorf("decoding authorization details: %w", err)
	}
	var left []json.RawMessage
	for _, object := range objects {
		var typed struct {
			Type string `json:"type"`
		}
		err = json.Unmarshal(object, &typed)
		if err != nil {
			return nil, fmt.Errorf("decoding authorization details: %w", err)
		}
		if p.allowsDetails(c, typed.Type) {
			left = append(left, object)
		}
	}
	switch len(left) {
	case len(objects):
		return details, nil
	case 0:
		return nil, nil
	}
	return json.Marshal(left)
}

// allowsDetails reports whether the client may ask for details of a type.
func (p *Provider) allowsDetails(c *client, name string) bool {
	_, known := p.detailsTypes[name]
	return known && (len(c.DetailsTypes) == 0 || slices.Contains(c.DetailsTypes, name))
}
