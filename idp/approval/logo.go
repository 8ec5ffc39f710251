package approval

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"image"
	"image/color"
	_ "image/jpeg" // logos are PNG or JPEG
	"image/png"
	"net/http"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyciba/gateway/idp/provider"
)

const (
	// logoSide is how wide and high a logo is served, in pixels: twice the size in
	// which it is shown.
	logoSide = 88

	// maxLogoSide bounds the registered picture, in pixels.
	maxLogoSide = 2048

	// logoGood is how long a logo is kept, and logoBad how long one is left alone
	// that could not be had.
	logoGood = 24 * time.Hour
	logoBad  = 10 * time.Minute
)

// CheckLogo says what is wrong with a picture that is to be a client's logo: it must be
// a PNG or JPEG of at most 2048 by 2048 pixels.
func CheckLogo(raw []byte) error {
	_, err := drawLogo(raw)
	return err
}

// drawLogo makes a logo of a picture: PNG of the one size that pages have room for, on
// white. Nothing of the registered file is passed on but what can be seen.
func drawLogo(raw []byte) ([]byte, error) {
	config, format, err := image.DecodeConfig(bytes.NewReader(raw))
	if err != nil || format != "png" && format != "jpeg" {
		return nil, errors.New("the logo is neither PNG nor JPEG")
	}
	if config.Width < 1 || config.Height < 1 || config.Width > maxLogoSide || config.Height > maxLogoSide {
		return nil, fmt.Errorf("the logo has %d by %d pixels, at most %d are taken", config.Width, config.Height, maxLogoSide)
	}
	from, _, err := image.Decode(bytes.NewReader(raw))
	if err != nil {
		return nil, errors.New("the logo cannot be decoded")
	}
	var b bytes.Buffer
	err = png.Encode(&b, fitLogo(from))
	if err != nil {
		return nil, fmt.Errorf("encoding a logo: %w", err)
	}
	return b.Bytes(), nil
}

// fitLogo scales a picture into the square, whole and in the middle. Each pixel is the
// mean of those that it stands for.
func fitLogo(from image.Image) image.Image {
	to := image.NewRGBA(image.Rect(0, 0, logoSide, logoSide))
	bounds := from.Bounds()
	scale := float64(max(bounds.Dx(), bounds.Dy())) / logoSide
	left := (logoSide - float64(bounds.Dx())/scale) / 2
	top := (logoSide - float64(bounds.Dy())/scale) / 2
	for y := range logoSide {
		for x := range logoSide {
			x0, x1 := (float64(x)-left)*scale, (float64(x)+1-left)*scale
			y0, y1 := (float64(y)-top)*scale, (float64(y)+1-top)*scale
			to.SetRGBA(x, y, meanOnWhite(from, x0, y0, x1, y1))
		}
	}
	return to
}

// meanOnWhite is the mean color of an area of a picture, on white.
func meanOnWhite(from image.Image, x0, y0, x1, y1 float64) color.RGBA {
	bounds := from.Bounds()
	var r, g, b, n uint64
	for y := int(y0); y < max(int(y1), int(y0)+1); y++ {
		for x := int(x0); x < max(int(x1), int(x0)+1); x++ {
			n++
			at := image.Pt(bounds.Min.X+x, bounds.Min.Y+y)
			if x0 < 0 || y0 < 0 || !at.In(bounds) {
				r, g, b = r+0xffff, g+0xffff, b+0xffff
				continue
			}
			cr, cg, cb, ca := from.At(at.X, at.Y).RGBA() // alpha-premultiplied
			white := 0xffff - uint64(ca)
			r, g, b = r+uint64(cr)+white, g+uint64(cg)+white, b+uint64(cb)+white
		}
	}
	return color.RGBA{uint8(r / n >> 8), uint8(g / n >> 8), uint8(b / n >> 8), 0xff}
}

// logos are the logos of clients, by client, as far as somebody has looked at them.
type logos struct {
	mu    sync.Mutex
	known map[string]*logo
}

// logo is one of them. What is in it may be read once done is closed.
type logo struct {
	done  chan struct{}
	body  []byte // nil if it cannot be had
	until time.Time
}

// logoOf returns the logo of a client, nil if it cannot be had. Of several who ask at
// the same time one fetches it.
func (a *App) logoOf(ctx context.Context, clientID string) ([]byte, error) {
	a.logos.mu.Lock()
	l := a.logos.known[clientID]
	mine := l == nil || l.over(a.cfg.Now())
	if mine {
		l = &logo{done: make(chan struct{})}
		a.logos.known[clientID] = l
	}
	a.logos.mu.Unlock()
	if mine {
		a.fetchLogo(context.WithoutCancel(ctx), clientID, l)
	}
	select {
	case <-l.done:
		return l.body, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// over says whether a logo was fetched too long ago.
func (l *logo) over(now time.Time) bool {
	select {
	case <-l.done:
		return !now.Before(l.until)
	default:
		return false
	}
}

// fetchLogo gets a logo and lets those who wait for it go on.
func (a *App) fetchLogo(ctx context.Context, clientID string, l *logo) {
	defer close(l.done)
	l.until = a.cfg.Now().Add(logoBad)
	raw, err := a.cfg.Provider.Logo(ctx, clientID)
	if errors.Is(err, provider.ErrNotFound) {
		// No record of names that somebody has made up.
		a.logos.mu.Lock()
		delete(a.logos.known, clientID)
		a.logos.mu.Unlock()
		return
	}
	if err == nil {
		l.body, err = drawLogo(raw)
	}
	if err != nil {
		a.cfg.Logger.Warn("a client's logo cannot be shown", zap.String("client", clientID), zap.Error(err))
		return
	}
	l.until = a.cfg.Now().Add(logoGood)
}

// logoURL is the address of a client's logo, or empty if it has none.
func (a *App) logoURL(c provider.ClientInfo) string {
	name := base64.RawURLEncoding.EncodeToString([]byte(c.ID))
	if !c.HasLogo || len(name) > maxPathID {
		return ""
	}
	return a.base + "/logos/" + name
}

// serveLogo answers GET /logos/NAME for those who are signed in.
func (a *App) serveLogo(w http.ResponseWriter, r *http.Request, m match) {
	_, err := a.session(r)
	if errors.Is(err, errNoSession) {
		a.refuse(w, r, nil, http.StatusUnauthorized, err)
		return
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	id, err := base64.RawURLEncoding.Strict().DecodeString(m.id)
	if err != nil {
		a.refuse(w, r, nil, http.StatusNotFound, errNotOurs)
		return
	}
	body, err := a.logoOf(r.Context(), string(id))
	if err != nil {
		a.fail(w, r, err)
		return
	}
	if body == nil {
		a.refuse(w, r, nil, http.StatusNotFound, errNotOurs)
		return
	}
	h := w.Header()
	h.Set("Content-Type", contentTypes[".png"])
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "private, max-age=86400")
	if r.Method == http.MethodHead {
		return
	}
	// The browser that leaves in the middle is no error of ours.
	_, _ = w.Write(body)
}
