package caddyciba

import (
	"encoding/json"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// configures reports whether one of the routes, or of the routes in them, has a
// handler of the kind that is looked for. While Caddy loads modules, their
// configuration is still there to be read, as it stands.
func configures(routes caddyhttp.RouteList, kind func(config map[string]any) bool) bool {
	for _, route := range routes {
		for _, raw := range route.HandlersRaw {
			var config any
			err := json.Unmarshal(raw, &config)
			if err == nil && contains(config, kind) {
				return true
			}
		}
	}
	return false
}

// contains looks through a configuration and all that is in it.
func contains(config any, kind func(config map[string]any) bool) bool {
	switch value := config.(type) {
	case map[string]any:
		if kind(value) {
			return true
		}
		for _, member := range value {
			if contains(member, kind) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(value, func(member any) bool { return contains(member, kind) })
	}
	return false
}

// isGate recognizes a gate's configuration.
func isGate(config map[string]any) bool {
	return config["handler"] == "ciba"
}

// isRepeater recognizes a reverse proxy that repeats requests which have perhaps
// been carried out.
func isRepeater(config map[string]any) bool {
	balancing, ok := config["load_balancing"].(map[string]any)
	if !ok || config["handler"] != "reverse_proxy" {
		return false
	}
	matchers, _ := balancing["retry_match"].([]any)
	return len(matchers) > 0
}

// askedAhead returns the addresses of services that forward_auth asks who a
// caller is: of proxies that do not pass on what they are answered.
func askedAhead(routes caddyhttp.RouteList) []string {
	var addresses []string
	configures(routes, func(config map[string]any) bool {
		handled, _ := config["handle_response"].([]any)
		if config["handler"] != "reverse_proxy" || len(handled) == 0 {
			return false
		}
		upstreams, _ := config["upstreams"].([]any)
		for _, upstream := range upstreams {
			settings, _ := upstream.(map[string]any)
			address, _ := settings["dial"].(string)
			if address != "" {
				addresses = append(addresses, address)
			}
		}
		return false
	})
	return addresses
}
