package approval

import (
	"net/url"
	"strings"
)

// maxNext bounds the address to return to, in bytes.
const maxNext = 1024

// safeNext turns the address to return to after sign-in into one of our own
// pages. Anything else becomes the list. It is an allow-list: the address must
// be plain ASCII path text without escapes, authority, query or dot segments,
// and must name a page that exists.
func (a *App) safeNext(next string) string {
	home := a.base + "/"
	if next == "" || len(next) > maxNext {
		return home
	}
	for i := range len(next) {
		c := next[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '/', c == '-', c == '_', c == '.', c == '~':
		default:
			return home
		}
	}
	if next[0] != '/' || strings.Contains(next, "//") || strings.Contains(next, "/.") {
		return home
	}
	path, ok := strings.CutPrefix(next, a.base)
	if !ok {
		return home
	}
	m := a.routes.find(path)
	if m.route == nil || !m.route.page {
		return home
	}
	return next
}

// signInURL is the address of the sign-in page that leads back to a page.
func (a *App) signInURL(next string) string {
	u := a.base + "/sign-in"
	if next == "" || next == a.base+"/" {
		return u
	}
	return u + "?" + url.Values{"next": {next}}.Encode()
}
