package page

import (
	"embed"
	"encoding/json"
	"fmt"
	"net/http"

	"golang.org/x/text/language"
)

//go:embed locales/*.json
var localeFiles embed.FS

// languages are in the order of preference; the first one is for browsers that
// want none of them.
var languages = []string{"en", "de", "fr", "es"}

// maxAcceptLanguage bounds how much of Accept-Language is read, in bytes.
const maxAcceptLanguage = 256

// words are the texts of one language.
type words map[string]string

type locale struct {
	name  string
	words words
}

type locales struct {
	all     []*locale
	matcher language.Matcher
}

// loadLocales reads the catalogues and makes sure that they are complete, so that
// no page can come out with a hole in it.
func loadLocales() (*locales, error) {
	ls := &locales{}
	var tags []language.Tag
	for _, name := range languages {
		content, err := localeFiles.ReadFile("locales/" + name + ".json")
		if err != nil {
			return nil, fmt.Errorf("reading catalogue: %w", err)
		}
		l := &locale{name: name}
		err = json.Unmarshal(content, &l.words)
		if err != nil {
			return nil, fmt.Errorf("reading catalogue %s: %w", name, err)
		}
		for key := range l.words {
			if len(ls.all) > 0 && ls.all[0].words[key] == "" {
				return nil, fmt.Errorf("catalogue %s has %q, which %s has not", name, key, languages[0])
			}
		}
		if len(ls.all) > 0 && len(l.words) != len(ls.all[0].words) {
			return nil, fmt.Errorf("catalogue %s has other texts than %s", name, languages[0])
		}
		ls.all = append(ls.all, l)
		tags = append(tags, language.MustParse(name))
	}
	ls.matcher = language.NewMatcher(tags)
	return ls, nil
}

// choose returns the language of an answer.
func (ls *locales) choose(r *http.Request) *locale {
	header := r.Header.Get("Accept-Language")
	if header == "" || len(header) > maxAcceptLanguage {
		return ls.all[0]
	}
	tags, _, err := language.ParseAcceptLanguage(header)
	if err != nil {
		return ls.all[0]
	}
	_, index, confidence := ls.matcher.Match(tags...)
	if confidence == language.No {
		return ls.all[0]
	}
	return ls.all[index]
}
