package idp

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("ciba_idp", parseDirective)

	// The provider answers its own paths and passes all others on. It stands
	// after whatever checks or rewrites requests, and before handle and route,
	// whose catch-all would otherwise swallow its paths. It stands before the
	// gateway's directive, too (that one is placed directly before invoke, so
	// that whichever is registered first, templates comes before this, and
	// this before that): a gateway that guards every POST of a site must not
	// hold the requests that it makes itself to a provider on that site.
	httpcaddyfile.RegisterDirectiveOrder("ciba_idp", httpcaddyfile.After, "templates")
}

// parseDirective reads the directive whose matcher Caddy has taken off.
func parseDirective(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	err := handler.UnmarshalCaddyfile(h.Dispenser)
	if err != nil {
		return nil, err
	}
	return handler, nil
}

// UnmarshalCaddyfile reads the directive. Caddyfile.example explains every option.
//
//	ciba_idp [<matcher>] [<issuer>] {
//		issuer                 <url>
//		store                  <engine> [<args...>]
//		profile                fapi_ciba
//		request_lifetime       <duration>
//		max_request_lifetime   <duration>
//		interval               <duration>
//		long_poll              <duration>|off
//		binding_message_max    <characters>
//		access_token_lifetime  <duration>
//		id_token_lifetime      <duration>
//		refresh_token_lifetime <duration>
//		dpop_nonce_lifetime    <duration>
//		session_idle           <duration>
//		session_lifetime       <duration>
//		proof_age              <duration>
//		history                <duration>|off
//		acr                    [password|password_otp|passkey|device_passkey] <values...>
//		evidence_lifetime      <duration>
//		signing_algs           <algorithms...>
//		encryption_key         <placeholders...>
//		audit [<file>] {
//			file     <path>
//			node     <name>
//			max_size <size>
//		}
//		key_rotation           <duration>|off
//		assertion_audience     core|issuer
//		client_ca              <PEM files...>
//		listener_verifies_clients
//		mtls_base_url          <url>
//		notification_networks  <networks...>
//		notification_ca        <PEM files...>
//		mask_unknown_users
//		match_code off
//		insecure_test_approvals
//		limits {
//			per_client                  <number> <duration>|off
//			per_source                  <number> <duration>|off
//			per_user                    <number> <duration>|off
//			failures                    <number> <duration>|off
//			failures_per_source         <number> <duration>|off
//			cool_down                   <first> [<longest>]|off
//			pending_per_user            <number>
//			pending_per_user_and_client <number>
//			held_polls                  <number>
//		}
//		scope <name> {
//			display_name <text>
//			description  <text>
//			required
//			emphasize
//			claims       <names...>
//			audience     <url>
//		}
//		details <type> {
//			display_name <text>
//			field <name> {
//				label      <text>
//				type       text|amount|currency|boolean|digest
//				required
//				max_length <characters>
//			}
//		}
//		client <id> {
//			name                  <text>
//			secret                <placeholders or sha256:hashes...>
//			auth_method           client_secret_basic|client_secret_post|client_secret_jwt|private_key_jwt|tls_client_auth|self_signed_tls_client_auth
//			auth_signing_alg      <algorithm>
//			certificate           subject_dn|san_dns|san_uri|san_ip|san_email <name>
//			jwks                  <file>|<json>
//			jwks_uri              <url>
//			scopes                <names...>
//			details               <types...>
//			refresh
//			delivery              poll|ping|push
//			notification_endpoint <url>
//			request_lifetime      <duration>
//			interval              <duration>
//			long_poll
//			user_code
//			session_approval
//			signed_requests       [<algorithm>]
//			id_token_signing_alg  <algorithm>
//			sender_constraint     dpop|mtls
//			profile               fapi_ciba
//			resource              <url>
//			uri                   <url>
//			logo_uri              <url>
//			logo                  <file>
//			disabled
//		}
//		hint_issuer <issuer> {
//			jwks       <file>|<json>
//			claim      <name>
//			by_subject
//		}
//		sign_in_with <name> <issuer> {
//			display_name  <text>
//			client_id     <id>
//			client_secret <placeholder>
//			scopes        <names...>
//			claim         <name>
//			by_subject
//			acr_values    <classes...>
//			class         <theirs> <ours>
//			max_age       <duration>
//			ca            <PEM files...>
//		}
//		user <username> {
//			name      <text>
//			password  <hash>
//			user_code <hash>
//			subject   <identifier>
//			claim     <name> <values...>
//			disabled
//		}
//		users_from <source> [<args...>]
//		hints <resolver> [<args...>]
//		policy <policy> [<args...>] {
//			...
//		}
//		claims_from <source> [<args...>] {
//			...
//		}
//		notify <notifier> [<args...>] {
//			...
//		}
//		notify_until_reached
//		brand {
//			name   <text>
//			accent "<#rrggbb>"
//			templates <folder>
//		}
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	p := parser{Dispenser: d, handler: h}
	return p.directive()
}

// parser reads one directive into a handler.
type parser struct {
	*caddyfile.Dispenser
	handler *Handler

	// uses are the places where clients name scopes and details, which may be
	// defined further down.
	uses []use
}

// directive reads the arguments and the block, and checks what can only be
// checked when everything has been read.
func (p *parser) directive() error {
	start := p.Token()
	if p.NextArg() {
		p.handler.Issuer = p.Val()
		err := checkIssuer(p.handler.Issuer)
		if err != nil {
			return p.WrapErr(err)
		}
	}
	if p.NextArg() {
		return p.ArgErr()
	}
	seen := make(options)
	for p.NextBlock(0) {
		err := p.option(seen)
		if err != nil {
			return err
		}
	}
	if p.handler.Issuer == "" {
		return errorAt(start, errNoIssuer)
	}
	err := p.handler.checkClientVerification()
	if err != nil {
		return errorAt(start, err)
	}
	for _, use := range p.uses {
		err := use.check(use.client)
		if err != nil {
			return errorAt(use.at, err)
		}
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Handler)(nil)
