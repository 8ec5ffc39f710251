package idp

import (
	"context"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddyciba/gateway/caddyciba/store/caddyaudit"
	"github.com/caddyciba/gateway/caddyciba/store/caddystore"
	"github.com/caddyciba/gateway/idp/approval"
	"github.com/caddyciba/gateway/idp/approval/factor"
	"github.com/caddyciba/gateway/idp/approval/notice"
	"github.com/caddyciba/gateway/idp/approval/webpush"
	"github.com/caddyciba/gateway/idp/provider"
)

// instances holds what is shared between configs, under the hash of what
// shapes it. Each handler and each request in progress holds a reference.
var instances = caddy.NewUsagePool()

// destructPatience is how long a reload is held up at most to see whether anything
// is on its way to customers.
const destructPatience = 50 * time.Millisecond

// instance is a provider with its approval app. It outlives the config that
// made it when the next config describes the same.
type instance struct {
	issuer   string
	store    *caddystore.Handle
	users    provider.UserStore
	stored   *provider.StoredUsers
	provider *provider.Provider
	approval *approval.App
	factors  *factor.Vault
	notices  *notice.Queue
	push     *webpush.Service   // nil if there is no such notifier
	audit    *caddyaudit.Handle // nil if there is no such log

	// out is where the instance writes its log and reports what happens: to
	// the config that is in use, which changes.
	out *outlet
}

// newInstance builds an instance without opening the store.
func newInstance(ctx caddy.Context, engine caddystore.Engine, s *settings, to *sink) (*instance, error) {
	users, err := provider.NewStaticUsers(s.Users)
	if err != nil {
		return nil, fmt.Errorf("users: %w", err)
	}
	handle, err := caddystore.Acquire(ctx, engine)
	if err != nil {
		return nil, fmt.Errorf("acquiring store: %w", err)
	}
	out := newOutlet(to)
	in := &instance{issuer: s.Issuer, store: handle, stored: provider.NewStoredUsers(newPartition(handle, s.Issuer)), out: out}
	in.users = directory{configured: users, stored: in.stored, out: out}
	err = in.openAudit(ctx, engine, s)
	if err == nil {
		err = in.build(s, to)
	}
	if err != nil {
		// The error that matters is the one at hand; nothing was opened.
		_ = in.release()
		return nil, err
	}
	return in, nil
}

// build makes the provider and the approval app.
func (in *instance) build(s *settings, to *sink) error {
	part := newPartition(in.store, s.Issuer)
	config, err := s.provider()
	if err != nil {
		return err
	}
	config.Store, config.Users = part, in.users
	config.Notify, config.Notifies, config.OnEvent = in.requested, in.notifies, in.happened
	config.Logger = in.out.logger()
	in.out.current.Load().extend(&config, in.out)
	in.provider, err = provider.New(config)
	if err != nil {
		return err
	}
	in.push, err = in.newPush(part, s, to)
	if err != nil {
		return err
	}
	in.factors, err = s.factors(part)
	if err != nil {
		return fmt.Errorf("factors: %w", err)
	}
	federations, err := s.federations()
	if err != nil {
		return err
	}
	in.approval, err = approval.New(approval.Config{
		Provider:         in.provider,
		Users:            in.users,
		Store:            part,
		PublicURL:        s.Issuer,
		ComparePassword:  comparePassword,
		FakeHash:         s.fakePassword(),
		Brand:            s.Brand,
		Templates:        s.Templates,
		ClientIP:         clientIP,
		SessionIdle:      s.SessionIdle,
		SessionLifetime:  s.SessionLifetime,
		ProofAge:         s.ProofAge,
		Factors:          in.factors,
		Classes:          s.ACR,
		EvidenceLifetime: s.EvidenceLifetime,
		Logger:           in.out.logger(),
		OnChange:         in.changed,
		Push:             in.push,
		Federations:      federations,
	})
	if err != nil {
		return fmt.Errorf("approval app: %w", err)
	}
	in.notices = notice.New(notice.Config{Store: part, Open: in.reopen, Report: in.notified, Logger: in.out.logger()})
	return nil
}

// start opens the store and makes what is missing in it.
func (in *instance) start(ctx context.Context) error {
	err := in.store.Ping(ctx)
	if err != nil {
		return fmt.Errorf("opening store: %w", err)
	}
	err = in.provider.Start(ctx)
	if err != nil {
		return fmt.Errorf("starting provider: %w", err)
	}
	in.notices.Start()
	return nil
}

// Destruct closes the instance when nobody refers to it any longer.
func (in *instance) Destruct() error {
	in.provider.Close()
	in.notices.Close()
	// Notifications that are on their way go on for a few seconds, and write down
	// how they ended: the next instance would otherwise send them again. The
	// reload does not wait for them, but the store does. Without any, the store is
	// closed when this returns, and so before the process ends.
	sent := make(chan struct{})
	go func() {
		in.notices.Wait()
		close(sent)
	}()
	select {
	case <-sent:
		return in.release()
	case <-time.After(destructPatience):
	}
	go func() {
		<-sent
		err := in.release()
		if err != nil {
			in.out.logger().Error("releasing the store", zap.Error(err))
		}
	}()
	return nil
}

// acquire takes a reference to the handler's instance. It makes the instance
// again in the rare case that a connection of a replaced config brings another
// request after everybody else has let go.
func (h *Handler) acquire() (*instance, error) {
	value, _, err := instances.LoadOrNew(h.key, h.construct)
	if err != nil {
		return nil, err
	}
	return value.(*instance), nil
}

// release gives one reference back.
func release(key string) error {
	_, err := instances.Delete(key)
	if err != nil {
		return fmt.Errorf("closing provider: %w", err)
	}
	return nil
}

// Interface guard
var _ caddy.Destructor = (*instance)(nil)
