package approval

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Brand is how the app presents itself.
type Brand struct {
	// Name is shown in the header and in the title of every page, for example
	// the name of the bank. Default: "Approvals".
	Name string

	// Accent is the one color of buttons and links, as #rrggbb. White text on
	// it must have a contrast of at least 4.5:1 (WCAG 2.2, 1.4.3), or New
	// refuses it. For dark mode a lighter tone is derived. Default: #0b5c56.
	Accent string
}

const (
	defaultBrandName = "Approvals"
	defaultAccent    = "#0b5c56"

	// minContrast is the WCAG 2.2 level AA threshold for normal text.
	minContrast = 4.5

	// darkContrast is what the lighter tone for dark mode must reach.
	darkContrast = 6.5

	maxBrandName = 64
)

// Surfaces against which the accent is checked; the same values stand in
// assets/app.css.
var (
	lightSurface = rgb{0xff, 0xff, 0xff}
	lightPage    = rgb{0xf4, 0xf5, 0xf3}
	darkSurface  = rgb{0x1b, 0x20, 0x22}
	darkInk      = rgb{0x0e, 0x13, 0x14}
)

// ErrContrast says that the accent color of the brand cannot be read as text
// or behind white text.
var ErrContrast = errors.New("accent color has too little contrast")

// rgb is a color in sRGB.
type rgb [3]uint8

func (c rgb) String() string { return fmt.Sprintf("#%02x%02x%02x", c[0], c[1], c[2]) }

// parseColor reads #rrggbb.
func parseColor(s string) (rgb, error) {
	var c rgb
	if len(s) != 7 || s[0] != '#' {
		return c, fmt.Errorf("color %q is not of the form #rrggbb", s)
	}
	for i := range c {
		v, err := strconv.ParseUint(s[1+2*i:3+2*i], 16, 8)
		if err != nil {
			return c, fmt.Errorf("color %q is not of the form #rrggbb", s)
		}
		c[i] = uint8(v)
	}
	return c, nil
}

// luminance is the relative luminance of WCAG 2.2.
func (c rgb) luminance() float64 {
	linear := func(v uint8) float64 {
		f := float64(v) / 255
		if f <= 0.04045 {
			return f / 12.92
		}
		return math.Pow((f+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(c[0]) + 0.7152*linear(c[1]) + 0.0722*linear(c[2])
}

// contrast is the WCAG 2.2 contrast ratio of two colors, from 1 to 21.
func contrast(a, b rgb) float64 {
	la, lb := a.luminance(), b.luminance()
	if la < lb {
		la, lb = lb, la
	}
	return (la + 0.05) / (lb + 0.05)
}

// mix returns a color that lies at t between c (0) and d (1).
func (c rgb) mix(d rgb, t float64) rgb {
	var out rgb
	for i := range out {
		out[i] = uint8(math.Round(float64(c[i])*(1-t) + float64(d[i])*t))
	}
	return out
}

// hsl returns hue (0 to 6), saturation and lightness (0 to 1).
func (c rgb) hsl() (hue, saturation, lightness float64) {
	r, g, b := float64(c[0])/255, float64(c[1])/255, float64(c[2])/255
	high, low := max(r, g, b), min(r, g, b)
	lightness = (high + low) / 2
	spread := high - low
	if spread == 0 {
		return 0, 0, lightness
	}
	saturation = spread / (1 - math.Abs(2*lightness-1))
	switch high {
	case r:
		hue = math.Mod((g-b)/spread+6, 6)
	case g:
		hue = (b-r)/spread + 2
	default:
		hue = (r-g)/spread + 4
	}
	return hue, saturation, lightness
}

// fromHSL is the reverse of hsl.
func fromHSL(hue, saturation, lightness float64) rgb {
	var c rgb
	for i, offset := range []float64{0, 8, 4} {
		k := math.Mod(offset+hue*2, 12)
		v := lightness - saturation*min(lightness, 1-lightness)*max(-1, min(k-3, 9-k, 1))
		c[i] = uint8(math.Round(v * 255))
	}
	return c
}

// theme holds the colors that follow from the brand.
type theme struct {
	accent       rgb // buttons and links on light surfaces
	accentStrong rgb // pressed
	accentDark   rgb // buttons and links on dark surfaces, with dark text on it
	accentHover  rgb // pressed, dark
}

// newTheme checks the accent and derives the tones for dark mode.
func newTheme(accent string) (theme, error) {
	c, err := parseColor(accent)
	if err != nil {
		return theme{}, err
	}
	// lightPage is darker than white, so that it decides for links, and a
	// white label on the button decides against the same white.
	for _, surface := range []rgb{lightSurface, lightPage} {
		ratio := contrast(c, surface)
		if ratio < minContrast {
			return theme{}, fmt.Errorf("%w: %s on %s has %.2f:1, at least %.1f:1 is needed; choose a darker tone", ErrContrast, c, surface, ratio, minContrast)
		}
	}
	t := theme{accent: c, accentStrong: c.mix(rgb{}, 0.22)}
	// On dark surfaces the same hue, lighter step by step until it reads well,
	// and a little paler, for light colors glow.
	hue, saturation, lightness := c.hsl()
	for l := lightness; ; l = min(l+0.01, 1) {
		t.accentDark = fromHSL(hue, saturation*0.6, l)
		readable := contrast(t.accentDark, darkSurface) >= darkContrast && contrast(t.accentDark, darkInk) >= darkContrast
		if readable || l >= 1 {
			t.accentHover = fromHSL(hue, saturation*0.6, min(l+0.1, 1))
			break
		}
	}
	return t, nil
}

// css returns the custom properties that assets/app.css builds upon.
func (t theme) css() string {
	var b strings.Builder
	fmt.Fprintf(&b, ":root{--accent:%s;--accent-strong:%s;--on-accent:#ffffff}\n", t.accent, t.accentStrong)
	fmt.Fprintf(&b, "@media (prefers-color-scheme:dark){:root{--accent:%s;--accent-strong:%s;--on-accent:%s}}\n", t.accentDark, t.accentHover, darkInk)
	return b.String()
}
