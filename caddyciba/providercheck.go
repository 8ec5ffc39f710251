package caddyciba

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/caddyciba/gateway/caddyciba/ciba"
)

// What options of a provider can say.
const (
	profileFAPI    = "fapi_ciba"
	constraintMTLS = "mtls"
	constraintDPoP = "dpop"

	authBasic         = "client_secret_basic"
	authPost          = "client_secret_post"
	authSecretJWT     = "client_secret_jwt"
	authPrivateKeyJWT = "private_key_jwt"
	authTLS           = "tls_client_auth"
	authSelfSignedTLS = "self_signed_tls_client_auth"

	maxLongPoll  = 30 * time.Second
	maxClockSkew = 5 * time.Minute

	// maxBindingMessage is the longest message that anybody can be expected to
	// read.
	maxBindingMessage = 1024
)

// clientAuthMethods are all ways to authenticate.
var clientAuthMethods = []string{authBasic, authPost, authSecretJWT, authPrivateKeyJWT, authTLS, authSelfSignedTLS}

// fapiAlgs are the signature algorithms that FAPI allows.
var fapiAlgs = []string{"PS256", "ES256"}

// check finds every mistake that can be found without secrets and network.
func (p *Provider) check() error {
	if p.Issuer == "" {
		return errors.New("missing issuer")
	}
	err := checkIssuer(p.Issuer)
	if err != nil {
		return err
	}
	for _, check := range []func() error{p.checkAuth, p.checkSigning, p.checkDelivery, p.checkParameters, p.checkProfile} {
		err = check()
		if err != nil {
			return err
		}
	}
	return nil
}

// method is how the client authenticates, with its default.
func (p *Provider) method() string {
	switch {
	case p.ClientAuth != "":
		return p.ClientAuth
	case p.ClientKey != "":
		return authPrivateKeyJWT
	case p.ClientCert != "" && p.ClientSecret == "":
		return authTLS
	default:
		return authBasic
	}
}

func (p *Provider) checkAuth() error {
	method := p.method()
	switch {
	case p.ClientSecret != "" && p.ClientKey != "":
		return errors.New("client_secret and client_key exclude each other")
	case p.ClientKey != "" && !isReference(p.ClientKey):
		return errors.New("client_key must be a placeholder such as {file./run/secrets/ciba.jwk}")
	case (p.ClientCert == "") != (p.ClientCertKey == ""):
		return errors.New("client_cert needs both a certificate and its key")
	case !slices.Contains(clientAuthMethods, method):
		return fmt.Errorf("client_auth '%s' is none of %s", method, strings.Join(clientAuthMethods, ", "))
	case method == authPrivateKeyJWT && p.ClientKey == "":
		return errors.New("client_auth private_key_jwt needs a client_key")
	case method != authPrivateKeyJWT && p.ClientKey != "":
		return fmt.Errorf("client_auth %s does not use the client_key; for signed requests alone, name it behind signed_requests", method)
	case (method == authTLS || method == authSelfSignedTLS) && p.ClientCert == "":
		return fmt.Errorf("client_auth %s needs a client_cert", method)
	case (method == authTLS || method == authSelfSignedTLS) && p.ClientSecret != "":
		return fmt.Errorf("client_auth %s does not use the client_secret", method)
	}
	return p.checkConstraint()
}

func (p *Provider) checkConstraint() error {
	switch p.SenderConstraint {
	case "", constraintDPoP:
	case constraintMTLS:
		if p.ClientCert == "" {
			return errors.New("sender_constraint mtls needs a client_cert")
		}
	default:
		return fmt.Errorf("sender_constraint '%s' is neither mtls nor dpop", p.SenderConstraint)
	}
	switch {
	case p.SenderConstraint == constraintDPoP:
	case p.DPoPKey != "":
		return errors.New("dpop_key needs sender_constraint dpop")
	case p.AllowBearer:
		return errors.New("allow_bearer needs sender_constraint dpop")
	}
	if p.DPoPKey != "" && !isReference(p.DPoPKey) {
		return errors.New("dpop_key must be a placeholder such as {file./run/secrets/dpop.jwk}")
	}
	return nil
}

