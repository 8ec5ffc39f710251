package provider

import (
	"errors"
	"fmt"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxMarks is how many combining marks may follow one character. Two are enough
// for every living script in NFC; more serve to paint over other text.
const maxMarks = 2

// Reasons why a binding message is refused.
var (
	errMessageLength     = errors.New("binding message is too long")
	errMessageEncoding   = errors.New("text is not valid UTF-8 in normalization form C")
	errMessageCharacters = errors.New("text has characters that are not allowed")
)

// checkBindingMessage accepts what can be shown to a person exactly as it is, and
// means to the person what it meant to the sender: letters, digits, punctuation,
// currency signs, plus and space. Controls, line breaks, bidirectional and
// zero-width characters, fillers, symbols and emoji are refused rather than
// removed (CIBA checklist A11). The empty message is none.
func checkBindingMessage(message string, maxRunes int) error {
	if len(message) > maxRunes*utf8.UTFMax || utf8.RuneCountInString(message) > maxRunes {
		return errMessageLength
	}
	return checkPlainText(message, false)
}

// checkPlainText accepts text without anything that is invisible, moves other
// text about, or is drawn over it. Symbols other than plus are for where the
// text is data, as in a URL.
func checkPlainText(text string, symbols bool) error {
	if !utf8.ValidString(text) || !norm.NFC.IsNormalString(text) {
		return errMessageEncoding
	}
	marks := maxMarks // a mark needs a letter that it belongs to
	for _, r := range text {
		switch {
		case isInvisible(r):
			return fmt.Errorf("%w: %U", errMessageCharacters, r)
		case unicode.IsMark(r):
			marks++
			if marks > maxMarks {
				return fmt.Errorf("%w: too many combining marks", errMessageCharacters)
			}
		case unicode.IsLetter(r):
			marks = 0
		case unicode.In(r, unicode.Nd, unicode.P, unicode.Sc) || r == '+' || r == ' ',
			symbols && unicode.In(r, unicode.Sm, unicode.Sk):
			marks = maxMarks
		default:
			return fmt.Errorf("%w: %U", errMessageCharacters, r)
		}
	}
	return nil
}

// isInvisible reports letters and marks that show nothing, such as the Hangul
// fillers and variation selectors.
func isInvisible(r rune) bool {
	return unicode.In(r, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}
