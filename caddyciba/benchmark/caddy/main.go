// Command caddy is the Caddy of the gateway's benchmark: that of the gateway, with
// one handler more, against which the gateway is measured.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyciba/gateway/caddyciba"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() {
	caddycmd.Main()
}
