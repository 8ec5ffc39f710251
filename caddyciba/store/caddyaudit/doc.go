// Package caddyaudit is what the gateway and the provider have in common of their audit
// logs in Caddy: the options, the logs that configurations share, and the command that
// verifies them.
package caddyaudit
