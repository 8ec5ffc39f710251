//go:build race

package caddyciba

// racing says that the race detector is at work: everything takes several times as
// long, and long tests do a part of their work.
const racing = true
