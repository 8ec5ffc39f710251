package approval

import (
	"math/big"
	"strings"
)

// amount writes a decimal number the way the language does, with all of its
// digits: nothing is rounded, added or cut. It returns false for anything that
// is not a plain decimal number; that is shown as it is.
func (l *locale) amount(s string) (string, bool) {
	digits, fraction, hasFraction := strings.Cut(s, ".")
	sign := ""
	if rest, ok := strings.CutPrefix(digits, "-"); ok {
		sign, digits = "\u2212", rest
	}
	if !allDigits(digits) || len(digits) > 24 || hasFraction && (!allDigits(fraction) || len(fraction) > 12) {
		return "", false
	}
	if len(digits) > 1 && digits[0] == '0' {
		return "", false
	}
	out := sign + l.group(digits)
	if hasFraction {
		out += l.words["number.decimal"] + fraction
	}
	return out, true
}

// group puts separators between groups of three digits.
func (l *locale) group(digits string) string {
	separator := l.words["number.group"]
	// Some languages leave four digits together.
	if len(digits) < 4 || len(digits) == 4 && l.words["number.group_from"] == "5" {
		return digits
	}
	var b strings.Builder
	for i, c := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteString(separator)
		}
		b.WriteRune(c)
	}
	return b.String()
}

// currency says whether s is written like an ISO 4217 code.
func currency(s string) bool {
	if len(s) != 3 {
		return false
	}
	for i := range len(s) {
		if s[i] < 'A' || s[i] > 'Z' {
			return false
		}
	}
	return true
}

// iban returns an IBAN in groups of four (ISO 13616), or false if s is none.
func iban(s string) (string, bool) {
	compact := strings.ReplaceAll(s, " ", "")
	if len(compact) < 15 || len(compact) > 34 {
		return "", false
	}
	// ISO 7064 MOD 97-10: country and check digits go to the end, letters
	// count as 10 to 35.
	var number strings.Builder
	for i := range len(compact) {
		c := compact[(i+4)%len(compact)]
		switch {
		case c >= '0' && c <= '9':
			number.WriteByte(c)
		case c >= 'A' && c <= 'Z':
			number.WriteByte('1' + (c-'A')/10)
			number.WriteByte('0' + (c-'A')%10)
		default:
			return "", false
		}
	}
	if !allLetters(compact[:2]) || !allDigits(compact[2:4]) {
		return "", false
	}
	n, ok := new(big.Int).SetString(number.String(), 10)
	if !ok || n.Mod(n, big.NewInt(97)).Int64() != 1 {
		return "", false
	}
	var b strings.Builder
	for i := range len(compact) {
		switch {
		case i == 0 || i%4 != 0:
		case len(compact)-i <= 4:
			b.WriteRune('\u00a0') // the last group, often a short one, is not left alone on a line
		default:
			b.WriteByte(' ')
		}
		b.WriteByte(compact[i])
	}
	return b.String(), true
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func allLetters(s string) bool {
	for i := range len(s) {
		if s[i] < 'A' || s[i] > 'Z' {
			return false
		}
	}
	return s != ""
}
