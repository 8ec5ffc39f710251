package idp

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

// ServeHTTP answers requests for the provider and for the approval app, and
// passes all others on. While a request is being answered it holds a reference
// to what answers it, so that a config reload takes nothing away from it.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	in, err := h.acquire()
	if err != nil {
		return caddyhttp.Error(http.StatusServiceUnavailable, err)
	}
	handler := in.handler(r)
	if handler == nil {
		h.letGo()
		return next.ServeHTTP(w, r)
	}
	defer h.letGo()
	handler.ServeHTTP(w, r)
	return nil
}

// letGo gives back the reference of one request.
func (h *Handler) letGo() {
	err := release(h.key)
	if err != nil {
		h.logger.Error("releasing after a request", zap.Error(err))
	}
}

// handler returns what answers the request; nil if nothing of ours does.
func (in *instance) handler(r *http.Request) http.Handler {
	switch {
	case in.provider.Handles(r):
		return in.provider
	case in.approval.Handles(r):
		return in.approval
	}
	return nil
}

// clientIP is the address of the browser as Caddy sees it: behind the trusted
// proxies of the server, the one that they name.
func clientIP(r *http.Request) string {
	address, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	return address
}
