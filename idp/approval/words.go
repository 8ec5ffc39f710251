package approval

import (
	"strings"
	"time"

	"golang.org/x/text/language"
)

// Words are what a message outside of the app says, in one language, when a request
// waits. What the request is about is not in them: a message passes through many
// hands, and is read on screens that are locked.
type Words struct {
	Language string // for example "de"
	Brand    string // the name that the app goes by
	Title    string // that something waits
	Text     string // the same as a sentence, with the name of the brand
	Until    string // how long there is to decide
	Open     string // the name of a link to the app
	Care     string // what to do with a message that is not expected
}

// Words returns the words for a request that waits until the given time. The
// language is the first of those wanted, BCP 47 tags such as "de-AT", that the app
// has; English if there is none.
func (a *App) Words(expires time.Time, wanted ...string) Words {
	l := a.locales.all[0]
	var tags []language.Tag
	for _, want := range wanted {
		tag, err := language.Parse(strings.ReplaceAll(want, "_", "-"))
		if err == nil {
			tags = append(tags, tag)
		}
	}
	if len(tags) > 0 {
		_, index, confidence := a.locales.matcher.Match(tags...)
		if confidence != language.No {
			l = a.locales.all[index]
		}
	}
	fill := func(key, name, value string) string { return strings.ReplaceAll(l.word(key), "{"+name+"}", value) }
	return Words{
		Language: l.name,
		Brand:    a.cfg.Brand.Name,
		Title:    l.word("notice.title"),
		Text:     fill("notice.text", "brand", a.cfg.Brand.Name),
		Until:    fill("notice.until", "time", l.moment(expires, a.cfg.Now(), a.cfg.Location).Words),
		Open:     l.word("notice.open"),
		Care:     l.word("notice.care"),
	}
}
