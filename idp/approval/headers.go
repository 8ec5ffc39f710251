package approval

import "net/http"

// contentSecurityPolicy allows files of this origin and nothing else: no inline
// script or style, no frame, no plug-in, no form that leaves the origin. The
// page's script writes text and attributes only; the one Trusted Types policy is
// for the address of the service worker, which it takes from nowhere else.
const contentSecurityPolicy = "default-src 'none'; " +
	"script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; manifest-src 'self'; worker-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'; " +
	"require-trusted-types-for 'script'; trusted-types service-worker"

// permissionsPolicy switches off what these pages never use.
const permissionsPolicy = "accelerometer=(), autoplay=(), camera=(), display-capture=(), " +
	"encrypted-media=(), fullscreen=(), geolocation=(), gyroscope=(), magnetometer=(), " +
	"microphone=(), midi=(), payment=(), picture-in-picture=(), screen-wake-lock=(), " +
	"serial=(), usb=(), xr-spatial-tracking=()"

// setHeaders puts the protective headers on an answer, whatever it turns out to
// be. Assets relax Cache-Control afterwards.
//
// Referrer-Policy is same-origin rather than no-referrer: nothing leaves the
// origin with either, but under no-referrer browsers send "Origin: null" with
// our own forms, and then the strict origin check of csrf.go would be
// impossible.
func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", permissionsPolicy)
	h.Set("Cache-Control", "no-store")
}
