package idp

import (
	"fmt"
	"strings"

	"github.com/caddyciba/gateway/idp/approval"
)

// Classes are the authentication context classes (acr) of each way by which customers
// prove who they are, the one that tokens tell in front. A stronger way also reaches
// the classes of the weaker ones.
type Classes struct {
	// Of a password alone. Default: none.
	Password []string `json:"password,omitempty"`

	// Of a password with a code of an authenticator app. Default: none.
	PasswordOTP []string `json:"password_otp,omitempty"`

	// Of a passkey. Default: "phr", resistant against phishing.
	Passkey []string `json:"passkey,omitempty"`

	// Of a passkey that cannot leave its device, as far as the device tells; there
	// is no proof of what it is. Default: none.
	DevicePasskey []string `json:"device_passkey,omitempty"`
}

// way returns the classes of a way by its name in the config, or nil.
func (c *Classes) way(name string) *[]string {
	switch name {
	case "password":
		return &c.Password
	case "password_otp":
		return &c.PasswordOTP
	case "passkey":
		return &c.Passkey
	case "device_passkey":
		return &c.DevicePasskey
	}
	return nil
}

// check finds what is wrong with the classes.
func (c *Classes) check() error {
	for _, classes := range [][]string{c.Password, c.PasswordOTP, c.Passkey, c.DevicePasskey} {
		for _, class := range classes {
			if class == "" || strings.ContainsFunc(class, func(r rune) bool { return r <= ' ' || r > '~' }) {
				return fmt.Errorf("acr '%s' must be printable ASCII characters without spaces", class)
			}
		}
	}
	return nil
}

// settings are the classes as the approval app takes them.
func (c *Classes) settings() approval.Classes {
	s := approval.Classes{Passkey: []string{approval.ClassPhishingResistant}}
	if c == nil {
		return s
	}
	s.Password, s.PasswordOTP, s.DevicePasskey = c.Password, c.PasswordOTP, c.DevicePasskey
	if c.Passkey != nil {
		s.Passkey = c.Passkey
	}
	return s
}

// acr reads the classes of one way. A single value is the class of a password.
func (p *parser) acr() error {
	h := p.handler
	if h.ACR == nil {
		h.ACR = new(Classes)
	}
	args := p.RemainingArgs()
	if len(args) == 1 {
		args = []string{"password", args[0]}
	}
	if len(args) < 2 {
		return p.ArgErr()
	}
	way := h.ACR.way(args[0])
	if way == nil {
		return p.Errf("acr '%s' must be password, password_otp, passkey or device_passkey", args[0])
	}
	if *way != nil {
		return p.Errf("acr %s already specified", args[0])
	}
	*way = args[1:]
	return nil
}
