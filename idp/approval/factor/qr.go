package factor

import (
	"fmt"
	"image/color"
	"strings"

	"github.com/boombuler/barcode/qr"
)

// QR is a QR code, to be drawn on a page or in a terminal.
type QR struct {
	// Size is how many modules a side has, with the quiet zone around.
	Size int

	dark func(x, y int) bool
}

// quietZone is the light frame of a QR code, in modules.
const quietZone = 4

// NewQR returns the QR code of a text.
func NewQR(text string) (*QR, error) {
	code, err := qr.Encode(text, qr.M, qr.Auto)
	if err != nil {
		return nil, fmt.Errorf("making a QR code: %w", err)
	}
	bounds := code.Bounds()
	return &QR{
		Size: bounds.Dx() + 2*quietZone,
		dark: func(x, y int) bool {
			x, y = x-quietZone, y-quietZone
			if x < 0 || y < 0 || x >= bounds.Dx() || y >= bounds.Dy() {
				return false
			}
			return color.GrayModel.Convert(code.At(bounds.Min.X+x, bounds.Min.Y+y)).(color.Gray).Y < 128
		},
	}, nil
}

// Path returns the dark modules as the path of an SVG image of Size by Size.
func (q *QR) Path() string {
	var b strings.Builder
	for y := range q.Size {
		for x := 0; x < q.Size; x++ {
			from := x
			for q.dark(x, y) {
				x++
			}
			if x > from {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", from, y, x-from, x-from)
			}
		}
	}
	return b.String()
}

// Terminal returns the code in half blocks, two rows of modules in a line, light on
// dark as terminals are.
func (q *QR) Terminal() string {
	var b strings.Builder
	for y := 0; y < q.Size; y += 2 {
		for x := range q.Size {
			top, bottom := !q.dark(x, y), y+1 < q.Size && !q.dark(x, y+1)
			switch {
			case top && bottom:
				b.WriteRune('█')
			case top:
				b.WriteRune('▀')
			case bottom:
				b.WriteRune('▄')
			default:
				b.WriteByte(' ')
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}
