package interop_test

import (
	"testing"

	"github.com/caddyciba/gateway/idp/interop/suite"
)

// TestConformance runs every module of the OpenID Foundation's FAPI-CIBA plan for
// providers, under its name, in each variant that has it. All of them run one
// after the other against one provider and one user, as they do in the suite. The
// clock goes by as the suite sleeps.
func TestConformance(t *testing.T) {
	op := newConformanceOP(t)
	suites := make(map[suite.Variant]*suite.Suite)
	for _, v := range suite.Variants() {
		suites[v] = op.suite(v)
	}
	for _, m := range suite.Modules() {
		t.Run(m.Name, func(t *testing.T) {
			for _, v := range suite.Variants() {
				if m.Applies(v) {
					t.Run(v.String(), func(t *testing.T) { suites[v].Run(t, m) })
				}
			}
		})
	}
}

// TestConformancePlan makes sure that no module is missing.
func TestConformancePlan(t *testing.T) {
	plan := map[suite.Variant]int{
		{Auth: suite.AuthPrivateKeyJWT, Mode: suite.ModePoll}: 35,
		{Auth: suite.AuthPrivateKeyJWT, Mode: suite.ModePing}: 40,
		{Auth: suite.AuthMTLS, Mode: suite.ModePoll}:          33,
		{Auth: suite.AuthMTLS, Mode: suite.ModePing}:          38,
	}
	for _, v := range suite.Variants() {
		names := make(map[string]bool)
		for _, m := range suite.Modules() {
			if m.Applies(v) {
				names[m.Name] = true
			}
		}
		if len(names) != plan[v] {
			t.Errorf("%s: there are %d modules, the plan has %d", v, len(names), plan[v])
		}
	}
}
