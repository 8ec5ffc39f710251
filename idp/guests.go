package idp

import (
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2"
)

// Where the guest modules are, and the keys that name one in JSON.
const (
	notifierNamespace = "ciba_idp.notifiers"
	notifierInlineKey = "notifier"
)

// guests are the modules by which a config extends the provider. They live as long
// as their config. An instance that outlives it turns to those of the next one,
// and therefore asks the sink for them each time.
type guests struct {
	notifiers []namedNotifier
}

// loadGuests loads the guest modules of the handler.
func (h *Handler) loadGuests(ctx caddy.Context) (guests, error) {
	var g guests
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
			g.notifiers = append(g.notifiers, namedNotifier{Notifier: notifier, name: names[i]})
		}
	}
	return g, nil
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
