package page

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed assets/wait.css assets/wait.js
var assetFiles embed.FS

// asset is a file that pages load.
type asset struct {
	media string
	data  []byte
}

// loadAsset makes a file known under a name that changes with its content, so
// that browsers can keep it for ever, and returns its path.
func (p *Pages) loadAsset(prefix, file, media string) (string, error) {
	content, err := assetFiles.ReadFile("assets/" + file)
	if err != nil {
		return "", fmt.Errorf("reading asset: %w", err)
	}
	sum := sha256.Sum256(content)
	extension := path.Ext(file)
	name := strings.TrimSuffix(file, extension) + "." + hex.EncodeToString(sum[:6]) + extension
	p.assets[name] = &asset{media: media, data: content}
	return prefix + name, nil
}

// ServeAsset answers with the asset of the name, and reports whether there is
// one.
func (p *Pages) ServeAsset(w http.ResponseWriter, r *http.Request, name string) bool {
	a := p.assets[name]
	if a == nil {
		return false
	}
	h := w.Header()
	h.Set("Content-Type", a.media)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Length", strconv.Itoa(len(a.data)))
	w.WriteHeader(http.StatusOK)
	if r.Method != http.MethodHead {
		_, _ = w.Write(a.data)
	}
	return true
}
