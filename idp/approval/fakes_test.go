package approval

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyciba/gateway/idp/provider"
)

// switchable is a user store whose users can be disabled.
type switchable struct {
	provider.UserStore
	off bool
	err error
}

func (s *switchable) ByLogin(ctx context.Context, hint string) (*provider.User, error) {
	return s.change(s.UserStore.ByLogin(ctx, hint))
}

func (s *switchable) BySubject(ctx context.Context, sub string) (*provider.User, error) {
	return s.change(s.UserStore.BySubject(ctx, sub))
}

func (s *switchable) change(u *provider.User, err error) (*provider.User, error) {
	if s.err != nil {
		return nil, s.err
	}
	if err != nil || !s.off {
		return u, err
	}
	u.Disabled = true
	return u, nil
}

// fixed is a provider with requests that never change.
type fixed struct {
	requests []*provider.Request
	err      error // of decisions
}

func (f fixed) Pending(context.Context, string) ([]*provider.Request, error) {
	var pending []*provider.Request
	for _, r := range f.requests {
		if r.State == provider.StatePending {
			pending = append(pending, r)
		}
	}
	return pending, nil
}

func (f fixed) Request(_ context.Context, _, id string) (*provider.Request, error) {
	for _, r := range f.requests {
		if r.ID == id {
			return r, nil
		}
	}
	return nil, provider.ErrNotFound
}

func (f fixed) Approve(context.Context, provider.Approval) error { return f.err }
func (f fixed) Deny(context.Context, string, string) error       { return f.err }
func (f fixed) Report(context.Context, string, string) error     { return f.err }
func (f fixed) Unblock(context.Context, string, string) error    { return f.err }
func (f fixed) ListBlocks(context.Context, string) ([]provider.Block, error) {
	var blocks []provider.Block
	for _, r := range f.requests {
		if r.Reported {
			blocks = append(blocks, provider.Block{Client: r.Client, Since: r.DecidedAt})
		}
	}
	return blocks, nil
}
func (f fixed) History(_ context.Context, _, after string, _ int) (*provider.HistoryPage, error) {
	page := &provider.HistoryPage{Next: "1." + strings.Repeat("x", 43)}
	for _, r := range f.requests {
		if r.State != provider.StatePending {
			page.Requests = append(page.Requests, r)
		}
	}
	if len(page.Requests) == 0 || after != "" {
		page.Next = ""
	}
	return page, nil
}
func (f fixed) Logo(context.Context, string) ([]byte, error)  { return nil, provider.ErrNotFound }
func (f fixed) WatchSubject(string) (<-chan struct{}, func()) { return make(chan struct{}), func() {} }

// claims reads the payload of a JWT without checking anything.
func claims(t testing.TB, token any) map[string]any {
	t.Helper()
	s, ok := token.(string)
	parts := strings.Split(s, ".")
	if !ok || len(parts) != 3 {
		t.Fatalf("not a token: %v", token)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	err = json.Unmarshal(raw, &out)
	if err != nil {
		t.Fatal(err)
	}
	return out
}
