package provider_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/caddyciba/gateway/caddyciba/store"
	"github.com/caddyciba/gateway/idp/provider"
)

func TestStoredUsers(t *testing.T) {
	ctx := context.Background()
	users := provider.NewStoredUsers(store.NewMemory(store.Options{}))
	anna := provider.User{ID: "s1", Username: "Anna", Name: "Anna Bauer", Claims: map[string]any{"email": "anna@example.com"}}
	err := users.Create(ctx, anna)
	if err != nil {
		t.Fatal(err)
	}
	for name, u := range map[string]provider.User{
		"the same name":       {ID: "s2", Username: "ANNA"},
		"the same subject":    {ID: "s1", Username: "berta"},
		"decomposed the same": {ID: "s3", Username: "anna"},
	} {
		err = users.Create(ctx, u)
		if !errors.Is(err, provider.ErrUserExists) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, u := range []provider.User{{ID: "s4"}, {Username: "x"}, {ID: "ä", Username: "x"}} {
		err = users.Create(ctx, u)
		if err == nil {
			t.Errorf("%+v was created", u)
		}
	}
	got, err := users.ByLogin(ctx, "anna")
	if err != nil || got.ID != "s1" || got.Claims["email"] != "anna@example.com" {
		t.Errorf("by login: %+v, %v", got, err)
	}
	got, err = users.BySubject(ctx, "s1")
	if err != nil || got.Username != "Anna" {
		t.Errorf("by subject: %+v, %v", got, err)
	}
	for _, unknown := range []string{"", "nobody", "a\x00b", string(make([]byte, 300))} {
		_, err = users.ByLogin(ctx, unknown)
		if !errors.Is(err, provider.ErrUserNotFound) {
			t.Errorf("login %q: %v", unknown, err)
		}
		_, err = users.BySubject(ctx, unknown)
		if !errors.Is(err, provider.ErrUserNotFound) {
			t.Errorf("subject %q: %v", unknown, err)
		}
	}
	err = users.Change(ctx, "anna", func(u *provider.User) { u.Disabled, u.ID = true, "other" })
	if err != nil {
		t.Fatal(err)
	}
	list, err := users.List(ctx, "", 10)
	if err != nil || len(list) != 1 || !list[0].Disabled || list[0].ID != "s1" {
		t.Errorf("list: %+v, %v", list, err)
	}
	err = errors.Join(users.Remove(ctx, "anna"))
	if err != nil || !errors.Is(users.Remove(ctx, "anna"), provider.ErrUserNotFound) {
		t.Errorf("removal: %v", err)
	}
}

// Of many who add the same name at once one does.
func TestStoredUsersOnce(t *testing.T) {
	users := provider.NewStoredUsers(store.NewMemory(store.Options{}))
	var wg sync.WaitGroup
	var mu sync.Mutex
	created := 0
	for i := range 64 {
		wg.Go(func() {
			err := users.Create(context.Background(), provider.User{ID: string(rune('0' + i)), Username: "anna"})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				created++
			} else if !errors.Is(err, provider.ErrUserExists) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if created != 1 {
		t.Errorf("%d users were created", created)
	}
}
