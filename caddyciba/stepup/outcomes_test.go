package stepup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyciba/gateway/caddyciba/ciba"
)

func fails(op, code string) error { return &ciba.Error{Op: op, Code: code, Err: errors.New("cause")} }

// The table of design 3.4, for what the provider says: the answer, the end of
// the transaction, and that nothing was sent (threats G18, INV-9, INV-19).
func TestProviderOutcomes(t *testing.T) {
	type outcome struct {
		status  int
		problem Problem
		state   State
		retry   bool
	}
	unavailable := outcome{503, ProblemProviderUnavailable, StateFailed, true}
	misconfigured := outcome{500, ProblemMisconfigured, StateFailed, false}
	nobody := outcome{403, ProblemApprovalUnavailable, StateFailed, false}
	mismatch := outcome{403, ProblemMismatch, StateFailed, false}
	cases := []struct {
		step, code string
		want       outcome
	}{
		{"discover", ciba.CodeUnavailable, unavailable},
		{"discover", ciba.CodeInvalidResponse, unavailable},
		{"start", ciba.CodeUnavailable, unavailable},
		{"start", ciba.CodeInvalidResponse, unavailable},
		{"start", "some_new_error", unavailable},
		{"start", ciba.CodeInvalidClient, misconfigured},
		{"start", ciba.CodeUnauthorizedClient, misconfigured},
		{"start", ciba.CodeInvalidScope, misconfigured},
		{"start", ciba.CodeInvalidRequest, misconfigured},
		{"start", ciba.CodeInvalidArgument, misconfigured},
		{"start", ciba.CodeUnknownUserID, nobody},
		{"start", ciba.CodeExpiredLoginHintToken, nobody},
		{"start", ciba.CodeMissingUserCode, nobody},
		{"start", ciba.CodeInvalidUserCode, nobody},
		{"start", ciba.CodeAccessDenied, nobody},
		{"start", ciba.CodeInvalidBindingMessage, outcome{422, ProblemNotReadable, StateFailed, false}},
		{"wait", ciba.CodeAccessDenied, outcome{403, ProblemDenied, StateDenied, false}},
		{"wait", ciba.CodeExpiredToken, outcome{403, ProblemExpired, StateExpired, false}},
		{"wait", ciba.CodeInvalidGrant, unavailable},
		{"wait", ciba.CodeTransactionFailed, unavailable},
		{"wait", ciba.CodeInvalidResponse, unavailable},
		{"wait", ciba.CodeInvalidToken, mismatch},
		{"wait", ciba.CodeMismatch, mismatch},
		{"wait", ciba.CodeInvalidClient, misconfigured},
		{"wait", ciba.CodeUnavailable, unavailable},
	}
	for _, c := range cases {
		t.Run(c.step+" "+c.code, func(t *testing.T) {
			upstream := &counting{}
			b := newBench(t, upstream.next)
			err := fails(c.step, c.code)
			switch c.step {
			case "discover":
				b.client.broken = err
			case "start":
				b.client.start = func(context.Context, ciba.Request) error { return err }
			case "wait":
				b.client.wait = func(context.Context) error { return err }
			}
			answer := b.do("POST", "/p", "body", nil)
			f, tx := b.lastRefusal(), b.only(t)
			got := outcome{answer.Code, f.Problem, tx.State, answer.Header().Get("Retry-After") != ""}
			if got != c.want || upstream.count() != 0 {
				t.Errorf("outcome is %+v, want %+v; sent %d", got, c.want, upstream.count())
			}
			if f.State != tx.State || f.Transaction != tx.ID || f.Forwarded != ForwardedNo || !errors.Is(f, err) {
				t.Errorf("refusal is %+v", f)
			}
			if !b.events.has(endEvents[tx.State]) || b.events.has(EventSent) {
				t.Errorf("events are %v", b.events.types())
			}
			if strings.Contains(answer.Body.String(), "cause") {
				t.Errorf("answer shows the cause: %s", answer.Body)
			}
		})
	}
}

