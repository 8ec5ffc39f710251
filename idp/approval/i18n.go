package approval

import (
	"embed"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/language"
)

//go:embed locales/*.json
var localeFiles embed.FS

// languages are the languages of the app in the order of preference; the first
// is taken for browsers that want none of them. Each has a catalogue
// locales/NAME.json with the same keys.
var languages = []string{"en", "de", "fr", "es"}

// maxAcceptLanguage bounds how much of Accept-Language is read, in bytes.
const maxAcceptLanguage = 256

// locale is one language: its words and its way to write numbers and times.
type locale struct {
	name  string
	words map[string]string
}

// locales are all languages with the choice among them.
type locales struct {
	all     []*locale
	matcher language.Matcher
}

// loadLocales reads the catalogues and makes sure that they are complete, so
// that no page can come out with a hole in it.
func loadLocales() (*locales, error) {
	ls := &locales{}
	var tags []language.Tag
	for _, name := range languages {
		raw, err := localeFiles.ReadFile("locales/" + name + ".json")
		if err != nil {
			return nil, fmt.Errorf("reading catalogue: %w", err)
		}
		l := &locale{name: name}
		err = json.Unmarshal(raw, &l.words)
		if err != nil {
			return nil, fmt.Errorf("reading catalogue %s: %w", name, err)
		}
		if len(ls.all) > 0 {
			err = ls.all[0].sameKeys(l)
			if err != nil {
				return nil, err
			}
		}
		ls.all = append(ls.all, l)
		tags = append(tags, language.MustParse(name))
	}
	ls.matcher = language.NewMatcher(tags)
	return ls, nil
}

// sameKeys reports the first difference between two catalogues.
func (l *locale) sameKeys(other *locale) error {
	for key := range l.words {
		if other.words[key] == "" {
			return fmt.Errorf("catalogue %s lacks %q", other.name, key)
		}
	}
	for key := range other.words {
		if l.words[key] == "" {
			return fmt.Errorf("catalogue %s has %q, which %s has not", other.name, key, l.name)
		}
	}
	return nil
}

// locale chooses the language of an answer by Accept-Language.
func (a *App) locale(r *http.Request) *locale {
	header := r.Header.Get("Accept-Language")
	if header == "" || len(header) > maxAcceptLanguage {
		return a.locales.all[0]
	}
	tags, _, err := language.ParseAcceptLanguage(header)
	if err != nil {
		return a.locales.all[0]
	}
	_, index, confidence := a.locales.matcher.Match(tags...)
	if confidence == language.No {
		return a.locales.all[0]
	}
	return a.locales.all[index]
}

// t returns the message for a key, with {name} replaced by the value that
// follows name in args. A key that is not in the catalogue is an error, which
// stops the template.
func (l *locale) t(key string, args ...any) (string, error) {
	text, ok := l.words[key]
	if !ok {
		return "", fmt.Errorf("catalogue %s has no message %q", l.name, key)
	}
	if len(args) == 0 {
		return text, nil
	}
	if len(args)%2 != 0 {
		return "", fmt.Errorf("message %q: arguments are not pairs", key)
	}
	pairs := make([]string, 0, len(args))
	for i := 0; i < len(args); i += 2 {
		pairs = append(pairs, "{"+fmt.Sprint(args[i])+"}", fmt.Sprint(args[i+1]))
	}
	return strings.NewReplacer(pairs...).Replace(text), nil
}

// tn returns the message for a count: key.one for 1, key.other for the rest,
// which is how all of our languages count from 1 on. {n} is the count.
func (l *locale) tn(key string, n int) (string, error) {
	if n == 1 {
		return l.t(key+".one", "n", n)
	}
	return l.t(key+".other", "n", n)
}

// word is t for keys that are known to exist.
func (l *locale) word(key string) string { return l.words[key] }

// duration writes a duration in words, in whole seconds.
func (l *locale) duration(d time.Duration) string {
	seconds := int(d / time.Second)
	hours, minutes, rest := seconds/3600, seconds/60%60, seconds%60
	key := "duration.s"
	switch {
	case hours > 0:
		key = "duration.hm"
	case minutes > 0 && rest == 0:
		key = "duration.m"
	case minutes > 0:
		key = "duration.ms"
	}
	return strings.NewReplacer(
		"{h}", strconv.Itoa(hours), "{m}", strconv.Itoa(minutes), "{s}", strconv.Itoa(rest),
	).Replace(l.words[key])
}

// moment is a point in time for a page: in words, and for the browser to write
// in its own zone.
type moment struct {
	Machine string // RFC 3339, for <time datetime>
	Words   string // with the zone
	Day     bool   // whether the words name the day
}

// moment writes a time in the zone of the app. The day is named unless it is
// today.
func (l *locale) moment(t, now time.Time, zone *time.Location) moment {
	t, now = t.In(zone), now.In(zone)
	m := moment{Machine: t.UTC().Format(time.RFC3339)}
	m.Day = t.Format(time.DateOnly) != now.Format(time.DateOnly)
	m.Words = t.Format(l.words["format.clock"])
	if m.Day {
		m.Words = t.Format(l.words["format.date"]) + ", " + m.Words
	}
	m.Words += " " + t.Format("MST")
	return m
}
