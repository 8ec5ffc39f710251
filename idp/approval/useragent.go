package approval

import "strings"

// Words by which browsers and systems are known in User-Agent, most telling first.
// What is shown is always one of our words, never the header's.
var (
	browserWords = [][2]string{
		{"Edg", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"},
		{"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"}, {"CriOS/", "Chrome"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"},
	}
	systemWords = [][2]string{
		{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"Windows", "Windows"},
		{"CrOS", "ChromeOS"}, {"Mac OS X", "Mac"}, {"Linux", "Linux"},
	}
)

// device names browser and system of a User-Agent, such as "Chrome, Android", or is
// empty for one that is not known.
func device(userAgent string) string {
	var parts []string
	for _, words := range [][][2]string{browserWords, systemWords} {
		for _, word := range words {
			if strings.Contains(userAgent, word[0]) {
				parts = append(parts, word[1])
				break
			}
		}
	}
	return strings.Join(parts, ", ")
}
