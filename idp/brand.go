package idp

import (
	"errors"
	"regexp"
)

// Brand is how the approval app looks to customers.
type Brand struct {
	// The name of the organization, in titles and headings. Default: the host
	// of the issuer.
	Name string `json:"name,omitempty"`

	// The color of buttons and links as #rrggbb. Default: the approval app's
	// own.
	Accent string `json:"accent,omitempty"`

	// A folder with templates that take the place of the approval app's own, by
	// file name, and a style sheet brand.css that comes behind its own. They are
	// read when the config is loaded, and what would break a page is an error
	// then. Placeholders are resolved. Default: none.
	Templates string `json:"templates,omitempty"`
}

var color = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)

// check finds what is wrong with the brand.
func (b *Brand) check() error {
	if b.Accent != "" && !color.MatchString(b.Accent) {
		return errors.New("brand accent must be a color in the form #rrggbb")
	}
	return nil
}
