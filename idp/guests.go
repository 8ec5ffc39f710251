package idp

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddyciba/gateway/idp/approval/notice"
)

// Where the guest modules are, and the keys that name one in JSON.
const (
	notifierNamespace = "ciba_idp.notifiers"
	notifierInlineKey = "notifier"
	usersNamespace    = "ciba_idp.users"
	usersInlineKey    = "source"
)

// guests are the modules by which a config extends the provider. They live as long
// as their config. An instance that outlives it turns to those of the next one,
// and therefore asks the sink for them each time.
type guests struct {
	notifiers    []namedNotifier
	untilReached bool  // the first notifier that reaches the customer is enough
	users        Users // nil if the config names its users itself

	extensions
}

// rawGuests is the config of all guest modules. Two configs in which it differs do
// not share an instance.
func (h *Handler) rawGuests() []json.RawMessage {
	return slices.Concat([]json.RawMessage{h.UsersRaw, h.HintsRaw}, h.NotifiersRaw, h.PoliciesRaw, h.ClaimsRaw)
}

// loadGuests loads the guest modules of the handler.
func (h *Handler) loadGuests(ctx caddy.Context) (guests, error) {
	g := guests{untilReached: h.NotifyUntilReached}
	names, err := moduleNames(h.NotifiersRaw, notifierInlineKey)
	if err != nil {
		return g, err
	}
	if h.NotifiersRaw != nil {
		modules, err := ctx.LoadModule(h, "NotifiersRaw")
		if err != nil {
			return g, fmt.Errorf("loading notifiers: %w", err)
		}
		for i, module := range modules.([]any) {
			notifier, ok := module.(Notifier)
			if !ok {
				return g, fmt.Errorf("module %s.%s is not a notifier", notifierNamespace, names[i])
			}
			_, second := notifier.(*WebPushNotifier)
			if second && g.webPush() != nil {
				return g, errors.New("notifier web_push is configured twice")
			}
			g.notifiers = append(g.notifiers, namedNotifier{Notifier: notifier, name: names[i]})
		}
	}
	if h.UsersRaw != nil {
		module, err := ctx.LoadModule(h, "UsersRaw")
		if err != nil {
			return g, fmt.Errorf("loading users: %w", err)
		}
		users, ok := module.(Users)
		if !ok {
			return g, fmt.Errorf("module %T is not a source of users", module)
		}
		g.users = users
	}
	g.extensions, err = h.loadExtensions(ctx)
	if err != nil {
		return g, err
	}
	return g, g.checkHints()
}

// errGuestPanic says that a guest module has panicked. What the panic said may
// repeat what is in a request, so that only its type and its origin are logged.
var errGuestPanic = errors.New("a module has panicked")

// permanentPanic keeps a notifier that has panicked from doing so again.
func permanentPanic(err error) error {
	if errors.Is(err, errGuestPanic) {
		return notice.Permanent(err)
	}
	return err
}

// guard turns a panic of a guest module into an error. Many of them are called in
// goroutines in which a panic would end the process.
func (s *sink) guard(what string, err *error) {
	value := recover()
	if value == nil {
		return
	}
	s.logger.Error("a module has panicked", zap.String("module", what), zap.String("panic", fmt.Sprintf("%T", value)), zap.ByteString("stack", debug.Stack()))
	*err = fmt.Errorf("%s: %w", what, errGuestPanic)
}

// moduleNames are the values of the inline key. Caddy takes the raw JSON away when
// it loads the modules.
func moduleNames(raw []json.RawMessage, key string) ([]string, error) {
	var names []string
	for _, module := range raw {
		var fields map[string]json.RawMessage
		err := json.Unmarshal(module, &fields)
		if err != nil {
			return nil, fmt.Errorf("reading module: %w", err)
		}
		var name string
		err = json.Unmarshal(fields[key], &name)
		if err != nil || name == "" {
			return nil, fmt.Errorf("a module has no %s", key)
		}
		names = append(names, name)
	}
	return names, nil
}
