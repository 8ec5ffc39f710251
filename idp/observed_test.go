package idp

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// eventsOf returns the names of the events that the spy has seen, and forgets them.
// They carry nothing secret.
func eventsOf(t *testing.T, secrets ...string) map[string]map[string]any {
	t.Helper()
	seen.Lock()
	defer seen.Unlock()
	found := make(map[string]map[string]any)
	for _, e := range seen.events {
		found[e.Name()] = e.Data
		encoded, err := json.Marshal(e.Data)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range secrets {
			if strings.Contains(string(encoded), secret) {
				t.Errorf("%s tells too much: %s", e.Name(), encoded)
			}
		}
	}
	seen.events = nil
	return found
}

// What becomes of requests is counted and told, also a report of the customer.
func TestEventsOfReport(t *testing.T) {
	s := newServer(t)
	s.loadWith("\tevents {\n\t\ton * test_spy\n\t}\n", site)
	issuer := s.url("")
	in := s.instance(issuer)
	id := s.start(issuer)
	s.poll(issuer, id)
	s.poll(issuer, id)
	pending, err := in.provider.Pending(t.Context(), "anna")
	if err != nil || len(pending) != 1 {
		t.Fatalf("%d requests wait: %v", len(pending), err)
	}
	eventsOf(t)
	err = in.provider.Report(t.Context(), "anna", pending[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	status, answer := s.post(issuer+"/backchannel-authentication", url.Values{"scope": {"openid"}, "login_hint": {"anna"}})
	if status != 403 || answer["error"] != "access_denied" {
		t.Errorf("a client that is blocked: %d %v", status, answer)
	}
	err = in.provider.Unblock(t.Context(), "anna", "gateway")
	if err != nil {
		t.Fatal(err)
	}
	found := eventsOf(t, id, "10 EUR")
	for _, name := range []string{"ciba_idp_denied", "ciba_idp_reported", "ciba_idp_blocked", "ciba_idp_refused", "ciba_idp_unblocked"} {
		data := found[name]
		if data["issuer"] != issuer || data["client"] != "gateway" || data["subject"] != "anna" {
			t.Errorf("%s has data %v", name, data)
		}
	}
	if found["ciba_idp_refused"]["reason"] != "access_denied" || found["ciba_idp_reported"]["request"] != pending[0].ID {
		t.Errorf("events %v", found)
	}
	for event, want := range map[string]float64{"denied": 1, "reported": 1, "blocked": 1, "unblocked": 1, "refused": 1, "slow_down": 1} {
		got := counted(t, collectors.events, issuer, "gateway", event)
		if got != want {
			t.Errorf("%s was counted %v times", event, got)
		}
	}
	if counted(t, collectors.refusals, issuer, "gateway", "access_denied") != 1 {
		t.Error("the refusal was not counted")
	}
}

// Whoever asks for somebody who does not exist gets what others get, and nobody is
// told but the operator.
func TestMaskUnknownUsers(t *testing.T) {
	s := newServer(t)
	masked := strings.Replace(site, "store memory", "store memory\n\t\tmask_unknown_users", 1)
	s.loadWith("\tevents {\n\t\ton * test_spy\n\t}\n", masked)
	issuer := s.url("")
	eventsOf(t)
	start := func(hint string) map[string]any {
		status, answer := s.post(issuer+"/backchannel-authentication", url.Values{"scope": {"openid"}, "login_hint": {hint}})
		if status != 200 {
			t.Fatalf("%s: %d %v", hint, status, answer)
		}
		return answer
	}
	known, unknown := start("anna"), start("nobody")
	for _, answer := range []map[string]any{known, unknown} {
		if len(answer) != 3 || answer["expires_in"] != known["expires_in"] || answer["interval"] != known["interval"] {
			t.Errorf("answer %v", answer)
		}
		status, polled := s.poll(issuer, answer["auth_req_id"].(string))
		if status != 400 || polled["error"] != "authorization_pending" {
			t.Errorf("poll: %d %v", status, polled)
		}
	}
	wait(t, "an event", func() bool {
		seen.Lock()
		defer seen.Unlock()
		return len(seen.events) >= 2
	})
	found := eventsOf(t)
	names := make([]string, 0, len(found))
	for name := range found {
		if strings.HasPrefix(name, eventPrefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if !slices.Equal(names, []string{"ciba_idp_refused", "ciba_idp_requested"}) || found["ciba_idp_refused"]["reason"] != "unknown_user_id" {
		t.Errorf("events %v", found)
	}
}
