package stepup

import (
	"errors"
	"unicode"
	"unicode/utf8"
)

// defaultMessageLimit is the length of a binding message in characters.
const defaultMessageLimit = 128

// maxCombining is how many combining marks may follow each other. More of them
// pile up over the text of other lines.
const maxCombining = 2

// The reasons for which a message is not shown.
var (
	errMessageEncoding  = errors.New("the message is not valid UTF-8")
	errMessageInvisible = errors.New("the message has a character that cannot be seen or that moves others")
	errMessageMarks     = errors.New("the message has too many combining marks")
	errMessageLong      = errors.New("the message is too long to be shown in full")
	errMessageEmpty     = errors.New("the message is empty")
)

// bindingMessage returns what the customer is shown and what both sides can
// compare: the text, in full or not at all, and the first characters of the
// digest where they fit (CIBA Core section 7.1, binding_message). Nothing is
// removed or replaced to make a text pass: what was taken out could be what
// matters. The error is a *Refusal with 422.
func bindingMessage(text string, d Digest, limit int, joiner string) (string, error) {
	reason := textProblem(text)
	if reason != nil {
		return "", unreadable(reason)
	}
	length := utf8.RuneCountInString(text)
	switch {
	case length == 0 && shortDigest > limit:
		return "", unreadable(errMessageEmpty)
	case length == 0:
		return d.Short(), nil
	case length > limit:
		return "", unreadable(errMessageLong)
	case length+utf8.RuneCountInString(joiner)+shortDigest > limit:
		return text, nil
	}
	return text + joiner + d.Short(), nil
}

// textProblem says why a text must not be shown, or nil (threats T19).
func textProblem(text string) error {
	if !utf8.ValidString(text) {
		return errMessageEncoding
	}
	marks := 0
	for _, char := range text {
		if char != ' ' && (!unicode.IsGraphic(char) || unicode.IsSpace(char) || unicode.Is(unicode.Zs, char) || isIgnorable(char) || isBlank(char)) {
			return errMessageInvisible
		}
		if !unicode.IsMark(char) {
			marks = 0
			continue
		}
		marks++
		if marks > maxCombining {
			return errMessageMarks
		}
	}
	return nil
}

// isBlank reports whether char is drawn as nothing although it counts as a
// letter or symbol.
func isBlank(char rune) bool {
	switch char {
	case '\u115f', '\u1160', '\u3164', '\uffa0', '\u2800', '\U0001d159':
		return true
	default:
		return false
	}
}
