// Command caddy is the Caddy of the gateway's benchmark: that of the gateway, with
// one handler more, against which the gateway is measured, and one that looks into the
// process.
package main

import (
	"os"
	"runtime"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyciba/gateway/caddyciba"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

// fineProfile is one in how many bytes of memory a profile has, where the driver
// takes profiles. That is often enough to see what is small and there for each request.
const fineProfile = 4 << 10

func main() {
	if os.Getenv("BENCH_PROFILES") != "" {
		runtime.MemProfileRate = fineProfile
	}
	caddycmd.Main()
}
