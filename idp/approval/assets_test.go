package approval

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image/png"
	"net/http"
	"strings"
	"testing"
)

// The manifest names icons that are there, of the size that it says, and colors
// of the brand.
func TestManifest(t *testing.T) {
	g := newRig(t)
	b := g.browser()
	w := b.get(g.app.assets.urls["app.webmanifest"])
	var manifest struct {
		Name       string `json:"name"`
		StartURL   string `json:"start_url"`
		ThemeColor string `json:"theme_color"`
		Icons      []struct{ Src, Sizes, Type string }
	}
	err := json.Unmarshal(w.Body.Bytes(), &manifest)
	if err != nil {
		t.Fatal(err)
	}
	if manifest.Name != "Example Bank Approvals" || manifest.StartURL != "/" || manifest.ThemeColor != defaultAccent || len(manifest.Icons) < 3 {
		t.Errorf("%+v", manifest)
	}
	for _, icon := range manifest.Icons {
		w := b.get(icon.Src)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != icon.Type {
			t.Errorf("%s: %d %s", icon.Src, w.Code, w.Header().Get("Content-Type"))
		}
		if icon.Type != "image/png" {
			continue
		}
		img, err := png.Decode(bytes.NewReader(w.Body.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		side := img.Bounds().Dx()
		if want := fmt.Sprintf("%dx%d", side, side); icon.Sizes != want {
			t.Errorf("%s is %d wide", icon.Sizes, side)
		}
		if corner, middle := colorAt(img.At(0, 0).RGBA()), colorAt(img.At(222*side/512, 336*side/512).RGBA()); corner.String() != defaultAccent || middle.String() != "#ffffff" {
			t.Errorf("%s: corner %s, tick %s", icon.Sizes, corner, middle)
		}
	}
}

func colorAt(r, g, b, _ uint32) rgb { return rgb{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8)} }

// An address with another hash is another file, and no file that was not meant
// to be served can be had.
func TestAssetAddresses(t *testing.T) {
	g := newRig(t)
	for _, path := range []string{
		"/assets/app.css", "/assets/app.0000000000000000.css", "/assets/layout.html", "/assets/en.json",
		g.app.assets.urls["app.css"] + "x", strings.ToUpper(g.app.assets.urls["app.css"]),
	} {
		if w := g.browser().get(path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}
