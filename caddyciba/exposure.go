package caddyciba

import (
	"encoding/json"
	"net/netip"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// cutOff reports whether a gate stands behind a handler that answers every request
// itself: nothing ever comes to that gate, and what it is for passes without it.
func cutOff(routes caddyhttp.RouteList) bool {
	list := make([]any, 0, len(routes))
	for _, route := range routes {
		handlers := make([]any, 0, len(route.HandlersRaw))
		for _, raw := range route.HandlersRaw {
			var config any
			err := json.Unmarshal(raw, &config)
			if err == nil {
				handlers = append(handlers, config)
			}
		}
		settings := map[string]any{"handle": handlers}
		// Of the outermost routes, Caddy has loaded the matchers by now.
		if len(route.MatcherSets) > 0 || len(route.MatcherSetsRaw) > 0 {
			settings["match"] = []any{route.MatcherSets}
		}
		list = append(list, settings)
	}
	return cutOffIn(list)
}

// cutOffIn looks through a list of routes and the lists in them.
func cutOffIn(routes []any) bool {
	over := false // for all requests
	for _, route := range routes {
		settings, _ := route.(map[string]any)
		handlers, _ := settings["handle"].([]any)
		matchers, _ := settings["match"].([]any)
		here := over // for those that come to this route
		for _, handler := range handlers {
			config, _ := handler.(map[string]any)
			if here && contains(config, isGate) {
				return true
			}
			inner, _ := config["routes"].([]any)
			if cutOffIn(inner) {
				return true
			}
			here = here || isEnd(config)
		}
		over = over || here && len(matchers) == 0
	}
	return false
}

// isEnd recognizes handlers behind which no request goes on.
func isEnd(config map[string]any) bool {
	handled, _ := config["handle_response"].([]any)
	switch config["handler"] {
	case "reverse_proxy":
		return len(handled) == 0 // forward_auth lets requests go on
	case "static_response":
		return true
	default:
		return false
	}
}

// isBare recognizes a reverse proxy that sends requests to a public address without
// TLS, and customers' tokens with them.
func isBare(config map[string]any) bool {
	transport, _ := config["transport"].(map[string]any)
	_, encrypted := transport["tls"]
	if config["handler"] != "reverse_proxy" || encrypted {
		return false
	}
	upstreams, _ := config["upstreams"].([]any)
	return slices.ContainsFunc(upstreams, func(upstream any) bool {
		settings, _ := upstream.(map[string]any)
		dial, _ := settings["dial"].(string)
		address, err := caddy.ParseNetworkAddress(dial)
		if err != nil {
			return false
		}
		ip, err := netip.ParseAddr(address.Host)
		return err == nil && ip.IsGlobalUnicast() && !ip.IsPrivate()
	})
}
