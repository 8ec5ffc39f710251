package approval

import (
	"slices"
	"time"

	"github.com/caddyciba/gateway/idp/approval/factor"
	"github.com/caddyciba/gateway/idp/provider"
)

// ClassPhishingResistant is the class of authentication that can not be phished, by
// the OpenID Connect Extended Authentication Profile ACR Values 1.0.
const ClassPhishingResistant = "phr"

// Classes are the authentication context classes (the values of acr_values and acr)
// that each way of proving stands for, the one to be told first in front. A stronger
// way also stands for the classes of the weaker ones above it.
type Classes struct {
	// Password is a password alone. Default: none.
	Password []string

	// PasswordOTP is a password with a code of an authenticator app. Default: none.
	PasswordOTP []string

	// Passkey is any passkey, used with user verification. Default:
	// ClassPhishingResistant.
	Passkey []string

	// DevicePasskey is a passkey that can not leave its device. Nothing proves to
	// us what kind of device it is. Default: none.
	DevicePasskey []string
}

// All returns every class once, weakest way first.
func (c Classes) All() []string { return c.reached(methodDevicePasskey) }

// method is a way to prove who one is.
type method string

// The ways. A recovery code and an enrollment link prove enough to add a passkey, and
// approve nothing.
const (
	methodPassword      method = "password"
	methodPasswordOTP   method = "password_otp"
	methodPasskey       method = "passkey"
	methodDevicePasskey method = "device_passkey"
	methodRecovery      method = "recovery"
	methodEnrollment    method = "enrollment"

	// methodFederated is a sign-in at another provider, which has classes only if
	// the operator has said so for that provider.
	methodFederated method = "federated"
)

// amr are the methods' names of RFC 8176. Without attestation it can not be known
// where a key lives; one that may be copied is a software key, one that stays on its
// device counts as a hardware key.
func (m method) amr() []string {
	switch m {
	case methodPassword:
		return []string{"pwd"}
	case methodPasswordOTP:
		return []string{"pwd", "otp", "mfa"}
	case methodPasskey:
		return []string{"swk", "user", "mfa"}
	case methodDevicePasskey:
		return []string{"hwk", "user", "mfa"}
	}
	return nil
}

// strong says whether the way may change what a customer proves with, where there is
// more than a password.
func (m method) strong() bool { return m != methodPassword && m != methodFederated && m != "" }

// approves says whether the way is good for approvals at all.
func (m method) approves() bool { return m != methodRecovery && m != methodEnrollment }

// passkeyMethod is the way that a passkey is.
func passkeyMethod(p factor.Passkey) method {
	if p.Synced {
		return methodPasskey
	}
	return methodDevicePasskey
}

// rank is a way with its classes.
type rank struct {
	method  method
	classes []string
}

// ranks are the ways that have classes, weakest first.
func (c Classes) ranks() []rank {
	return []rank{
		{methodPassword, c.Password}, {methodPasswordOTP, c.PasswordOTP},
		{methodPasskey, c.Passkey}, {methodDevicePasskey, c.DevicePasskey},
	}
}

// upTo returns the ways up to m, weakest first; none for a way without classes.
func (c Classes) upTo(m method) []rank {
	ranks := c.ranks()
	i := slices.IndexFunc(ranks, func(r rank) bool { return r.method == m })
	return ranks[:i+1]
}

// reached returns the classes that a way stands for, weakest first, each once.
func (c Classes) reached(m method) []string {
	var classes []string
	for _, r := range c.upTo(m) {
		for _, class := range r.classes {
			if !slices.Contains(classes, class) {
				classes = append(classes, class)
			}
		}
	}
	return classes
}

// own returns the first class of the strongest way up to m that has one.
func (c Classes) own(m method) string {
	for _, r := range slices.Backward(c.upTo(m)) {
		if len(r.classes) > 0 {
			return r.classes[0]
		}
	}
	return ""
}

// proof is who a customer has proven to be, how, and when.
type proof struct {
	Method method
	AMR    []string  // RFC 8176 names
	More   []string  // classes beyond those that the method stands for
	At     time.Time // of the proof

	// Federation is the name of the other provider that vouches for the proof.
	Federation string
}

// proven is a proof of this moment.
func (a *App) proven(m method) proof {
	return proof{Method: m, AMR: m.amr(), At: a.cfg.Now()}
}

// classes are the authentication context classes of a proof.
func (a *App) classes(p proof) []string {
	return append(slices.Clone(p.More), a.cfg.Classes.reached(p.Method)...)
}

// acr returns the class that an approval has: of those that the request names the
// first one that was reached, or the strongest if it names none. It is empty, and ok
// false, if the request demands more.
func (a *App) acr(p proof, req *provider.Request) (acr string, ok bool) {
	if len(req.ACRValues) == 0 {
		if len(p.More) > 0 {
			return p.More[0], true
		}
		return a.cfg.Classes.own(p.Method), true
	}
	reached := a.classes(p)
	for _, class := range req.ACRValues {
		if slices.Contains(reached, class) {
			return class, true
		}
	}
	return "", false
}
