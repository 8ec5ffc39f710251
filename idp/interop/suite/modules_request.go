package suite

import (
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// badRequest is a module with a request that must be refused as invalid_request.
func badRequest(name string, changes ...change) Module {
	return Module{Name: "fapi-ciba-id1-ensure-" + name, run: func(r *run) {
		r.backchannel(r.newRequest(r.first, changes...)).refused(invalidRequest)
	}}
}

func requestModules() []Module {
	return []Module{
		badRequest("request-object-missing-aud-fails", without("aud")),
		badRequest("request-object-bad-aud-fails", with("aud", "https://www.other1.example.com/")),
		badRequest("request-object-missing-iss-fails", without("iss")),
		badRequest("request-object-bad-iss-fails", func(r *run, q *request) { q.claims["iss"] = r.second.ID }),
		badRequest("request-object-missing-exp-fails", without("exp")),
		badRequest("request-object-expired-exp-fails", at("exp", -time.Hour)),
		badRequest("request-object-exp-is-70-minutes-in-future-fails", at("exp", 70*time.Minute)),
		badRequest("request-object-missing-iat-fails", without("iat")),
		badRequest("request-object-missing-nbf-fails", without("nbf")),
		badRequest("request-object-nbf-is-10-minutes-in-future-fails", at("nbf", 10*time.Minute)),
		badRequest("request-object-nbf-is-70-minutes-in-past-fails", at("nbf", -70*time.Minute)),
		badRequest("request-object-missing-jti-fails", without("jti")),
		badRequest("request-object-signature-algorithm-is-none-fails", signedBy("none")),
		badRequest("request-object-signature-algorithm-is-bad-fails", corrupted),
		badRequest("request-object-signature-algorithm-is-RS256-fails", signedBy(jose.RS256)),
		badRequest("request-object-signed-by-other-client-fails", signedByOther),
		badRequest("authorization-request-with-multiple-hints-fails", twoHints),
		badRequest("unsigned-backchannel-authorization-request-fails", unsigned),
	}
}

// signedBy signs by another algorithm, with the same key.
func signedBy(alg jose.SignatureAlgorithm) change {
	return func(_ *run, q *request) { q.alg = alg }
}

// corrupted changes the signature.
func corrupted(_ *run, q *request) {
	q.after = append(q.after, func(q *request) {
		object := []byte(q.object)
		middle := len(object) - 20
		replacement := byte('A')
		if object[middle] == replacement {
			replacement = 'B'
		}
		object[middle] = replacement
		q.form.Set("request", string(object))
	})
}

// signedByOther signs with the key of the second client, under the first one's id.
func signedByOther(r *run, q *request) { q.key = r.second.key.Key }

// twoHints has a second hint and no binding message.
func twoHints(r *run, q *request) {
	delete(q.claims, "binding_message")
	q.claims["login_hint"] = "join@example.com"
	q.claims["login_hint_token"] = r.sign(q.alg, q.key, q.header, claims{"sub": "join@example.com", "aud": r.server.Issuer})
}

// unsigned sends the parameters as they are.
func unsigned(_ *run, q *request) {
	q.after = append(q.after, func(q *request) {
		q.form = url.Values{}
		for name, value := range q.claims {
			text, ok := value.(string)
			if ok && name != "iss" && name != "aud" && name != "jti" {
				q.form.Set(name, text)
			}
		}
	})
}
