package factor_test

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyciba/gateway/idp/approval/factor"
	"github.com/caddyciba/gateway/idp/approval/factor/factortest"
)

func encode(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

// A link is good once, in one browser, until it expires or another one is made.
func TestLink(t *testing.T) {
	w := newWorld(t)
	v := w.vault()
	newLink := func() string {
		t.Helper()
		token, _, err := v.NewLink(context.Background(), alice.ID, time.Hour)
		if err != nil || len(token) != 43 {
			t.Fatalf("link %q, %v", token, err)
		}
		return token
	}
	void := newLink()
	token := newLink()
	for _, wrong := range []string{"", void, token + "A", token[1:], strings.Repeat("A", 43), strings.Repeat("*", 43)} {
		_, err := v.OpenLink(context.Background(), wrong, []byte("phone"))
		if !errors.Is(err, factor.ErrWrong) {
			t.Errorf("token %q: %v", wrong, err)
		}
	}
	link, err := v.OpenLink(context.Background(), token, []byte("phone"))
	if err != nil || link.Subject != alice.ID {
		t.Fatalf("opening: %+v, %v", link, err)
	}
	_, err = v.OpenLink(context.Background(), token, []byte("somebody else's"))
	if !errors.Is(err, factor.ErrWrong) {
		t.Errorf("in a second browser: %v", err)
	}
	_, err = v.OpenLink(context.Background(), token, []byte("phone"))
	if err != nil {
		t.Errorf("again in the first: %v", err)
	}
	late := newLink()
	w.advance(time.Hour)
	_, err = v.OpenLink(context.Background(), late, []byte("phone"))
	if !errors.Is(err, factor.ErrWrong) {
		t.Errorf("an hour later: %v", err)
	}
}

// Of many who finish an enrollment at once, one adds a passkey.
func TestLinkOnce(t *testing.T) {
	w := newWorld(t)
	v := w.vault()
	token, _, err := v.NewLink(context.Background(), alice.ID, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	var links []*factor.OpenLink
	var responses [][]byte
	for range 16 {
		link, err := v.OpenLink(context.Background(), token, []byte("phone"))
		if err != nil {
			t.Fatal(err)
		}
		options, err := v.RegistrationOptions(context.Background(), alice, window)
		if err != nil {
			t.Fatal(err)
		}
		links = append(links, link)
		responses = append(responses, factortest.New(t, origin, rpID).Create(options))
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	good := 0
	for i := range links {
		wg.Go(func() {
			_, err := v.Register(context.Background(), alice.ID, window, responses[i], "", links[i])
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				good++
			} else if !errors.Is(err, factor.ErrWrong) {
				t.Errorf("one of many: %v", err)
			}
		})
	}
	wg.Wait()
	account, err := v.Account(context.Background(), alice.ID)
	if err != nil || good != 1 || len(account.Passkeys) != 1 || !account.LinkExpires.IsZero() {
		t.Errorf("%d passkeys by one link: %+v, %v", good, account, err)
	}
}
