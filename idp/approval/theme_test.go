package approval

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyciba/gateway/idp/provider"
)

func TestAccent(t *testing.T) {
	for accent, want := range map[string]bool{
		"": true, defaultAccent: true, "#000000": true, "#1d4ed8": true, "#B3261E": true, "#6b6b6b": true,
		"#767676": false, // 4.54:1 on white, and 4.15:1 on the page
		"#ffffff": false, "#ffcc00": false, "#4caf50": false, "#00bcd4": false,
	} {
		g := newRig(t)
		cfg := g.app.cfg
		cfg.Brand.Accent = accent
		_, err := New(cfg)
		if (err == nil) != want {
			t.Errorf("%q: %v", accent, err)
		}
		if err != nil && (!errors.Is(err, ErrContrast) || !strings.Contains(err.Error(), "4.5")) {
			t.Errorf("%q: the error does not say why: %v", accent, err)
		}
	}
	for _, accent := range []string{"red", "#fff", "#12345g", "#1234567", "123456", "#0b5c56;}body{display:none"} {
		cfg := newRig(t).app.cfg
		cfg.Brand.Accent = accent
		_, err := New(cfg)
		if err == nil {
			t.Errorf("%q is taken", accent)
		}
	}
}

// Whatever accent is taken, its tone for dark mode reads well on dark surfaces
// and under dark text.
func TestDarkAccent(t *testing.T) {
	for _, accent := range []string{defaultAccent, "#000000", "#1d4ed8", "#b3261e", "#6b6b6b", "#00005f", "#5f005f"} {
		th, err := newTheme(accent)
		if err != nil {
			t.Fatal(err)
		}
		for _, surface := range []rgb{darkSurface, darkInk} {
			if ratio := contrast(th.accentDark, surface); ratio < minContrast {
				t.Errorf("%s becomes %s: %.2f:1 on %s", accent, th.accentDark, ratio, surface)
			}
		}
	}
}

func TestContrastOfKnownPairs(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want float64
	}{{"#000000", "#ffffff", 21}, {"#777777", "#ffffff", 4.48}, {"#ffffff", "#ffffff", 1}} {
		a, _ := parseColor(test.a)
		b, _ := parseColor(test.b)
		if got := contrast(a, b); got < test.want-0.01 || got > test.want+0.01 {
			t.Errorf("%s on %s: %.2f, want %.2f", test.a, test.b, got, test.want)
		}
	}
}

func TestHSLRoundTrip(t *testing.T) {
	for r := 0; r < 256; r += 15 {
		for g := 0; g < 256; g += 15 {
			for b := 0; b < 256; b += 15 {
				c := rgb{uint8(r), uint8(g), uint8(b)}
				if got := fromHSL(c.hsl()); got != c {
					t.Fatalf("%s becomes %s", c, got)
				}
			}
		}
	}
}

// The fixed colors of the style sheet keep WCAG 2.2 AA in both schemes, and
// those that theme.go checks against are the ones in the sheet.
func TestStyleSheetContrast(t *testing.T) {
	raw, err := assetFiles.ReadFile("assets/app.css")
	if err != nil {
		t.Fatal(err)
	}
	css := string(raw)
	light, dark := palette(css[:strings.Index(css, "@media")]), palette(css[strings.Index(css, "@media"):strings.Index(css, "*, ::before")])
	for name, colors := range map[string]map[string]rgb{"light": light, "dark": dark} {
		for _, pair := range []struct {
			text, surface string
			least         float64
		}{
			{"ink", "surface", 7}, {"ink", "page", 7}, {"ink", "sunken", 7},
			{"muted", "surface", 4.5}, {"muted", "page", 4.5}, {"muted", "sunken", 4.5},
			{"red", "surface", 4.5}, {"red", "red-soft", 4.5}, {"warn", "warn-soft", 4.5}, {"warn", "surface", 4.5}, {"warn", "sunken", 4.5},
			{"control", "surface", 3}, {"control", "page", 3},
		} {
			a, okA := colors[pair.text]
			b, okB := colors[pair.surface]
			if !okA || !okB {
				t.Fatalf("%s lacks %s or %s", name, pair.text, pair.surface)
			}
			if ratio := contrast(a, b); ratio < pair.least {
				t.Errorf("%s: %s on %s has %.2f:1, want %.1f:1", name, pair.text, pair.surface, ratio, pair.least)
			}
		}
	}
	if light["surface"] != lightSurface || light["page"] != lightPage || dark["surface"] != darkSurface {
		t.Error("theme.go checks against other colors than the style sheet has")
	}
}

func palette(css string) map[string]rgb {
	colors := map[string]rgb{}
	for _, m := range regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{6});`).FindAllStringSubmatch(css, -1) {
		c, err := parseColor(m[2])
		if err == nil {
			colors[m[1]] = c
		}
	}
	return colors
}

func TestConfig(t *testing.T) {
	good := newRig(t).app.cfg
	for name, change := range map[string]func(*Config){
		"no provider":          func(c *Config) { c.Provider = nil },
		"no users":             func(c *Config) { c.Users = nil },
		"no store":             func(c *Config) { c.Store = nil },
		"no comparison":        func(c *Config) { c.ComparePassword = nil },
		"no fake hash":         func(c *Config) { c.FakeHash = nil },
		"no URL":               func(c *Config) { c.PublicURL = "" },
		"http":                 func(c *Config) { c.PublicURL = "http://id.example.com" },
		"http on a look-alike": func(c *Config) { c.PublicURL = "http://localhost.example.com" },
		"javascript":           func(c *Config) { c.PublicURL = "javascript:alert(1)" },
		"query":                func(c *Config) { c.PublicURL = "https://id.example.com/?x=1" },
		"fragment":             func(c *Config) { c.PublicURL = "https://id.example.com/#x" },
		"user":                 func(c *Config) { c.PublicURL = "https://a:b@id.example.com/" },
		"escapes":              func(c *Config) { c.PublicURL = "https://id.example.com/a%2fb" },
		"path not clean":       func(c *Config) { c.PublicURL = "https://id.example.com/a/../b" },
		"other base path":      func(c *Config) { c.PublicURL, c.BasePath = "https://id.example.com/a", "/b" },
		"base path not clean":  func(c *Config) { c.BasePath = "/a/" },
		"base path relative":   func(c *Config) { c.BasePath = "a" },
		"negative idle time":   func(c *Config) { c.SessionIdle = -1 },
		"negative proof age":   func(c *Config) { c.ProofAge = -1 },
		"long name":            func(c *Config) { c.Brand.Name = strings.Repeat("x", 65) },
	} {
		cfg := good
		change(&cfg)
		_, err := New(cfg)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	_, err := New(good)
	if err != nil {
		t.Errorf("good one: %v", err)
	}
	var _ Provider = (*provider.Provider)(nil)
}
