package approval

import (
	"net/http"
	"slices"
	"strings"
)

// handler answers one method of a route.
type handler func(a *App, w http.ResponseWriter, r *http.Request, m match)

// route is one address of the app with the methods that it takes.
type route struct {
	get  handler // also for HEAD
	post handler
	page bool // a page that sign-in may lead back to
}

// match is a route with the part of the path that varies.
type match struct {
	route *route
	id    string // of a request, or the name of an asset
}

// routes are all addresses of the app, by path below the base path.
type routes struct {
	fixed    map[string]*route
	request  *route // /requests/{id}
	decision *route // /requests/{id}/decision
	asset    *route // /assets/{name}
	logo     *route // /logos/{name}
}

func newRoutes() *routes {
	return &routes{
		fixed: map[string]*route{
			"/":         {get: (*App).showList, page: true},
			"/blocked":  {get: (*App).showBlocked, post: (*App).unblock, page: true},
			"/history":  {get: (*App).showHistory, page: true},
			"/sign-in":  {get: (*App).showSignIn, post: (*App).signIn},
			"/sign-out": {post: (*App).signOut},

			"/notifications": {get: (*App).showNotifications, post: (*App).changeNotifications, page: true},

			"/events": {get: (*App).serveEvents},

			"/sign-in/passkey":  {post: (*App).signInPasskey},
			"/prove":            {get: (*App).showProve, post: (*App).proveIdentity},
			"/devices":          {get: (*App).showDevices, post: (*App).changeDevices, page: true},
			"/sign-in/code":     {post: (*App).signInCode},
			"/sign-in/recovery": {get: (*App).showRecovery, post: (*App).signInRecovery},
			"/devices/totp":     {get: (*App).showTOTP, post: (*App).addTOTP, page: true},
			"/devices/recovery": {post: (*App).makeRecovery},
			enrollPath:          {get: (*App).showEnroll, post: (*App).enroll},

			workerPath:  {get: (*App).serveWorker},
			offlinePath: {get: (*App).showOffline},
		},
		request:  &route{get: (*App).showRequest, page: true},
		decision: &route{post: (*App).decide},
		asset:    &route{get: (*App).serveAsset},
		logo:     &route{get: (*App).serveLogo},
	}
}

// maxPathID bounds the variable part of a path, in bytes.
const maxPathID = 128

// find returns the route of a path below the base path. A path that is none of
// ours has no route.
func (t *routes) find(path string) match {
	fixed, ok := t.fixed[path]
	if ok {
		return match{route: fixed}
	}
	rest, ok := strings.CutPrefix(path, "/requests/")
	if ok {
		id, tail, more := strings.Cut(rest, "/")
		switch {
		case !validPathID(id):
			return match{}
		case !more:
			return match{route: t.request, id: id}
		case tail == "decision":
			return match{route: t.decision, id: id}
		}
		return match{}
	}
	name, ok := strings.CutPrefix(path, "/assets/")
	if ok && validPathID(name) {
		return match{route: t.asset, id: name}
	}
	name, ok = strings.CutPrefix(path, "/logos/")
	if ok && validPathID(name) {
		return match{route: t.logo, id: name}
	}
	return match{}
}

// validPathID says whether s can be the variable part of a path: letters,
// digits, and - _ . in between.
func validPathID(s string) bool {
	if s == "" || len(s) > maxPathID || s[0] == '.' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

// match finds the route of a request. The raw path must be the plain one: an
// address of ours is never written with escapes.
func (a *App) match(r *http.Request) match {
	if r.URL.RawPath != "" {
		return match{}
	}
	path, ok := strings.CutPrefix(r.URL.Path, a.base)
	if !ok {
		return match{}
	}
	return a.routes.find(path)
}

// Handles reports whether the path of the request is one of the app's. The app
// takes nothing below its base path but its own addresses, so that it can share
// a host with other handlers.
func (a *App) Handles(r *http.Request) bool {
	return a.match(r).route != nil
}

// ServeHTTP answers the app's own paths, and 404 for all others.
func (a *App) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setHeaders(w.Header())
	m := a.match(r)
	if m.route == nil {
		a.refuse(w, r, nil, http.StatusNotFound, errNotOurs)
		return
	}
	if !a.rightHost(r) {
		a.refuse(w, r, nil, http.StatusMisdirectedRequest, errWrongHost)
		return
	}
	var h handler
	var allow []string
	if m.route.get != nil {
		allow = append(allow, http.MethodGet, http.MethodHead)
	}
	if m.route.post != nil {
		allow = append(allow, http.MethodPost)
	}
	switch {
	case !slices.Contains(allow, r.Method):
		w.Header().Set("Allow", strings.Join(allow, ", "))
		a.refuse(w, r, nil, http.StatusMethodNotAllowed, errMethod)
		return
	case r.Method == http.MethodPost:
		h = m.route.post
	default:
		h = m.route.get
	}
	err := a.checkOrigin(r)
	if err != nil {
		a.refuse(w, r, nil, http.StatusForbidden, err)
		return
	}
	h(a, w, r, m)
}

// rightHost says whether the request was meant for this app. A page that got
// here under another name (DNS rebinding, a stray virtual host) would have
// another origin than the one that forms are checked against.
func (a *App) rightHost(r *http.Request) bool {
	return strings.EqualFold(canonicalHost(r.Host, a.secure), a.host)
}

// canonicalHost drops the default port of the scheme.
func canonicalHost(host string, secure bool) string {
	if secure {
		return strings.TrimSuffix(host, ":443")
	}
	return strings.TrimSuffix(host, ":80")
}
