package approval

import (
	"strings"
	"unicode"
)

// Text is text from outside as it may be shown: with a visible mark in place of
// every character that would not be seen or would move others about, and with
// what is odd about it. Templates put it into its own <bdi> element.
type Text struct {
	// Value is the text to show.
	Value string

	// Hidden says that characters were replaced: control and formatting
	// characters, line breaks, private and unassigned ones, or heaps of
	// combining marks.
	Hidden bool

	// Mixed says that letters of alphabets which look alike are mixed, or that
	// letters are imitated by mathematical or full-width symbols.
	Mixed bool
}

// maxMarks is how many combining marks a letter may carry.
const maxMarks = 2

// lookalikes are the alphabets that share letter shapes with Latin.
var lookalikes = []*unicode.RangeTable{
	unicode.Latin, unicode.Cyrillic, unicode.Greek, unicode.Armenian, unicode.Cherokee, unicode.Lisu, unicode.Coptic,
}

// newText prepares text from outside for showing.
func newText(s string) Text {
	var t Text
	var b strings.Builder
	marks, alphabets := 0, 0
	var seen [8]bool
	for _, r := range s {
		if unicode.Is(unicode.M, r) {
			marks++
		} else {
			marks = 0
		}
		if r == unicode.ReplacementChar || marks > maxMarks || !visible(r) {
			t.Hidden = true
			b.WriteRune(unicode.ReplacementChar)
			continue
		}
		b.WriteRune(r)
		if imitation(r) {
			t.Mixed = true
		}
		for i, table := range lookalikes {
			if !seen[i] && unicode.Is(table, r) && unicode.IsLetter(r) {
				seen[i] = true
				alphabets++
			}
		}
	}
	t.Value = strings.TrimSpace(b.String())
	t.Mixed = t.Mixed || alphabets > 1
	return t
}

// visible says whether a character shows itself and leaves its neighbors alone.
func visible(r rune) bool {
	if r == ' ' || r == '\u00a0' || r == '\u202f' {
		return true
	}
	// IsPrint is letters, marks, numbers, punctuation and symbols: no control
	// or formatting characters, no line or paragraph separators, no exotic
	// spaces, nothing private or unassigned.
	if !unicode.IsPrint(r) {
		return false
	}
	switch {
	case r == '\u115f', r == '\u1160', r == '\u3164', r == '\uffa0': // Hangul fillers are letters without a shape
		return false
	case r == '\u2800': // blank Braille pattern
		return false
	case r == '\u034f', r >= '\ufe00' && r <= '\ufe0f', r >= 0xe0100 && r <= 0xe01ef: // joiner, variation selectors
		return false
	}
	return true
}

// imitation says whether a character is a styled copy of a Latin letter or digit.
func imitation(r rune) bool {
	return r >= 0x1d400 && r <= 0x1d7ff || // mathematical alphanumeric symbols
		r >= 0xff01 && r <= 0xff5e || // full-width forms
		r >= 0x2460 && r <= 0x24ff || // enclosed
		r >= 0x1f100 && r <= 0x1f1ff
}

// Initial returns the first letter for a monogram, or a dot.
func (t Text) Initial() string {
	for _, r := range t.Value {
		if unicode.IsLetter(r) || unicode.IsNumber(r) {
			return string(unicode.ToUpper(r))
		}
	}
	return "·"
}
