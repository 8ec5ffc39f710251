package stepup

import "slices"

// needsApproval asks the route's policy.
func (h *hold) needsApproval() (bool, error) {
	if h.route.When == nil {
		return true, nil
	}
	needed, err := h.route.When(h.caller, h.snapshot, h.document)
	if err != nil {
		return false, askRefusal(err)
	}
	return needed, nil
}

// pass sends a request that needs no approval to the handler behind the gate, as
// the policy has judged it: from the snapshot, and with the caller's own
// Authorization, which is no affair of the gate here. What only the gate may set
// stays removed.
func (h *hold) pass() error {
	err := h.present()
	if err != nil {
		return err
	}
	h.gate.observe(Event{Type: EventPassed, Time: h.gate.now(), Route: h.route.Name, Held: h.gate.now().Sub(h.arrived)})
	h.snapshot.restore(h.r)
	for name, values := range h.credentials {
		h.r.Header[name] = slices.Clone(values)
	}
	h.passed = true
	return h.next(h.w, h.r)
}
