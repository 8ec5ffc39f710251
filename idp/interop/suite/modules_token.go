package suite

import "github.com/go-jose/go-jose/v4"

// tokenModules are about the token endpoint, in all variants.
func tokenModules() []Module {
	return []Module{
		{Name: "fapi-ciba-id1-ensure-wrong-auth-req-id-in-token-endpoint-request", run: func(r *run) {
			s := r.start(r.newRequest(r.first))
			r.poll(r.second, s.authReqID).refused(problem{400, "invalid_grant"})
			r.end(s)
		}},
		{Name: "fapi-ciba-id1-ensure-mtls-holder-of-key-required", run: func(r *run) {
			r.checkTLS(r.server.Authorize, true)
			r.checkTLS(r.tokenEndpoint(), false)
			for _, endpoint := range []string{r.server.Userinfo, r.server.Registration} {
				if endpoint != "" {
					r.checkTLS(endpoint, false)
				}
			}
			s := r.start(r.newRequest(r.first))
			r.withoutCertificate(s)
			r.end(s)
		}},
	}
}

// assertionModules are about client assertions.
func assertionModules() []Module {
	refusedAtStart := append([]problem{{400, "invalid_request"}, {403, "access_denied"}}, invalidClient...)
	modules := []Module{
		{Name: "fapi-ciba-id1-ensure-without-client-assertion-in-backchannel-authorization-request", run: func(r *run) {
			r.backchannel(r.newRequest(r.first), noAssertion).refused(refusedAtStart...)
		}},
		{Name: "fapi-ciba-id1-ensure-client-assertion-signature-algorithm-in-backchannel-authorization-request-is-RS256-fails", run: func(r *run) {
			r.backchannel(r.newRequest(r.first), assertionAlg(jose.RS256)).refused(refusedAtStart...)
		}},
		{Name: "fapi-ciba-id1-ensure-without-client-assertion-in-token-endpoint-request", run: func(r *run) {
			s := r.start(r.newRequest(r.first))
			r.poll(r.first, s.authReqID, noAssertion).refused(append([]problem{invalidRequest}, invalidClient...)...)
			r.end(s)
		}},
		{Name: "fapi-ciba-id1-ensure-client-assertion-signature-algorithm-in-token-endpoint-request-is-RS256-fails", run: func(r *run) {
			s := r.start(r.newRequest(r.first))
			r.poll(r.first, s.authReqID, assertionAlg(jose.RS256)).refused(invalidClient...)
			r.end(s)
		}},
		{Name: "fapi-ciba-id1-ensure-client-assertion-with-iss-aud-to-token-endpoint-succeeds", run: func(r *run) {
			s := r.start(r.newRequest(r.first))
			r.poll(r.first, s.authReqID, audience(r.server.Issuer)).notYet()
			r.end(s)
		}},
	}
	for i := range modules {
		modules[i].auth = AuthPrivateKeyJWT
	}
	return modules
}

// certificateModules are about clients that authenticate by a certificate.
func certificateModules() []Module {
	modules := []Module{
		{Name: "fapi-ciba-id1-ensure-different-client-id-and-issuer-in-backchannel-authorization-request", run: func(r *run) {
			r.backchannel(r.newRequest(r.first), clientID(r.second.ID)).refused(problem{401, "invalid_client"})
		}},
		{Name: "fapi-ciba-id1-ensure-wrong-client-id-in-backchannel-authorization-request", run: func(r *run) {
			iss := func(r *run, q *request) { q.claims["iss"] = r.second.ID }
			r.backchannel(r.newRequest(r.first, iss), clientID(r.second.ID)).wellFormedError()
		}},
		{Name: "fapi-ciba-id1-ensure-wrong-client-id-in-token-endpoint-request", run: func(r *run) {
			s := r.start(r.newRequest(r.first))
			r.poll(r.first, s.authReqID, clientID(r.second.ID)).refused(invalidClient...)
			r.end(s)
		}},
	}
	for i := range modules {
		modules[i].auth = AuthMTLS
	}
	return modules
}
