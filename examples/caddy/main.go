// Command caddy is Caddy with its standard modules, the CIBA gateway and the
// CIBA identity provider: the program that xcaddy makes from xcaddy.json, built
// by the Go tool alone.
//
//	go build -o caddy ./examples/caddy
//	./caddy list-modules | grep ciba
package main

import (
	_ "time/tzdata"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	// The modules that this program consists of. Each registers itself.
	_ "github.com/caddyciba/gateway/caddyciba"
	_ "github.com/caddyciba/gateway/idp"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() {
	caddycmd.Main()
}
