package ciba

import (
	"errors"
	"fmt"
	"testing"
)

// Each kind of failure has one predicate, and no other takes it for its own.
func TestPredicates(t *testing.T) {
	predicates := map[string]func(error) bool{
		"pending": IsPending, "denied": IsDenied, "expired": IsExpired, "temporary": IsTemporary,
		"client refused": IsClientRefused, "unknown user": IsUnknownUser, "user code": IsUserCode,
		"invalid answer": IsInvalidAnswer, "mismatch": IsMismatch, "unsupported": IsUnsupported,
	}
	for code, want := range map[string]string{
		CodeAuthorizationPending:  "pending",
		CodeSlowDown:              "pending",
		CodeAccessDenied:          "denied",
		CodeExpiredToken:          "expired",
		CodeUnavailable:           "temporary",
		CodeInvalidClient:         "client refused",
		CodeUnauthorizedClient:    "client refused",
		CodeUnknownUserID:         "unknown user",
		CodeExpiredLoginHintToken: "unknown user",
		CodeMissingUserCode:       "user code",
		CodeInvalidUserCode:       "user code",
		CodeInvalidResponse:       "invalid answer",
		CodeInvalidToken:          "invalid answer",
		CodeMismatch:              "mismatch",
		CodeUnsupported:           "unsupported",
		CodeInvalidRequest:        "",
		CodeInvalidGrant:          "",
		CodeCanceled:              "",
		"foo":                     "",
		"":                        "",
	} {
		err := fmt.Errorf("asking customer: %w", &Error{Op: "poll", Code: code})
		for name, is := range predicates {
			if is(err) != (name == want) {
				t.Errorf("%q: %s is %t", code, name, is(err))
			}
		}
	}
	for name, is := range predicates {
		if is(nil) || is(errors.New("other")) {
			t.Errorf("%s takes any error", name)
		}
	}
}
