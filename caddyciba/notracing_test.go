//go:build !race

package caddyciba

// racing says that the race detector is at work.
const racing = false