// The provider's word on when to come back is passed on.
func TestRetryAfterOfTheProvider(t *testing.T) {
	b := newBench(t, answering(200, ""))
	b.client.broken = &ciba.Error{Op: "discover", Code: ciba.CodeUnavailable, RetryAfter: 90500 * time.Millisecond}
	answer := b.do("POST", "/p", "", nil)
	if answer.Header().Get("Retry-After") != "91" {
		t.Errorf("Retry-After is %q", answer.Header().Get("Retry-After"))
	}
}

// What Route.Ask says decides before anybody is asked (threats G12, G10).
func TestAskOutcomes(t *testing.T) {
	cases := []struct {
		name string
		ask  Ask
		err  error
		want Problem
	}{
		{"no customer, no caller", Ask{Message: "Pay"}, nil, ProblemUnauthenticated},
		{"no customer", Ask{Caller: "teller"}, nil, ProblemApprovalUnavailable},
		{"customer with control", Ask{Customer: "a\nb", Caller: "teller"}, nil, ProblemApprovalUnavailable},
		{"customer too long", Ask{Customer: strings.Repeat("a", 513), Caller: "teller"}, nil, ProblemApprovalUnavailable},
		{"customer without caller", Ask{Customer: "alice"}, nil, ""},
		{"message too long", Ask{Customer: "alice", Message: strings.Repeat("x", 129)}, nil, ProblemNotReadable},
		{"message deceptive", Ask{Customer: "alice", Message: "\u202e"}, nil, ProblemNotReadable},
		{"field missing", Ask{}, unreadable(errFieldMissing), ProblemNotReadable},
		{"wrapped refusal", Ask{}, fmt.Errorf("template: %w", refuse(ProblemMediaType, "", nil)), ProblemMediaType},
		{"other error", Ask{}, errors.New("template is broken"), ProblemNotReadable},
		{"caller left", Ask{}, context.Canceled, ProblemCallerGone},
		{"details without type", Ask{Customer: "alice", Details: json.RawMessage(`{}`)}, nil, ProblemMisconfigured},
		{"details no object", Ask{Customer: "alice", Details: json.RawMessage(`[]`)}, nil, ProblemMisconfigured},
		{"details twice", Ask{Customer: "alice", Details: json.RawMessage(`{"type":"a","type":"b"}`)}, nil, ProblemMisconfigured},
		{"details with a digest", Ask{Customer: "alice", Details: json.RawMessage(`{"type":"a","request_digest":"x"}`)}, nil, ProblemMisconfigured},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			upstream := &counting{}
			b := newBench(t, upstream.next)
			b.route.Ask = func(context.Context, *Snapshot, *Document) (Ask, error) { return c.ask, c.err }
			answer := b.do("POST", "/p", "body", nil)
			if c.want == "" {
				if answer.Code != http.StatusCreated {
					t.Errorf("status is %d", answer.Code)
				}
				return
			}
			if f := b.lastRefusal(); f.Problem != c.want || f.Transaction != "" || upstream.count() != 0 || b.client.asked() != 0 {
				t.Errorf("refusal is %+v, asked %d", f, b.client.asked())
			}
			if len(b.all(t)) != 0 || !b.events.has(EventRefused) {
				t.Error("a transaction was begun")
			}
		})
	}
}

