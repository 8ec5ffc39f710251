package mail

import (
	"embed"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"os"
	"strings"
	texttemplate "text/template"

	"golang.org/x/net/html"
)

//go:embed templates/*
var builtIn embed.FS

// View is what templates get.
type View struct {
	// Language of the words, for example "de".
	Language string

	// Brand is the name that the app goes by, and Name how the customer is
	// called; Name may be empty.
	Brand, Name string

	// Client is the registered name of who asks.
	Client string

	// URL is the page on which the customer decides, after signing in.
	URL string

	// Title says that something waits, Text says it as a sentence, and Until
	// until when. Open is the name of the link, and Care what to do with a
	// message that was not expected.
	Title, Text, Until, Open, Care string
}

// Templates make the subject and the two bodies of a message. They are safe for
// concurrent use.
type Templates struct {
	text *texttemplate.Template
	html *htmltemplate.Template
}

// subjectName is the name of the template, in the file for text, that makes the
// subject. Without one it is the title.
const subjectName = "subject"

// LoadTemplates reads templates from files; an empty name stands for the built-in
// one. They are tried once, so that what is wrong with them is in the error.
func LoadTemplates(textFile, htmlFile string) (*Templates, error) {
	text, err := source(textFile, "message.txt")
	if err != nil {
		return nil, err
	}
	markup, err := source(htmlFile, "message.html")
	if err != nil {
		return nil, err
	}
	t := new(Templates)
	t.text, err = texttemplate.New("text").Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, fmt.Errorf("parsing text template: %w", err)
	}
	t.html, err = htmltemplate.New("html").Option("missingkey=error").Parse(markup)
	if err != nil {
		return nil, fmt.Errorf("parsing HTML template: %w", err)
	}
	_, text, markup, err = t.render(View{
		Language: "en", Brand: "Brand", Name: "Name", Client: "Client", URL: "https://id.example.com/requests/1",
		Title: "Title", Text: "Text", Until: "Until", Open: "Open", Care: "Care",
	})
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(text) == "" {
		return nil, errors.New("the text template makes nothing")
	}
	return t, checkRemote(markup)
}

func source(file, standard string) (string, error) {
	if file == "" {
		raw, err := builtIn.ReadFile("templates/" + standard)
		if err != nil {
			return "", fmt.Errorf("reading template: %w", err)
		}
		return string(raw), nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("reading template: %w", err)
	}
	return string(raw), nil
}

// render makes the three parts of a message.
func (t *Templates) render(v View) (subject, text, markup string, err error) {
	var b strings.Builder
	err = t.text.Execute(&b, v)
	if err != nil {
		return "", "", "", fmt.Errorf("making text: %w", err)
	}
	text = b.String()
	subject = v.Title
	if t.text.Lookup(subjectName) != nil {
		b.Reset()
		err = t.text.ExecuteTemplate(&b, subjectName, v)
		if err != nil {
			return "", "", "", fmt.Errorf("making subject: %w", err)
		}
		subject = strings.Join(strings.Fields(b.String()), " ")
	}
	b.Reset()
	err = t.html.Execute(&b, v)
	if err != nil {
		return "", "", "", fmt.Errorf("making HTML: %w", err)
	}
	return subject, text, b.String(), nil
}

// loading are the elements and attributes by which a message makes its reader load
// something from elsewhere, which tells who has read it and when.
var loading = map[string]bool{
	"script": true, "img": true, "iframe": true, "object": true, "embed": true, "link": true, "video": true,
	"audio": true, "source": true, "base": true, "form": true, "input": true, "svg": true, "meta http-equiv": true,
	"background": true, "src": true, "srcset": true, "poster": true,
}

// checkRemote refuses a message that loads something, or that has a form.
func checkRemote(markup string) error {
	tokens := html.NewTokenizer(strings.NewReader(markup))
	for {
		switch tokens.Next() {
		case html.ErrorToken:
			return nil
		case html.StartTagToken, html.SelfClosingTagToken:
			token := tokens.Token()
			if loading[token.Data] {
				return fmt.Errorf("the HTML template has <%s>; a message loads nothing and has no form", token.Data)
			}
			for _, attr := range token.Attr {
				css := strings.ToLower(attr.Val)
				if loading[attr.Key] || loading[token.Data+" "+attr.Key] || attr.Key == "style" && (strings.Contains(css, "url(") || strings.Contains(css, "image(")) {
					return fmt.Errorf("the HTML template has <%s %s>; a message loads nothing", token.Data, attr.Key)
				}
			}
		case html.TextToken:
			css := strings.ToLower(string(tokens.Text()))
			if strings.Contains(css, "url(") || strings.Contains(css, "@import") {
				return errors.New("the HTML template has url( or @import; a message loads nothing")
			}
		}
	}
}
