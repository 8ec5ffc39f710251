package provider

import (
	"errors"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// ProfileFAPICIBA is the profile of the Financial-grade API for CIBA. A client with
// it must authenticate by private_key_jwt or a TLS client certificate, sign its
// requests, get tokens that are bound to a certificate or a DPoP key, and give the
// user something to tell the request by: a binding message or authorization
// details. RS256 is not used.
const ProfileFAPICIBA = "fapi_ciba"

// fapiAlgs are the algorithms of FAPI-CIBA (CIBA checklist F8).
var fapiAlgs = slices.DeleteFunc(slices.Clone(signingAlgs), func(alg string) bool { return alg == string(jose.RS256) })

func (c *client) fapi() bool { return c.Profile == ProfileFAPICIBA }

// jwtAlgs returns the algorithms that JWTs of the client may be signed with; one
// that is fixed for a use leaves no other.
func (c *client) jwtAlgs(fixed string) []string {
	switch {
	case fixed != "":
		return []string{fixed}
	case c.fapi():
		return fapiAlgs
	}
	return signingAlgs
}

// checkProfile checks that a client is registered as its profile demands.
func (c *client) checkProfile(defaultAlg string) error {
	if c.Profile == "" {
		return nil
	}
	idTokenAlg := c.IDTokenSigningAlg
	if idTokenAlg == "" {
		idTokenAlg = defaultAlg
	}
	switch {
	case !c.fapi():
		return errors.New("unknown profile " + c.Profile)
	case c.AuthMethod != AuthPrivateKeyJWT && !c.usesCertificate():
		return errors.New("the profile demands private_key_jwt or authentication by a TLS client certificate")
	case !c.hasKeys():
		return errors.New("the profile demands signed requests, and a JWKS to verify them with")
	case c.DeliveryMode == DeliveryPush:
		return errors.New("the profile does not allow push")
	case !c.CertificateBound && !c.DPoPBound:
		return errors.New("the profile demands tokens that are bound to a certificate or to a DPoP key")
	case slices.Contains([]string{idTokenAlg, c.AuthSigningAlg, c.RequestSigningAlg}, string(jose.RS256)):
		return errors.New("the profile does not allow RS256")
	}
	return nil
}

// checkContext demands that the user can tell the request from others (FAPI-CIBA
// section 5.2.2; CIBA checklist F2).
func (c *client) checkContext(req *authenticationRequest) error {
	if c.fapi() && req.bindingMessage == "" && len(req.details) == 0 {
		return refuse(codeInvalidBindingMessage, "A binding message or authorization details are needed.")
	}
	return nil
}
