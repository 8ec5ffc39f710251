package caddyciba

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// check finds mistakes in the settings, after defaults have been filled in.
func (h *Handler) check(ctx caddy.Context) error {
	switch {
	case h.Provider == "" && h.Issuer == "":
		return errors.New("missing issuer: set either issuer or provider")
	case h.Provider != "" && h.Issuer != "":
		return errors.New("issuer and provider exclude each other")
	case h.MaxBody < 0 || h.MaxBody > maxMaxBody:
		return fmt.Errorf("max_body must be between 1 and %d bytes", maxMaxBody)
	}
	for _, value := range slices.Concat(h.Scope, h.ACR) {
		if value == "" || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' }) {
			return fmt.Errorf("%q is neither a scope nor an authentication context class", value)
		}
	}
	if h.Issuer != "" {
		err := checkIssuer(h.Issuer)
		if err != nil {
			return err
		}
	}
	err := checkTokenHeader(h.Token)
	if err != nil {
		return err
	}
	err = h.checkNamespaces()
	if err != nil {
		return err
	}
	err = h.checkMode()
	if err != nil {
		return err
	}
	var timeout time.Duration
	var server string
	if srv, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok && srv != nil {
		if srv.Errors != nil && configures(srv.Errors.Routes, isGate) {
			return errors.New("a gate cannot be part of error routes: what it lets through has failed already")
		}
		if cutOff(srv.Routes) {
			return errors.New("nothing comes to a gate of this server: a handler in front of it answers every request, so that what the gate is for passes without an approval")
		}
		if configures(srv.Routes, isBare) {
			h.logger.Warn("a reverse_proxy of this server sends requests to a public address without TLS; customers' tokens can be read on their way",
				zap.String("server", srv.Name()))
		}
		if configures(srv.Routes, isRepeater) {
			h.logger.Warn("a reverse_proxy of this server repeats requests that match its retry_match; approved requests are sent once all the same",
				zap.String("server", srv.Name()))
		}
		if h.holdsCallers() {
			timeout, server = time.Duration(srv.WriteTimeout), srv.Name()
		}
	}
	return checkHold(time.Duration(h.Hold), timeout, server)
}
