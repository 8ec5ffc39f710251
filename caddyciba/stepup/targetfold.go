package stepup

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// slashLookalikes have no decomposition but are mapped to "/" or "\" by
// best-fit conversions into older character sets.
const slashLookalikes = "\u2044\u2215\u2216\u29f5\u29f8\u29f9\u00a5\u20a9"

// foldingProblem refuses text that a back end could fold into other text with
// ASCII in it, or drop letters from: long s, Kelvin sign, full-width forms,
// ligatures, dotted I, zero-width and other ignorable characters.
func foldingProblem(text string) string {
	if !utf8.ValidString(text) {
		return "The path has escapes that are not valid UTF-8"
	}
	for _, char := range text {
		if char < utf8.RuneSelf {
			continue
		}
		if !unicode.IsGraphic(char) || isIgnorable(char) || (unicode.IsSpace(char)) {
			return "The path has a character that cannot be seen"
		}
		if strings.ContainsRune(slashLookalikes, char) || foldsToASCII(char) {
			return "The path has a character that can be taken for another one"
		}
	}
	return ""
}

// foldsToASCII reports whether a case or compatibility mapping of char has an
// ASCII character in it.
func foldsToASCII(char rune) bool {
	text := string(char)
	mappings := [...]string{
		norm.NFKC.String(text),
		cases.Fold().String(text),
		strings.ToLower(text),
		strings.ToUpper(text),
		norm.NFKC.String(cases.Fold().String(norm.NFKC.String(text))),
	}
	for _, mapped := range mappings {
		for _, c := range []byte(mapped) {
			if c < utf8.RuneSelf {
				return true
			}
		}
	}
	for folded := unicode.SimpleFold(char); folded != char; folded = unicode.SimpleFold(folded) {
		if folded < utf8.RuneSelf {
			return true
		}
	}
	return false
}

// isIgnorable reports whether software may drop char without a trace.
func isIgnorable(char rune) bool {
	return unicode.In(char, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}
