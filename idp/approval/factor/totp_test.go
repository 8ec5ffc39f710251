package factor_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"github.com/caddyciba/gateway/idp/approval/factor"
	"github.com/caddyciba/gateway/idp/provider"
)

// code is the code of a seed, so long after now.
func (w *world) code(secret string, after time.Duration) string {
	w.t.Helper()
	code, err := totp.GenerateCode(secret, w.clock().Add(after))
	if err != nil {
		w.t.Fatal(err)
	}
	return code
}

// app gives alice an authenticator app; its current code is used up by that.
func (w *world) app(v *factor.Vault) string {
	w.t.Helper()
	setup, err := v.NewTOTP(context.Background(), alice.ID, alice.Username, window)
	if err != nil {
		w.t.Fatal(err)
	}
	err = v.AddTOTP(context.Background(), alice.ID, setup.Ticket, w.code(setup.Secret, 0), window)
	if err != nil {
		w.t.Fatal(err)
	}
	return setup.Secret
}

// U14: a code is six digits of a step that is at most one off and later than the last
// one used.
func TestCode(t *testing.T) {
	w := newWorld(t)
	v := w.vault()
	secret := w.app(v)
	check := func(name, code string, want error) {
		t.Helper()
		err := w.vault().CheckCode(context.Background(), alice.ID, code)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	check("the code of the setup again", w.code(secret, 0), factor.ErrWrong)
	w.advance(2 * time.Minute)
	check("two steps late", w.code(secret, -time.Minute), factor.ErrWrong)
	check("two steps early", w.code(secret, time.Minute), factor.ErrWrong)
	good := w.code(secret, 0)
	check("with a space", good[:2]+" "+good[2:], factor.ErrWrong)
	check("seven digits", good+"0", factor.ErrWrong)
	check("five digits", good[1:], factor.ErrWrong)
	check("nothing", "", factor.ErrWrong)
	check("other digits", "٣٧١٣٧١", factor.ErrWrong)
	check("one step late", w.code(secret, -30*time.Second), nil)
	check("right", good, nil)
	check("again", good, factor.ErrWrong)
	check("an older one after it", w.code(secret, -30*time.Second), factor.ErrWrong)
	check("one step early", w.code(secret, 30*time.Second), nil)
	err := v.CheckCode(context.Background(), bob.ID, "000000")
	if !errors.Is(err, factor.ErrWrong) {
		t.Errorf("without an app: %v", err)
	}
}

// U14: of many who come with one code at once, on two nodes, one gets in.
func TestCodeOnce(t *testing.T) {
	w := newWorld(t)
	secret := w.app(w.vault())
	w.advance(time.Minute)
	code := w.code(secret, 0)
	nodes := []*factor.Vault{w.vault(), w.vault()}
	var wg sync.WaitGroup
	var mu sync.Mutex
	good := 0
	for i := range 64 {
		wg.Go(func() {
			err := nodes[i%2].CheckCode(context.Background(), alice.ID, code)
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
	if good != 1 {
		t.Errorf("%d of 64 got in with one code", good)
	}
}

// What apps read from the QR code is what they must know.
func TestTOTPSetup(t *testing.T) {
	w := newWorld(t)
	setup, err := w.vault().NewTOTP(context.Background(), alice.ID, "alice+1@example.com", window)
	if err != nil {
		t.Fatal(err)
	}
	key, err := otp.NewKeyFromURL(setup.URL)
	if err != nil {
		t.Fatal(err)
	}
	if key.Secret() != setup.Secret || len(setup.Secret) != 32 || key.Issuer() != "Example Bank" || key.AccountName() != "alice+1@example.com" || key.Period() != 30 {
		t.Errorf("%s", setup.URL)
	}
	u, err := url.Parse(setup.URL)
	if err != nil || strings.Contains(u.RawQuery, "+") {
		t.Errorf("a plus sign in %s, %v", setup.URL, err)
	}
	err = w.vault().AddTOTP(context.Background(), bob.ID, setup.Ticket, w.code(setup.Secret, 0), window)
	if !errors.Is(err, factor.ErrStale) {
		t.Errorf("alice's setup for bob: %v", err)
	}
	_, err = factor.NewQR(setup.URL)
	if err != nil {
		t.Error(err)
	}
}

// Seeds are not readable in the store, and go on working when the key is replaced.
func TestTOTPSealed(t *testing.T) {
	w := newWorld(t)
	vault := func(keys ...byte) *factor.Vault {
		t.Helper()
		var full [][]byte
		for _, key := range keys {
			full = append(full, []byte(strings.Repeat(string(rune(key)), 32)))
		}
		sealer, err := provider.NewSealer(full, nil)
		if err != nil {
			t.Fatal(err)
		}
		v, err := factor.New(factor.Config{Store: w.store, Sealer: sealer, Origin: origin, Now: w.clock})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	secret := w.app(vault('a'))
	w.advance(time.Minute)
	err := vault('b', 'a').CheckCode(context.Background(), alice.ID, w.code(secret, 0))
	if err != nil {
		t.Fatalf("with the old key behind the new one: %v", err)
	}
	w.advance(time.Minute)
	err = vault('b').CheckCode(context.Background(), alice.ID, w.code(secret, 0))
	if err != nil {
		t.Errorf("the seed did not follow the key: %v", err)
	}
	err = vault('c').CheckCode(context.Background(), alice.ID, w.code(secret, 0))
	if err == nil || errors.Is(err, factor.ErrWrong) {
		t.Errorf("without the key: %v", err)
	}
}

// Recovery codes are good once each, and void when there are new ones.
func TestRecovery(t *testing.T) {
	w := newWorld(t)
	v := w.vault()
	old, err := v.NewRecoveryCodes(context.Background(), alice.ID)
	if err != nil || len(old) != 10 {
		t.Fatalf("%v, %v", old, err)
	}
	codes, err := v.NewRecoveryCodes(context.Background(), alice.ID)
	if err != nil {
		t.Fatal(err)
	}
	recover := func(name, subject, code string, want error) {
		t.Helper()
		err := v.Recover(context.Background(), subject, code)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	recover("an older code", alice.ID, old[0], factor.ErrWrong)
	recover("for bob", bob.ID, codes[0], factor.ErrWrong)
	recover("right", alice.ID, codes[0], nil)
	recover("again", alice.ID, codes[0], factor.ErrWrong)
	recover("in small letters without dashes", alice.ID, strings.ToLower(strings.ReplaceAll(codes[1], "-", "")), nil)
	recover("nothing", alice.ID, "", factor.ErrWrong)
	account, err := v.Account(context.Background(), alice.ID)
	if err != nil || account.RecoveryCodes != 8 {
		t.Errorf("%+v, %v", account, err)
	}
}