// One text and one least time for all causes of approval-unavailable.
func TestApprovalUnavailableLooksTheSame(t *testing.T) {
	run := func(prepare func(*bench)) (string, time.Duration) {
		var text string
		var took time.Duration
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, answering(200, ""), func(c *Config) { c.UnavailableDelay = 2 * time.Second })
			prepare(b)
			start := time.Now()
			answer := b.do("POST", "/p", "body", nil)
			took = time.Since(start)
			var body map[string]any
			err := json.Unmarshal(answer.Body.Bytes(), &body)
			if err != nil {
				t.Fatal(err)
			}
			delete(body, "instance")
			delete(body, "state")
			text = fmt.Sprint(answer.Code, answer.Header(), body)
			text = strings.ReplaceAll(text, answer.Header().Get("Content-Length"), "")
		})
		return text, took
	}
	unknown, first := run(func(b *bench) {
		b.client.start = func(context.Context, ciba.Request) error {
			time.Sleep(300 * time.Millisecond)
			return fails("start", ciba.CodeUnknownUserID)
		}
	})
	locked, second := run(func(b *bench) {
		b.client.start = func(context.Context, ciba.Request) error {
			time.Sleep(time.Millisecond)
			return fails("start", ciba.CodeAccessDenied)
		}
	})
	empty, third := run(func(b *bench) {
		b.route.Ask = func(context.Context, *Snapshot, *Document) (Ask, error) { return Ask{Caller: "teller"}, nil }
	})
	if unknown != locked || unknown != empty {
		t.Errorf("answers differ:\n%s\n%s\n%s", unknown, locked, empty)
	}
	for _, took := range []time.Duration{first, second, third} {
		if took != 2*time.Second {
			t.Errorf("it took %v", took)
		}
	}
}

// Design 3.4: when the hold is over the answer is 403, the question is withdrawn,
// and a later approval is not forwarded.
func TestHoldOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		upstream := &counting{}
		b := newBench(t, upstream.next)
		b.route.Hold = 90 * time.Second
		b.client.wait = untilDone
		start := time.Now()
		answer := b.do("POST", "/p", "body", nil)
		if f := b.lastRefusal(); answer.Code != 403 || f.Problem != ProblemExpired || f.State != StateExpired {
			t.Errorf("answer is %d %+v", answer.Code, f)
		}
		if time.Since(start) != 90*time.Second || upstream.count() != 0 || b.client.withdrawn() != 1 {
			t.Errorf("took %v, sent %d, withdrawn %d", time.Since(start), upstream.count(), b.client.withdrawn())
		}
		if got := b.client.requests[0].RequestedExpiry; got != 90*time.Second {
			t.Errorf("requested_expiry is %v", got)
		}
	})
}

// A provider that holds the answer to Start back does not get more time than
// the hold.
func TestHoldCoversStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, answering(200, ""))
		b.route.Hold = 10 * time.Second
		b.client.start = func(ctx context.Context, _ ciba.Request) error { return untilDone(ctx) }
		start := time.Now()
		b.do("POST", "/p", "body", nil)
		if f := b.lastRefusal(); f.Problem != ProblemExpired || time.Since(start) != 10*time.Second {
			t.Errorf("refusal is %+v after %v", f, time.Since(start))
		}
	})
}

// What the answer must satisfy is handed to the client that verifies it.
func TestChecksOfTheRoute(t *testing.T) {
	b := newBench(t, answering(200, ""))
	b.route.ACR = []string{"phr"}
	b.route.FreshAuth, b.route.AuthAge, b.route.AuthTimeOptional = true, time.Minute, true
	b.route.Scope = []string{"transfer"}
	b.route.Ask = func(context.Context, *Snapshot, *Document) (Ask, error) {
		return Ask{Customer: "alice", Subject: "sub-1", Claims: map[string]string{"preferred_username": "alice"}}, nil
	}
	before := time.Now()
	b.do("POST", "/p", "body", nil)
	req, check := b.client.requests[0], b.client.checks[0]
	if req.LoginHint != "alice" || len(req.ACRValues) != 1 || req.ACRValues[0] != "phr" || len(req.Scope) != 1 {
		t.Errorf("request is %+v", req)
	}
	if check.Subject != "sub-1" || check.Claims["preferred_username"] != "alice" || check.ACR[0] != "phr" || check.NotBefore.Before(before.Add(-time.Minute)) || check.NotBefore.After(time.Now().Add(-time.Minute)) || !check.AuthTimeOptional {
		t.Errorf("check is %+v", check)
	}
}

