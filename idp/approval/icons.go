package approval

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
)

// tick is the sign in the icon, as points in a square of side 1; the same as in
// assets/icon.svg.
var tick = [][2]float64{{152.0 / 512, 266.0 / 512}, {222.0 / 512, 336.0 / 512}, {360.0 / 512, 188.0 / 512}}

// tickWidth is half the width of its line.
const tickWidth = 23.0 / 512

// iconPNG draws the icon for systems that take no SVG. It fills its square, for
// those systems cut the corners themselves.
func iconPNG(accent rgb, side int) ([]byte, error) {
	img := image.NewPaletted(image.Rect(0, 0, side, side), iconPalette(accent))
	for y := range side {
		for x := range side {
			px, py := (float64(x)+0.5)/float64(side), (float64(y)+0.5)/float64(side)
			// How far the middle of the pixel is inside the line, in pixels,
			// is how much of the pixel is white.
			inside := (tickWidth-tickDistance(px, py))*float64(side) + 0.5
			cover := math.Round(min(max(inside, 0), 1) * float64(len(img.Palette)-1))
			img.SetColorIndex(x, y, uint8(cover))
		}
	}
	var b bytes.Buffer
	err := png.Encode(&b, img)
	if err != nil {
		return nil, fmt.Errorf("encoding an icon: %w", err)
	}
	return b.Bytes(), nil
}

// iconPalette goes from the accent to white.
func iconPalette(accent rgb) color.Palette {
	const steps = 16
	p := make(color.Palette, steps)
	for i := range p {
		c := accent.mix(rgb{0xff, 0xff, 0xff}, float64(i)/(steps-1))
		p[i] = color.RGBA{c[0], c[1], c[2], 0xff}
	}
	return p
}

// tickDistance is the distance of a point from the middle of the tick's line.
func tickDistance(x, y float64) float64 {
	nearest := math.Inf(1)
	for i := range len(tick) - 1 {
		a, b := tick[i], tick[i+1]
		dx, dy := b[0]-a[0], b[1]-a[1]
		t := min(max(((x-a[0])*dx+(y-a[1])*dy)/(dx*dx+dy*dy), 0), 1)
		nearest = min(nearest, math.Hypot(x-a[0]-t*dx, y-a[1]-t*dy))
	}
	return nearest
}
