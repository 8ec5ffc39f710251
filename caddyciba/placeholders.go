package caddyciba

import (
	"net/http"
	"strconv"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyciba/gateway/caddyciba/stepup"
)

// announce tells the handlers behind the gate and the access log who has
// approved what. The token is not part of it.
func announce(r *http.Request, approval *stepup.Approval) {
	t := approval.Transaction
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Set("http.ciba.state", string(t.State))
		repl.Set("http.ciba.transaction", t.ID)
		repl.Map(func(key string) (any, bool) {
			name, ok := strings.CutPrefix(key, claimsPrefix)
			if !ok {
				return nil, false
			}
			text, _ := claimText(approval.Claims.Raw[name])
			return text, true
		})
	}
	logFields(r, zap.String("ciba_transaction", t.ID))
}

// describe tells error routes and the access log why there is no answer of the
// upstream's.
func describe(r *http.Request, refusal *stepup.Refusal) {
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Set("http.ciba.error", string(refusal.Problem))
		repl.Set("http.ciba.title", refusal.Title)
		repl.Set("http.ciba.detail", refusal.Detail)
		repl.Set("http.ciba.state", string(refusal.State))
		repl.Set("http.ciba.transaction", refusal.Transaction)
		repl.Set("http.ciba.retry_after", strconv.Itoa(int(refusal.RetryAfter.Seconds())))
	}
	logFields(r, zap.String("ciba_error", string(refusal.Problem)))
	if refusal.Transaction != "" {
		logFields(r, zap.String("ciba_transaction", refusal.Transaction))
	}
}

// logFields adds to the line of the access log.
func logFields(r *http.Request, fields ...zap.Field) {
	extra, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields)
	if !ok {
		return
	}
	for _, field := range fields {
		extra.Set(field)
	}
}
