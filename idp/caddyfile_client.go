package idp

import (
	"encoding/json"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// use is a place where a client names something that may be defined further down.
type use struct {
	client *Client
	at     caddyfile.Token
	check  func(*Client) error
}

// client reads the definition of a client.
func (p *parser) client() error {
	client := new(Client)
	start := p.Token()
	err := p.text(&client.ID)
	if err != nil {
		return err
	}
	err = p.block(func() error {
		err := p.clientOption(client)
		if err != nil {
			return err
		}
		return p.wrap(client.checkChoices())
	})
	if err != nil {
		return err
	}
	for _, other := range p.handler.Clients {
		if other.ID == client.ID {
			return errorAt(start, errTwice("client", client.ID))
		}
	}
	err = client.check()
	if err != nil {
		return errorAt(start, err)
	}
	p.handler.Clients = append(p.handler.Clients, client)
	return nil
}

// clientOption reads one option of a client.
func (p *parser) clientOption(client *Client) error {
	at := p.Token()
	switch p.Val() {
	case "name":
		return p.text(&client.Name)
	case "uri":
		return p.link(&client.URI)
	case "logo_uri":
		return p.link(&client.LogoURI)
	case "logo":
		return p.text(&client.LogoFile)
	case "secret":
		return p.secrets(client)
	case "auth_method":
		return p.text(&client.AuthMethod)
	case "auth_signing_alg":
		return p.text(&client.AuthSigningAlg)
	case "jwks":
		return p.keys(&client.JWKS, &client.JWKSFile)
	case "jwks_uri":
		return p.link(&client.JWKSURI)
	case "certificate":
		return p.certificate(client)
	case "scopes":
		p.uses = append(p.uses, use{client, at, p.handler.checkScopes})
		return p.list(&client.Scopes)
	case "details":
		p.uses = append(p.uses, use{client, at, p.handler.checkDetails})
		return p.list(&client.Details)
	case "refresh":
		return p.flag(&client.Refresh)
	case "delivery":
		return p.text(&client.Delivery)
	case "notification_endpoint":
		return p.link(&client.NotificationEndpoint)
	case "request_lifetime":
		return p.duration(&client.RequestLifetime)
	case "interval":
		return p.duration(&client.Interval)
	case "long_poll":
		return p.flag(&client.LongPoll)
	case "session_approval":
		return p.flag(&client.SessionApproval)
	case "user_code":
		return p.flag(&client.UserCode)
	case "signed_requests":
		return p.signedRequests(client)
	case "id_token_signing_alg":
		return p.text(&client.IDTokenSigningAlg)
	case "sender_constraint":
		return p.list(&client.SenderConstraints)
	case "profile":
		return p.text(&client.Profile)
	case "resource":
		return p.text(&client.Resource)
	case "disabled":
		return p.flag(&client.Disabled)
	default:
		return p.unknown()
	}
}

// secrets reads a client's secrets and checks the hashes among them.
func (p *parser) secrets(client *Client) error {
	err := p.list(&client.Secrets)
	if err != nil {
		return err
	}
	for _, secret := range client.Secrets {
		err = checkSecret(secret)
		if err != nil {
			return p.WrapErr(err)
		}
	}
	return nil
}

// certificate reads how the client's certificate is recognized.
func (p *parser) certificate(client *Client) error {
	var kind, name string
	if !p.AllArgs(&kind, &name) {
		return p.ArgErr()
	}
	certificate := new(Certificate)
	into := map[string]*string{
		"subject_dn": &certificate.SubjectDN,
		"san_dns":    &certificate.SanDNS,
		"san_uri":    &certificate.SanURI,
		"san_ip":     &certificate.SanIP,
		"san_email":  &certificate.SanEmail,
	}[kind]
	if into == nil || name == "" {
		return p.WrapErr(errCertificateNames)
	}
	*into = name
	client.Certificate = certificate
	return nil
}

// signedRequests reads that requests must be signed, and maybe how.
func (p *parser) signedRequests(client *Client) error {
	if p.CountRemainingArgs() == 0 {
		return p.flag(&client.RequireSignedRequests)
	}
	return p.text(&client.RequestSigningAlg)
}

// keys reads public keys: the name of a file, or the JSON Web Key Set itself.
func (p *parser) keys(inline *json.RawMessage, file *string) error {
	var value string
	err := p.text(&value)
	if err != nil {
		return err
	}
	if !strings.HasPrefix(value, "{") || isReference(value) {
		*file = value
		return nil
	}
	if !json.Valid([]byte(value)) {
		return p.Err("jwks is neither the name of a file nor a JSON Web Key Set")
	}
	*inline = json.RawMessage(value)
	return nil
}
