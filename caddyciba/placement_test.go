package caddyciba

import (
	"fmt"
	"strings"
	"testing"
)

// A gate asks once for a request, and never for one that has failed already.
func TestPlacement(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	gate := func(matcher, settings string) string {
		return fmt.Sprintf("ciba %s %s {\n\tcustomer alice\n\tmessage Transfer\n%s\n}\n", matcher, op.URL, settings)
	}
	proxy := "reverse_proxy " + b.addr()

	t.Run("most specific gate only", func(t *testing.T) {
		s := startSite(t, memoryStore, gate("/transfers*", "acr low")+gate("/transfers/large*", "acr high")+proxy)
		for path, acr := range map[string]string{"/transfers/large": "high", "/transfers/small": "low"} {
			before := len(op.started())
			got := s.post(path, transfer)
			asked := op.started()[before:]
			if got.status != 201 || len(asked) != 1 || asked[0].form.Get("acr_values") != acr {
				t.Errorf("%s: got %+v, asked %d times", path, got, len(asked))
			}
		}
	})

	t.Run("gate within what another gate let through", func(t *testing.T) {
		s := startSite(t, memoryStore, gate("*", "")+"handle /transfers* {\n"+gate("*", "")+proxy+"\n}")
		before := len(b.received())
		s.post("/transfers", transfer).wantProblem(t, 500, "gateway-misconfigured", false)
		if n := len(b.received()) - before; n != 0 {
			t.Errorf("the upstream got %d requests", n)
		}
	})

	t.Run("named route", func(t *testing.T) {
		s := newSite(t, memoryStore)
		build := s.build
		s.build = func(body string) string {
			global, site, _ := strings.Cut(build(body), "\n}\nhttp://")
			return global + "\n}\n&(bank) {\n" + gate("*", "") + proxy + "\n}\nhttp://" + site
		}
		err := s.load("invoke bank")
		if err != nil {
			t.Fatal(err)
		}
		if got := s.post("/transfers", transfer); got.status != 201 {
			t.Errorf("got %+v", got)
		}
		err = s.load(gate("*", "") + "invoke bank")
		if err != nil {
			t.Fatal(err)
		}
		s.post("/transfers", transfer).wantProblem(t, 500, "gateway-misconfigured", false)
	})

	// threats.md C08
	t.Run("error routes", func(t *testing.T) {
		s := newSite(t, memoryStore)
		err := s.load(proxy + "\nhandle_errors {\n" + gate("*", "") + "}")
		if err == nil || !strings.Contains(err.Error(), "a gate cannot be part of error routes") {
			t.Errorf("loading: %v", err)
		}
	})

	t.Run("path of the proxy", func(t *testing.T) {
		// What comes behind the gate may rewrite, and its placeholders follow.
		s := startSite(t, memoryStore, gate("*", "")+"handle_path /api/* {\n\trewrite * /v2{uri}\n\t"+proxy+" {\n\t\theader_up X-Path {path}\n\t}\n}")
		before := len(b.received())
		got := s.post("/api/transfers?a=b", transfer)
		seen := b.received()[before:]
		if got.status != 201 || len(seen) != 1 || seen[0].target != "/v2/transfers?a=b" || seen[0].header.Get("X-Path") != "/v2/transfers" {
			t.Errorf("got %+v, the upstream got %+v", got, seen)
		}
	})
}

// header_up and the token go to the upstream alone: what stands behind the gate
// in the log or in the answer does not get them from the request.
func TestHeaderUp(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	op.claims = func(c map[string]any) {
		c["preferred_username"] = c["sub"]
		c["sub"] = "opaque-1"
		c["bad"] = "a\r\nX-Evil: 1"
		c["level"] = 3
	}
	s := startSite(t, memoryStore, fmt.Sprintf(`
	header +X-Token "{http.request.header.Authorization}"
	ciba %s {
		customer alice
		subject preferred_username
		message Transfer
		header_up X-Approved-By {ciba.claims.sub}
		header_up X-Level "level {ciba.claims.level}"
		header_up X-Bad {ciba.claims.bad}
		header_up X-Missing {ciba.claims.missing}
		header_up X-Transaction {ciba.transaction}
	}
	reverse_proxy %s`, op.URL, b.addr()))
	got := s.do("POST", "/transfers", transfer, map[string][]string{
		"Content-Type": {"application/json"}, "X-Approved-By": {"mallory"}, "X-Bad": {"mallory"}, "X-Missing": {"mallory"},
	})
	if got.status != 201 {
		t.Fatalf("got %+v", got)
	}
	h := b.received()[0].header
	if h.Get("X-Approved-By") != "opaque-1" || h.Get("X-Level") != "level 3" || len(h.Get("X-Transaction")) != 36 {
		t.Errorf("the upstream got %v", h)
	}
	for _, name := range []string{"X-Bad", "X-Missing", "X-Evil"} {
		if h.Get(name) != "" {
			t.Errorf("the upstream got %s: %s", name, h.Get(name))
		}
	}
	if strings.Contains(fmt.Sprint(got.header), "token-of") {
		t.Errorf("the token is in the answer: %v", got.header)
	}
}