// INV-20, threat T1: details that come back changed are no approval of this
// request, and the token is given back.
func TestAuthorizationDetails(t *testing.T) {
	own := json.RawMessage(`{"type":"wire_transfer","amount":"10"}`)
	cases := []struct {
		name    string
		types   []string
		details json.RawMessage
		granted func(sent json.RawMessage) json.RawMessage
		sent    bool
		want    int
	}{
		{"not supported", nil, nil, nil, false, 201},
		{"another type is supported", []string{"payment"}, own, nil, false, 201},
		{"default, granted", []string{"http_request"}, nil, nil, true, 201},
		{"own, granted", []string{"wire_transfer"}, own, nil, true, 201},
		{"enriched", []string{"wire_transfer"}, own, func(sent json.RawMessage) json.RawMessage {
			return json.RawMessage(strings.Replace(string(sent), `"amount"`, `"account":"1","amount"`, 1))
		}, true, 201},
		{"missing", []string{"wire_transfer"}, own, func(json.RawMessage) json.RawMessage { return nil }, true, 403},
		{"empty", []string{"wire_transfer"}, own, func(json.RawMessage) json.RawMessage { return json.RawMessage(`[]`) }, true, 403},
		{"null", []string{"wire_transfer"}, own, func(json.RawMessage) json.RawMessage { return json.RawMessage(`null`) }, true, 403},
		{"no array", []string{"wire_transfer"}, own, func(sent json.RawMessage) json.RawMessage { return sent[1 : len(sent)-1] }, true, 403},
		{"another type", []string{"wire_transfer"}, own, func(sent json.RawMessage) json.RawMessage {
			return json.RawMessage(strings.Replace(string(sent), "wire_transfer", "payment", 1))
		}, true, 403},
		{"another digest", []string{"wire_transfer"}, own, func(sent json.RawMessage) json.RawMessage {
			return json.RawMessage(strings.Replace(string(sent), `"request_digest":"`, `"request_digest":"A`, 1))
		}, true, 403},
		{"no digest", []string{"wire_transfer"}, own, func(sent json.RawMessage) json.RawMessage {
			return json.RawMessage(strings.Replace(string(sent), "request_digest", "digest", 1))
		}, true, 403},
		{"digest twice", []string{"wire_transfer"}, own, func(sent json.RawMessage) json.RawMessage {
			return json.RawMessage(strings.Replace(string(sent), `{`, `{"request_digest":"x",`, 1))
		}, true, 403},
		{"digest twice in two cases", []string{"wire_transfer"}, own, func(sent json.RawMessage) json.RawMessage {
			return json.RawMessage(strings.Replace(string(sent), `{`, `{"Request_Digest":"x",`, 1))
		}, true, 403},
		{"two objects", []string{"wire_transfer"}, own, func(sent json.RawMessage) json.RawMessage {
			return json.RawMessage(strings.Replace(string(sent), `]`, `,{"type":"wire_transfer","request_digest":"x"}]`, 1))
		}, true, 403},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			upstream := &counting{}
			b := newBench(t, upstream.next)
			b.client.types, b.client.details = c.types, c.granted
			b.route.Ask = func(context.Context, *Snapshot, *Document) (Ask, error) {
				return Ask{Customer: "alice", Caller: "teller", Message: "Pay", Details: c.details}, nil
			}
			answer := b.do("POST", "http://api.example.com/v1/p?x=1", "body", nil)
			tx := b.only(t)
			sent := string(b.client.requests[0].AuthorizationDetails)
			if answer.Code != c.want || (sent != "") != c.sent {
				t.Fatalf("status is %d, details %s", answer.Code, sent)
			}
			if c.sent && !strings.Contains(sent, `"request_digest":"`+tx.Digest+`"`) {
				t.Errorf("details are %s", sent)
			}
			if c.details == nil && c.sent && (!strings.Contains(sent, `"method":"POST"`) || !strings.Contains(sent, `"target":"/v1/p?x=1"`)) {
				t.Errorf("details are %s", sent)
			}
			if c.want == 403 {
				if f := b.lastRefusal(); f.Problem != ProblemMismatch || tx.State != StateFailed || upstream.count() != 0 || b.client.revocations() != 1 {
					t.Errorf("refusal is %+v, sent %d", f, upstream.count())
				}
			}
		})
	}
}
