package approval

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
)

// Addresses below the base path. The service worker's must be at the top: what it
// may look after lies below it.
const (
	workerPath  = "/service-worker.js"
	offlinePath = "/offline"
)

// workerShell is what the service worker has to know, as JSON in front of its code.
type workerShell struct {
	Version string                `json:"version"` // changes with what is kept
	Base    string                `json:"base"`
	Files   []string              `json:"files"`
	Offline string                `json:"offline"`
	Pages   []string              `json:"pages"` // addresses of pages
	Below   []string              `json:"below"` // what addresses of pages begin with
	Icon    string                `json:"icon"`
	Words   map[string]workerNote `json:"words"` // by language
}

// workerNote is a notification that says that something waits.
type workerNote struct {
	Title string `json:"title"`
	Text  string `json:"text"`
}

// loadWorker writes the service worker. It keeps the app's own files and the page
// for when there is no connection, and no page with data.
func (a *App) loadWorker() ([]byte, error) {
	shell := workerShell{
		Base:    a.base,
		Files:   slices.Sorted(maps.Values(a.assets.urls)),
		Offline: a.base + offlinePath,
		Below:   []string{a.base + "/requests/"},
		Icon:    a.assets.urls["icon-192.png"],
		Words:   map[string]workerNote{},
	}
	for path, route := range a.routes.fixed {
		if route.page {
			shell.Pages = append(shell.Pages, a.base+path)
		}
	}
	slices.Sort(shell.Pages)
	for _, l := range a.locales.all {
		shell.Words[l.name] = workerNote{Title: l.word("push.title"), Text: l.word("push.text")}
	}
	code, err := readAssets("assets/service-worker.js", "assets/push.js")
	if err != nil {
		return nil, err
	}
	// The page for no connection is made of the catalogues, templates and files.
	page, err := a.renderBytes(a.locales.all[0], "offline", nil, nil)
	if err != nil {
		return nil, err
	}
	known, err := json.Marshal(shell)
	if err != nil {
		return nil, fmt.Errorf("encoding what the service worker knows: %w", err)
	}
	sum := sha256.New()
	for _, part := range [][]byte{known, code, page} {
		sum.Write(part)
	}
	shell.Version = hex.EncodeToString(sum.Sum(nil)[:8])
	known, err = json.Marshal(shell)
	if err != nil {
		return nil, fmt.Errorf("encoding what the service worker knows: %w", err)
	}
	return slices.Concat([]byte("const shell = "), known, []byte(";\n"), code), nil
}

// serveWorker answers GET /service-worker.js. Browsers ask again whenever they like.
func (a *App) serveWorker(w http.ResponseWriter, r *http.Request, _ match) {
	h := w.Header()
	h.Set("Content-Type", contentTypes[".js"])
	h.Set("Content-Length", strconv.Itoa(len(a.worker)))
	h.Set("Cache-Control", "no-cache")
	if r.Method == http.MethodHead {
		return
	}
	// The browser that leaves in the middle is no error of ours.
	_, _ = w.Write(a.worker)
}

// showOffline answers GET /offline: the page that the service worker keeps. It is
// the same for everybody.
func (a *App) showOffline(w http.ResponseWriter, r *http.Request, _ match) {
	a.render(w, r, http.StatusOK, "offline", nil, nil)
}
