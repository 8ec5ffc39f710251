package approval

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/provider"
)

// picture returns a PNG of one color.
func picture(t testing.TB, width, height int, c color.Color) []byte {
	t.Helper()
	img := image.NewNRGBA(image.Rect(0, 0, width, height))
	for i := range width * height {
		img.Set(i%width, i/width, c)
	}
	var b bytes.Buffer
	err := png.Encode(&b, img)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A logo is shown beside the name, from our own address, in one size, on white.
func TestLogo(t *testing.T) {
	g := newRig(t, func(c *provider.Config, _ *Config) {
		c.Clients[0].Logo = picture(t, 300, 100, color.NRGBA{0xcc, 0, 0, 0xff})
	})
	_, id := g.ask("alice", "")
	b := g.signedIn("alice")
	for _, path := range []string{"/", "/requests/" + id} {
		if !strings.Contains(b.get(path).Body.String(), `<img src="/logos/YmFuaw" width="44" height="44" alt="">`) {
			t.Errorf("no logo on %s", path)
		}
	}
	w := b.get("/logos/YmFuaw")
	img, err := png.Decode(w.Body)
	if err != nil || w.Code != http.StatusOK || w.Header().Get("Content-Type") != "image/png" {
		t.Fatalf("%d, %v", w.Code, err)
	}
	if img.Bounds().Dx() != logoSide || img.Bounds().Dy() != logoSide {
		t.Errorf("size %v", img.Bounds())
	}
	if got := colorAt(img.At(44, 44).RGBA()); got.String() != "#cc0000" {
		t.Errorf("middle: %s", got)
	}
	for _, at := range []image.Point{{44, 5}, {44, 82}} {
		if got := colorAt(img.At(at.X, at.Y).RGBA()); got.String() != "#ffffff" {
			t.Errorf("%v: %s", at, got)
		}
	}
	for path, want := range map[string]int{"/logos/c2hvcA": 404, "/logos/YmFuaw..": 404, "/logos/YmFuaz": 404} {
		if code := b.get(path).Code; code != want {
			t.Errorf("%s: %d", path, code)
		}
	}
	if code := g.browser().get("/logos/YmFuaw").Code; code != http.StatusUnauthorized {
		t.Errorf("without a session: %d", code)
	}
}

// What is no picture, or too large a one, is refused; an SVG with a script is none.
func TestCheckLogo(t *testing.T) {
	good := picture(t, 10, 10, color.Black)
	for name, raw := range map[string][]byte{
		"empty": nil, "text": []byte("hello"), "svg": []byte(`<svg xmlns="http://www.w3.org/2000/svg" onload="xss()"/>`),
		"cut off": good[:len(good)-20], "wide": picture(t, maxLogoSide+1, 1, color.Black),
	} {
		if CheckLogo(raw) == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := CheckLogo(good); err != nil {
		t.Error(err)
	}
}

// logoSource counts how often a logo is fetched.
type logoSource struct {
	fixed
	mu    sync.Mutex
	calls int
	raw   []byte
	fail  error
}

func (s *logoSource) Logo(context.Context, string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	return s.raw, s.fail
}

// A logo is fetched once a day, however many look at it; one that cannot be had is left
// alone for a while.
func TestLogoIsKept(t *testing.T) {
	g := newRig(t)
	source := &logoSource{raw: picture(t, 10, 10, color.Black)}
	g.app.cfg.Provider = source
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			body, err := g.app.logoOf(context.Background(), "bank")
			if err != nil || body == nil {
				t.Errorf("%d bytes, %v", len(body), err)
			}
		})
	}
	wait.Wait()
	calls := func(want int, what string) {
		t.Helper()
		_, err := g.app.logoOf(context.Background(), "bank")
		if err != nil {
			t.Fatal(err)
		}
		if source.calls != want {
			t.Errorf("%s: fetched %d times, want %d", what, source.calls, want)
		}
	}
	calls(1, "at once")
	g.clock.advance(logoGood - time.Second)
	calls(1, "on the same day")
	source.fail = errors.New("down")
	g.clock.advance(time.Second)
	calls(2, "a day later")
	calls(2, "just failed")
	g.clock.advance(logoBad)
	calls(3, "some time after")
	source.fail = provider.ErrNotFound
	g.clock.advance(logoBad)
	calls(4, "gone")
	if len(g.app.logos.known) != 0 {
		t.Error("what does not exist is remembered")
	}
}
