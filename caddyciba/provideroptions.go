package caddyciba

import (
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
)

// trustPools is where the sources of certificate authorities are registered.
const trustPools = "tls.ca_pool.source"

// unmarshal reads the options of a provider. Syntax:
//
//	provider <name> {
//		issuer            <url>
//		client_id         <id>
//		client_auth       <method>
//		client_secret     <placeholder>
//		client_key        <placeholder>
//		client_cert       <certificate file> <key file>
//		sender_constraint mtls|dpop
//		dpop_key          <placeholder>
//		allow_bearer
//		signed_requests   <alg> [<key placeholder>]
//		trust_pool        <module> ...
//		delivery          poll|ping|push
//		long_poll         <duration>|off
//		clock_skew        <duration>|off
//		id_token_algs     <algs...>
//		parameter         <name> <value>
//		binding_message_max    <characters>
//		binding_message_joiner -|_|.|/
//		profile           fapi_ciba
//	}
func (p *Provider) unmarshal(d *caddyfile.Dispenser, name string) error {
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if seen[option] && option != "parameter" {
			return d.Errf("%s already specified", option)
		}
		seen[option] = true
		var err error
		if field := p.field(option); field != nil {
			err = textArg(d, field)
		} else {
			err = p.unmarshalOption(d, option, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// field returns where the value of an option goes that has just one, or nil.
func (p *Provider) field(option string) *string {
	switch option {
	case "issuer":
		return &p.Issuer
	case "client_id":
		return &p.ClientID
	case "client_auth":
		return &p.ClientAuth
	case "client_secret":
		return &p.ClientSecret
	case "client_key":
		return &p.ClientKey
	case "sender_constraint":
		return &p.SenderConstraint
	case "dpop_key":
		return &p.DPoPKey
	case "delivery":
		return &p.Delivery
	case "binding_message_joiner":
		return &p.BindingMessageJoiner
	case "profile":
		return &p.Profile
	}
	return nil
}

func (p *Provider) unmarshalOption(d *caddyfile.Dispenser, option, name string) error {
	switch option {
	case "client_cert":
		if !d.AllArgs(&p.ClientCert, &p.ClientCertKey) {
			return d.ArgErr()
		}
		return nil
	case "signed_requests":
		args := d.RemainingArgs()
		if len(args) < 1 || len(args) > 2 {
			return d.ArgErr()
		}
		p.SignedRequests = args[0]
		if len(args) == 2 {
			p.RequestKey = args[1]
		}
		return nil
	case "allow_bearer":
		return flagArg(d, &p.AllowBearer)
	case "trust_pool":
		return p.unmarshalTrustPool(d)
	case "long_poll":
		return durationOrOff(d, &p.LongPoll)
	case "clock_skew":
		return durationOrOff(d, &p.ClockSkew)
	case "id_token_algs":
		return listArg(d, &p.IDTokenAlgs)
	case "parameter":
		return parameterArg(d, &p.Parameters)
	case "binding_message_max":
		return countArg(d, &p.BindingMessageMax)
	default:
		return d.Errf("unrecognized option '%s' of provider '%s'", option, name)
	}
}

func (p *Provider) unmarshalTrustPool(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	source := d.Val()
	module, err := caddyfile.UnmarshalModule(d, trustPools+"."+source)
	if err != nil {
		return err
	}
	if _, ok := module.(caddytls.CA); !ok {
		return d.Errf("trust_pool '%s' is not a source of certificates", source)
	}
	p.TrustPoolRaw = caddyconfig.JSONModuleObject(module, "provider", source, nil)
	return nil
}
