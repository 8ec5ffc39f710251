package idp_test

import (
	"context"
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddyciba/gateway/idp"
)

// PagerNotifier is a module of somebody else's. With it in the build, a Caddyfile
// may say:
//
//	ciba_idp https://id.example.com {
//		notify pager +49301234567
//	}
type PagerNotifier struct {
	// The number to call. Required.
	Number string `json:"number,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*PagerNotifier) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "ciba_idp.notifiers.pager", New: func() caddy.Module { return new(PagerNotifier) }}
}

// UnmarshalCaddyfile reads the number.
func (p *PagerNotifier) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume notifier name
	if !d.AllArgs(&p.Number) {
		return d.ArgErr()
	}
	return nil
}

// Notify implements [idp.Notifier].
func (p *PagerNotifier) Notify(_ context.Context, n *idp.Notification) error {
	_, err := fmt.Printf("to %s: %s asks you something, see %s\n", p.Number, n.Request.Client.Name, n.URL)
	return err
}

// A notifier is a Caddy module of the namespace ciba_idp.notifiers.
func ExampleNotifier() {
	caddy.RegisterModule(new(PagerNotifier))
	info, err := caddy.GetModule("ciba_idp.notifiers.pager")
	if err != nil {
		fmt.Println(err)
		return
	}
	_, ok := info.New().(idp.Notifier)
	fmt.Println(info.ID, ok)
	// Output: ciba_idp.notifiers.pager true
}
