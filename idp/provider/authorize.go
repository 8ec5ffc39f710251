package provider

import "net/http"

// errNoAuthorization is the answer to every authorization request. It goes to who
// sends it: where nothing can be asked for, nobody has registered a redirect URI.
var errNoAuthorization = refuse(codeUnsupportedResponse, "This provider has backchannel authentication only.")

// serveAuthorize is the authorization endpoint of OAuth (RFC 6749 section 3.1).
// CIBA has none, but clients and the conformance suite of the OpenID Foundation
// expect the discovery document to name one.
func (p *Provider) serveAuthorize(http.ResponseWriter, *http.Request) error {
	return errNoAuthorization
}
