package caddyciba

import (
	"context"
	"maps"
	"net/http"

	"github.com/caddyserver/caddy/v2"
)

// routeGroups is the key under which Caddy keeps, for each request, the groups of
// routes of which one has been taken.
const routeGroups caddy.CtxKey = "route_group"

// tentative makes a request that may have to be sent once more leave no trace in
// what Caddy keeps of the routes that it has taken: `handle` blocks behind the gate
// would not be entered a second time.
func (h *Handler) tentative(r *http.Request) *http.Request {
	groups, ok := r.Context().Value(routeGroups).(map[string]struct{})
	if !h.OnChallenge || !ok {
		return r
	}
	return r.WithContext(context.WithValue(r.Context(), routeGroups, maps.Clone(groups)))
}
