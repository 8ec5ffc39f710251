package suite

// Module is one module of the plan.
type Module struct {
	// Name is the name of the module in the plan.
	Name string

	auth string // empty: for both
	mode string // empty: for both
	run  func(*run)
}

// Applies reports whether the plan has the module in a variant.
func (m Module) Applies(v Variant) bool {
	return (m.auth == "" || m.auth == v.Auth) && (m.mode == "" || m.mode == v.Mode)
}

// Modules returns all modules, in an order in which they can run.
func Modules() []Module {
	modules := []Module{{Name: "fapi-ciba-id1-discovery-end-point-verification", run: verifyDiscovery}}
	modules = append(modules, positiveModules()...)
	modules = append(modules, requestModules()...)
	modules = append(modules, tokenModules()...)
	modules = append(modules, assertionModules()...)
	modules = append(modules, certificateModules()...)
	modules = append(modules, pingModules()...)
	return modules
}

// invalidRequest is the only answer to a fault of an authentication request.
var invalidRequest = problem{400, "invalid_request"}

// invalidClient are the answers to a client that is not authenticated.
var invalidClient = []problem{{400, "invalid_client"}, {401, "invalid_client"}}

// end approves a request that a module leaves open and, in ping mode, waits for
// the notification, so that nothing of it disturbs the next module.
func (r *run) end(s *started) {
	r.Helper()
	if !r.ping() {
		return
	}
	r.decide(s.authReqID, "allow")
	r.expectPing(s)
}
