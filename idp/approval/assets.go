package approval

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
)

//go:embed assets/*
var assetFiles embed.FS

// asset is a file as it is served.
type asset struct {
	body        []byte
	contentType string
}

// assets are the files of the app. A file's address contains a hash of its
// content, so that browsers keep it for as long as they like and a new version
// is another address.
type assets struct {
	byName map[string]asset  // by the name with the hash
	urls   map[string]string // address by plain name
}

// contentTypes by file name extension. Nothing else is served.
var contentTypes = map[string]string{
	".css":         "text/css; charset=utf-8",
	".js":          "text/javascript; charset=utf-8",
	".svg":         "image/svg+xml",
	".png":         "image/png",
	".webmanifest": "application/manifest+json",
}

// loadAssets prepares the embedded files and those that follow from the brand.
func loadAssets(base string, brand Brand, th theme, style []byte) (*assets, error) {
	s := &assets{byName: map[string]asset{}, urls: map[string]string{}}
	css, err := readAssets("assets/app.css", "assets/factor.css")
	if err != nil {
		return nil, err
	}
	js, err := readAssets("assets/app.js", "assets/passkey.js")
	if err != nil {
		return nil, err
	}
	icon, err := readAssets("assets/icon.svg")
	if err != nil {
		return nil, err
	}
	icon = bytes.ReplaceAll(icon, []byte("{accent}"), []byte(th.accent.String()))
	s.add(base, "app.css", slices.Concat([]byte(th.css()), css, style))
	s.add(base, "app.js", js)
	js, err = readAssets("assets/notifications.js")
	if err != nil {
		return nil, err
	}
	s.add(base, "notifications.js", js)
	s.add(base, "icon.svg", icon)
	icons := []map[string]string{{"src": s.urls["icon.svg"], "sizes": "any", "type": "image/svg+xml"}}
	for _, side := range []int{180, 192, 512} {
		size := strconv.Itoa(side)
		drawn, err := iconPNG(th.accent, side)
		if err != nil {
			return nil, err
		}
		s.add(base, "icon-"+size+".png", drawn)
		icons = append(icons, map[string]string{
			"src": s.urls["icon-"+size+".png"], "sizes": size + "x" + size, "type": "image/png", "purpose": "any maskable",
		})
	}
	manifest, err := json.Marshal(map[string]any{
		"name":             brand.Name,
		"short_name":       brand.Name,
		"id":               base + "/",
		"start_url":        base + "/",
		"scope":            base + "/",
		"display":          "standalone",
		"theme_color":      th.accent.String(),
		"background_color": lightPage.String(),
		"icons":            icons,
	})
	if err != nil {
		return nil, fmt.Errorf("encoding the manifest: %w", err)
	}
	s.add(base, "app.webmanifest", manifest)
	return s, nil
}

// readAssets reads embedded files and puts them one behind the other.
func readAssets(names ...string) ([]byte, error) {
	var all []byte
	for _, name := range names {
		raw, err := assetFiles.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading asset: %w", err)
		}
		all = append(all, raw...)
	}
	return all, nil
}

func (s *assets) add(base, name string, body []byte) {
	sum := sha256.Sum256(body)
	ext := path.Ext(name)
	hashed := strings.TrimSuffix(name, ext) + "." + hex.EncodeToString(sum[:8]) + ext
	s.byName[hashed] = asset{body: body, contentType: contentTypes[ext]}
	s.urls[name] = base + "/assets/" + hashed
}

// serveAsset answers GET /assets/NAME.
func (a *App) serveAsset(w http.ResponseWriter, r *http.Request, m match) {
	file, ok := a.assets.byName[m.id]
	if !ok {
		a.refuse(w, r, nil, http.StatusNotFound, errNotOurs)
		return
	}
	h := w.Header()
	h.Set("Content-Type", file.contentType)
	h.Set("Content-Length", strconv.Itoa(len(file.body)))
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	if r.Method == http.MethodHead {
		return
	}
	// The browser that leaves in the middle is no error of ours.
	_, _ = w.Write(file.body)
}
