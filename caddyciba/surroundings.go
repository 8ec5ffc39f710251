package caddyciba

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// surroundings are what a gate takes from the configuration that it belongs to.
type surroundings struct {
	servers *[]*caddyhttp.Server
	ahead   *[]string
	reports *reporter
}

// giveBack makes gates belong to the configuration before again, if that is still
// in use: this one was rejected while its apps were being started, and the one
// before goes on.
func (a *App) giveBack() {
	for key, g := range a.gates {
		before, known := a.before[key]
		if !known || before.reports == nil || before.reports.ctx.Err() != nil {
			continue
		}
		if g.reports.CompareAndSwap(a.reports, before.reports) {
			g.servers.Store(before.servers)
			g.ahead.Store(before.ahead)
		}
	}
}

// exactPaths returns the paths that gates are for and that stand for nothing but
// themselves. Many upstreams take /pay/ for /pay, which such a gate does not.
func exactPaths(routes caddyhttp.RouteList) []string {
	var exact []string
	for _, route := range routes {
		// Of the outermost routes, Caddy has loaded the matchers by now.
		var paths []string
		for _, set := range route.MatcherSets {
			for _, matcher := range set {
				switch m := matcher.(type) {
				case caddyhttp.MatchPath:
					paths = append(paths, m...)
				case *caddyhttp.MatchPath:
					paths = append(paths, *m...)
				}
			}
		}
		for _, raw := range route.HandlersRaw {
			var config any
			err := json.Unmarshal(raw, &config)
			if err != nil {
				continue
			}
			settings, ok := config.(map[string]any)
			if ok && isGate(settings) {
				exact = append(exact, alone(paths)...)
			}
			contains(config, func(inner map[string]any) bool {
				if isGatedRoute(inner) {
					exact = append(exact, alone(matchedPaths(inner))...)
				}
				return false
			})
		}
	}
	return exact
}

// isGatedRoute recognizes the configuration of a route with a gate.
func isGatedRoute(config map[string]any) bool {
	handlers, _ := config["handle"].([]any)
	return slices.ContainsFunc(handlers, func(handler any) bool {
		settings, ok := handler.(map[string]any)
		return ok && isGate(settings)
	})
}

// matchedPaths returns the paths in the configuration of a route.
func matchedPaths(config map[string]any) []string {
	var paths []string
	matchers, _ := config["match"].([]any)
	for _, matcher := range matchers {
		set, _ := matcher.(map[string]any)
		list, _ := set["path"].([]any)
		for _, path := range list {
			text, _ := path.(string)
			paths = append(paths, text)
		}
	}
	return paths
}

// alone returns those of the paths that have no pattern beside them which is for
// what begins with them, too.
func alone(paths []string) []string {
	return slices.DeleteFunc(slices.Clone(paths), func(path string) bool {
		return path == "" || strings.HasSuffix(path, "*") || slices.Contains(paths, path+"/*") || slices.Contains(paths, path+"*")
	})
}

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
