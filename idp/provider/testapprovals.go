package provider

import (
	"errors"
	"net/http"

	"go.uber.org/zap"
)

// pathTestApproval is where tests decide, see Config.InsecureTestApprovals.
const pathTestApproval = "/test/ciba-action"

// testApproval is the answer to a decision by a test.
type testApproval struct {
	State State `json:"state"`
}

// warnOfTestApprovals makes sure that nobody who reads the log overlooks it.
func (p *Provider) warnOfTestApprovals() {
	if p.cfg.InsecureTestApprovals {
		p.log.Error("INSECURE: everybody who knows an auth_req_id can approve it without its user; this is for tests only and must never be so where real people are asked",
			zap.String("endpoint", p.url(pathTestApproval)))
	}
}

// serveTestApproval decides a request in the place of its user. The auth_req_id is
// all that is asked for: the conformance suite of the OpenID Foundation, for whose
// automated runs this is, has nothing else. Parameters are in the URL, since the
// suite puts them there; the body is not read.
func (p *Provider) serveTestApproval(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	token, action := query["token"], query["type"]
	if len(token) != 1 || len(action) != 1 || !isTokenID(token[0], authReqIDBytes) {
		return badRequest("The URL must have one token and one type.")
	}
	ctx := r.Context()
	h, err := p.loadRequest(ctx, requestID(token[0]))
	if errors.Is(err, ErrNotFound) {
		return &oauthError{status: http.StatusNotFound, code: codeInvalidRequest, description: "There is no such request."}
	}
	if err != nil {
		return unavailable(err)
	}
	var state State
	switch action[0] {
	case "allow":
		state, err = StateApproved, p.approve(ctx, p.testApprovalOf(h), h)
	case "deny":
		state, err = StateDenied, p.Deny(ctx, h.Subject, h.id)
	default:
		return badRequest("type must be allow or deny.")
	}
	if err != nil {
		return testRefusal(err)
	}
	entry := p.log.Check(zap.WarnLevel, "INSECURE: a request was decided by a test")
	if entry != nil {
		entry.Write(zap.String("request", h.id), zap.String("state", string(state)))
	}
	return writeJSON(w, testApproval{State: state})
}

// testApprovalOf is what the user would have approved at once, with whatever the
// client asks for.
func (p *Provider) testApprovalOf(h *heldRequest) Approval {
	a := Approval{
		Subject: h.Subject, RequestID: h.id, Scopes: h.Scope,
		AuthTime: p.now(), AMR: []string{"hwk", "user"}, // RFC 8176
		MatchCode: h.MatchCode,
	}
	switch {
	case len(h.ACRValues) > 0:
		a.ACR = h.ACRValues[0]
	case len(p.cfg.ACRValues) > 0:
		a.ACR = p.cfg.ACRValues[0]
	}
	return a
}

// testRefusal says why a decision was not made.
func testRefusal(err error) error {
	for _, refusal := range []error{ErrDecided, ErrExpired, ErrNotFound, ErrUserNotFound, ErrClientDisabled} {
		if errors.Is(err, refusal) {
			return &oauthError{
				status: http.StatusConflict, code: codeInvalidRequest, description: "The request can not be decided any more.", cause: err,
			}
		}
	}
	return unavailable(err)
}
