package stepup

import (
	"context"
	"errors"
	"unicode/utf8"

	"github.com/caddyciba/gateway/caddyciba/ciba"
)

// question finds out who is asked and what they are shown, and binds both.
func (h *hold) question() error {
	var err error
	h.ask, err = h.route.Ask(h.caller, h.snapshot, h.document)
	if err != nil {
		return askRefusal(err)
	}
	if h.ask.Customer == "" && h.ask.Caller == "" {
		return refuse(ProblemUnauthenticated, "Nothing was sent. Sign in first.", nil)
	}
	if !isName(h.ask.Customer) {
		return refuse(ProblemApprovalUnavailable, approvalUnavailable, errNoCustomer)
	}
	h.digest = h.snapshot.digest(h.ask.Caller, h.ask.Customer, h.route.DigestHeaders)
	message, err := bindingMessage(h.ask.Message, h.digest, h.route.MessageLimit, h.route.MessageJoiner)
	if err != nil {
		return err
	}
	h.details, err = newDetails(h.ask.Details, h.snapshot, h.digest)
	if err != nil {
		return refuse(ProblemMisconfigured, "Nothing was sent.", err)
	}
	h.request = ciba.Request{
		Scope:           h.route.Scope,
		LoginHint:       h.ask.LoginHint,
		LoginHintToken:  h.ask.LoginHintToken,
		IDTokenHint:     h.ask.IDTokenHint,
		UserCode:        h.ask.UserCode,
		Extra:           h.ask.Parameters,
		BindingMessage:  message,
		ACRValues:       h.route.ACR,
		RequestedExpiry: h.route.Hold,
	}
	if h.ask.LoginHint == "" && h.ask.LoginHintToken == "" && h.ask.IDTokenHint == "" {
		h.request.LoginHint = h.ask.Customer
	}
	return nil
}

// approvalUnavailable is the one text for all causes: it does not say who is a
// customer.
const approvalUnavailable = "Nothing was sent. Nobody can be asked to approve this request."

var errNoCustomer = errors.New("customer is empty or not a name")

// maxName is the length of a customer's name in bytes.
const maxName = 512

// isName reports whether text can be a login hint.
func isName(text string) bool {
	return text != "" && len(text) <= maxName && utf8.ValidString(text) && textProblem(text) == nil
}

// askRefusal is the answer to an error of Route.Ask.
func askRefusal(err error) *Refusal {
	var f *Refusal
	if errors.As(err, &f) {
		return f
	}
	if errors.Is(err, context.Canceled) {
		return refuse(ProblemCallerGone, "Nothing was sent.", err)
	}
	return refuse(ProblemNotReadable, "Nothing was sent and nobody was asked.", err)
}
