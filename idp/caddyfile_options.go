package idp

import (
	"encoding/json"
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyciba/gateway/caddyciba/store/caddyaudit"
)

// option reads one option of the directive. What is wrong with it, alone or beside
// the options before it, is an error here.
func (p *parser) option(seen options) error {
	repeated := []string{"issuer", "scope", "details", "client", "user", "hint_issuer", "sign_in_with", "notify", "policy", "claims_from", "acr"}
	if !slices.Contains(repeated, p.Val()) {
		err := seen.once(p.Dispenser)
		if err != nil {
			return err
		}
	}
	err := p.read()
	if err != nil {
		return err
	}
	return p.wrap(p.handler.checkOptions())
}

// read reads one option into the handler.
func (p *parser) read() error {
	h := p.handler
	switch p.Val() {
	case "issuer":
		return p.issuer()
	case "store":
		return p.store()
	case "profile":
		return p.text(&h.Profile)
	case "request_lifetime":
		return p.duration(&h.RequestLifetime)
	case "max_request_lifetime":
		return p.duration(&h.MaxRequestLifetime)
	case "interval":
		return p.duration(&h.Interval)
	case "long_poll":
		return p.durationOrOff(&h.LongPoll)
	case "binding_message_max":
		return p.number(&h.BindingMessageMax)
	case "access_token_lifetime":
		return p.duration(&h.AccessTokenLifetime)
	case "id_token_lifetime":
		return p.duration(&h.IDTokenLifetime)
	case "refresh_token_lifetime":
		return p.duration(&h.RefreshTokenLifetime)
	case "dpop_nonce_lifetime":
		return p.duration(&h.DPoPNonceLifetime)
	case "session_idle":
		return p.duration(&h.SessionIdle)
	case "session_lifetime":
		return p.duration(&h.SessionLifetime)
	case "history":
		return p.durationOrOff(&h.History)
	case "proof_age":
		return p.duration(&h.ProofAge)
	case "acr":
		return p.acr()
	case "evidence_lifetime":
		return p.duration(&h.EvidenceLifetime)
	case "signing_algs":
		return p.list(&h.SigningAlgs)
	case "encryption_key":
		return p.list(&h.EncryptionKeys)
	case "audit":
		h.Audit = new(caddyaudit.Options)
		return h.Audit.UnmarshalCaddyfile(p.Dispenser)
	case "key_rotation":
		return p.durationOrOff(&h.KeyRotation)
	case "assertion_audience":
		return p.text(&h.AssertionAudience)
	case "client_ca":
		return p.list(&h.ClientCAFiles)
	case "listener_verifies_clients":
		return p.flag(&h.ListenerVerifiesClients)
	case "mtls_base_url":
		return p.text(&h.MTLSBaseURL)
	case "notification_networks":
		return p.list(&h.NotificationNetworks)
	case "notification_ca":
		return p.list(&h.NotificationCAFiles)
	case "mask_unknown_users":
		return p.flag(&h.MaskUnknownUsers)
	case "match_code":
		return p.off(&h.NoMatchCode)
	case "insecure_test_approvals":
		return p.flag(&h.InsecureTestApprovals)
	case "limits":
		return p.limits()
	case "scope":
		return p.scope()
	case "details":
		return p.details()
	case "client":
		return p.client()
	case "hint_issuer":
		return p.hintIssuer()
	case "sign_in_with":
		return p.signInWith()
	case "user":
		return p.user()
	case "users_from":
		return p.usersFrom()
	case "notify":
		return p.notify()
	case "notify_until_reached":
		return p.flag(&h.NotifyUntilReached)
	case "hints":
		return p.hints()
	case "policy":
		return p.policy()
	case "claims_from":
		return p.claimsFrom()
	case "brand":
		return p.brand()
	default:
		return p.unknown()
	}
}

// issuer reads the issuer, if it is not there yet.
func (p *parser) issuer() error {
	if p.handler.Issuer != "" {
		return p.Errf("issuer already specified: %s", p.handler.Issuer)
	}
	err := p.text(&p.handler.Issuer)
	if err != nil {
		return err
	}
	return p.wrap(checkIssuer(p.handler.Issuer))
}

// store reads where the provider keeps its state.
func (p *parser) store() error {
	module, err := p.module(storeNamespace, storeInlineKey)
	p.handler.StoreRaw = module
	return err
}

// usersFrom reads where customers come from.
func (p *parser) usersFrom() error {
	module, err := p.module(usersNamespace, usersInlineKey)
	p.handler.UsersRaw = module
	return err
}

// notify reads one way of telling customers that a request waits.
func (p *parser) notify() error {
	module, err := p.module(notifierNamespace, notifierInlineKey)
	if err != nil {
		return err
	}
	p.handler.NotifiersRaw = append(p.handler.NotifiersRaw, module)
	return nil
}

// module reads the name of a module and hands it the rest of the segment.
func (p *parser) module(namespace, inlineKey string) (json.RawMessage, error) {
	if !p.NextArg() {
		return nil, p.ArgErr()
	}
	name := p.Val()
	module, err := caddyfile.UnmarshalModule(p.Dispenser, namespace+"."+name)
	if err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(module, inlineKey, name, nil), nil
}

// brand reads how the approval app looks.
func (p *parser) brand() error {
	if p.NextArg() {
		return p.ArgErr()
	}
	brand := new(Brand)
	err := p.block(func() error {
		switch p.Val() {
		case "name":
			return p.text(&brand.Name)
		case "accent":
			return p.color(&brand.Accent)
		case "templates":
			return p.text(&brand.Templates)
		default:
			return p.unknown()
		}
	})
	p.handler.Brand = brand
	return err
}

// color reads a color. Without quotes it would be a comment, so that nothing is
// left of it.
func (p *parser) color(into *string) error {
	if !p.AllArgs(into) {
		return p.Err("accent requires one color, in quotes because # begins a comment: \"#rrggbb\"")
	}
	return p.wrap((&Brand{Accent: *into}).check())
}