func (p *Provider) checkSigning() error {
	for _, alg := range p.IDTokenAlgs {
		if !ciba.IsSigningAlg(alg) {
			return fmt.Errorf("id_token_algs: '%s' is not a signature algorithm that can be allowed", alg)
		}
	}
	switch {
	case p.SignedRequests == "" && p.RequestKey != "":
		return errors.New("request_key needs signed_requests")
	case p.SignedRequests == "":
		return nil
	case !ciba.IsSigningAlg(p.SignedRequests):
		return fmt.Errorf("signed_requests: '%s' is not an asymmetric signature algorithm", p.SignedRequests)
	case p.RequestKey == "" && p.ClientKey == "":
		return errors.New("signed_requests needs a key: a client_key, or one of its own behind the algorithm")
	case p.RequestKey != "" && !isReference(p.RequestKey):
		return errors.New("the key of signed_requests must be a placeholder such as {file./run/secrets/ciba.jwk}")
	}
	return nil
}

func (p *Provider) checkDelivery() error {
	switch ciba.Delivery(p.Delivery) {
	case "", ciba.DeliveryPoll, ciba.DeliveryPing:
	case ciba.DeliveryPush:
		if p.SenderConstraint != "" {
			return errors.New("tokens that are pushed cannot be bound to a sender: sender_constraint excludes delivery push")
		}
	default:
		return fmt.Errorf("delivery '%s' is none of poll, ping, push", p.Delivery)
	}
	if time.Duration(p.LongPoll) > maxLongPoll {
		return fmt.Errorf("long_poll must be at most %s", maxLongPoll)
	}
	if p.BindingMessageMax < 0 || p.BindingMessageMax > maxBindingMessage {
		return fmt.Errorf("binding_message_max must be between 1 and %d", maxBindingMessage)
	}
	if !slices.Contains([]string{"", "-", "_", ".", "/"}, p.BindingMessageJoiner) {
		return fmt.Errorf("binding_message_joiner '%s' is none of - _ . /", p.BindingMessageJoiner)
	}
	if time.Duration(p.ClockSkew) > maxClockSkew {
		return fmt.Errorf("clock_skew must be at most %s", maxClockSkew)
	}
	return nil
}

func (p *Provider) checkParameters() error {
	for _, name := range slices.Sorted(maps.Keys(p.Parameters)) {
		err := checkParameter(name)
		if err != nil {
			return err
		}
	}
	return nil
}

// checkParameter refuses the name of a further parameter that the gateway sets by
// itself, or that is none.
func checkParameter(name string) error {
	switch {
	case name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' || r == '{' || r == '}' }):
		return fmt.Errorf("parameter '%s' has no proper name", name)
	case ciba.IsOwnParameter(name):
		return fmt.Errorf("parameter %s is set by the gateway itself", name)
	}
	return nil
}

// checkProfile holds a client to FAPI-CIBA section 5.2.3.
func (p *Provider) checkProfile() error {
	switch p.Profile {
	case "":
		return nil
	case profileFAPI:
	default:
		return fmt.Errorf("profile '%s' is not %s", p.Profile, profileFAPI)
	}
	method := p.method()
	switch {
	case method != authPrivateKeyJWT && method != authTLS && method != authSelfSignedTLS:
		return fmt.Errorf("profile %s does not allow client_auth %s", profileFAPI, method)
	case !slices.Contains(fapiAlgs, p.SignedRequests):
		return fmt.Errorf("profile %s needs signed_requests with PS256 or ES256", profileFAPI)
	case p.Delivery == string(ciba.DeliveryPush):
		return fmt.Errorf("profile %s does not allow delivery push", profileFAPI)
	case p.SenderConstraint == "":
		return fmt.Errorf("profile %s needs a sender_constraint", profileFAPI)
	case p.AllowBearer:
		return fmt.Errorf("profile %s does not allow allow_bearer", profileFAPI)
	}
	for _, alg := range p.IDTokenAlgs {
		if !slices.Contains(fapiAlgs, alg) {
			return fmt.Errorf("profile %s does not allow ID Tokens signed by %s", profileFAPI, alg)
		}
	}
	return nil
}
