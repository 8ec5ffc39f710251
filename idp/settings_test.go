package idp

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"

	"github.com/caddyciba/gateway/idp/provider"
)

// Everything that shapes an instance must be in its key, or a reload would go
// on with the old settings.
func TestKeyDependsOnEveryField(t *testing.T) {
	seen := make(map[string]string)
	check := func(name string, s *settings) {
		t.Helper()
		key, err := s.key()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if seen[key] != "" {
			t.Errorf("%s changes the key as little as %s does", name, seen[key])
		}
		seen[key] = name
	}
	check("nothing", new(settings))
	paths := 0
	each(t, reflect.TypeFor[settings](), "settings", func(name string, set func(reflect.Value)) {
		s := new(settings)
		set(reflect.ValueOf(s).Elem())
		check(name, s)
		paths++
	})
	if paths < 80 {
		t.Errorf("found %d fields only", paths)
	}
}

// each calls visit with a function for each value below a type that gives it
// something other than its zero, and for each list one that makes it longer.
func each(t *testing.T, typ reflect.Type, name string, visit func(name string, set func(reflect.Value))) {
	t.Helper()
	simple := func(set func(reflect.Value)) { visit(name, set) }
	switch {
	case typ == reflect.TypeFor[netip.Prefix]():
		simple(func(v reflect.Value) { v.Set(reflect.ValueOf(netip.MustParsePrefix("10.0.0.0/8"))) })
		return
	case typ == reflect.TypeFor[json.RawMessage]():
		simple(func(v reflect.Value) { v.SetBytes([]byte("1")) })
		return
	}
	switch typ.Kind() {
	case reflect.String:
		simple(func(v reflect.Value) { v.SetString("x") })
	case reflect.Bool:
		simple(func(v reflect.Value) { v.SetBool(true) })
	case reflect.Int, reflect.Int64:
		simple(func(v reflect.Value) { v.SetInt(7) })
	case reflect.Uint8:
		simple(func(v reflect.Value) { v.SetUint(7) })
	case reflect.Map:
		simple(func(v reflect.Value) {
			v.Set(reflect.MakeMap(typ))
			v.SetMapIndex(reflect.ValueOf("x"), reflect.Zero(typ.Elem()))
		})
	case reflect.Array:
		each(t, typ.Elem(), name+"[0]", func(name string, set func(reflect.Value)) {
			visit(name, func(v reflect.Value) { set(v.Index(0)) })
		})
	case reflect.Slice:
		if typ.Elem().Kind() == reflect.Struct || typ.Elem().Kind() == reflect.Slice {
			visit(name, func(v reflect.Value) { v.Set(reflect.MakeSlice(typ, 1, 1)) })
		}
		each(t, typ.Elem(), name+"[]", func(name string, set func(reflect.Value)) {
			visit(name, func(v reflect.Value) {
				v.Set(reflect.MakeSlice(typ, 1, 1))
				set(v.Index(0))
			})
		})
	case reflect.Pointer:
		each(t, typ.Elem(), name, func(name string, set func(reflect.Value)) {
			visit(name, func(v reflect.Value) {
				v.Set(reflect.New(typ.Elem()))
				set(v.Elem())
			})
		})
	case reflect.Struct:
		for _, field := range reflect.VisibleFields(typ) {
			each(t, field.Type, name+"."+field.Name, func(name string, set func(reflect.Value)) {
				visit(name, func(v reflect.Value) { set(v.FieldByIndex(field.Index)) })
			})
		}
	default:
		t.Fatalf("%s has kind %s, which this test does not know", name, typ.Kind())
	}
}

// The standard scopes may be given to clients without being configured; the
// provider must know the same ones.
func TestStandardScopes(t *testing.T) {
	users, err := provider.NewStaticUsers(nil)
	if err != nil {
		t.Fatal(err)
	}
	h := Handler{Issuer: "https://id.example.com", Clients: []*Client{{ID: "c", Secrets: []string{"{env.X}"}, Scopes: standardScopes}}}
	err = h.check()
	if err != nil {
		t.Errorf("the handler refuses standard scopes: %v", err)
	}
	config := provider.Config{Issuer: h.Issuer, Users: users, Store: noStore{}, Clients: []provider.Client{{
		ID: "c", SecretHashes: []provider.SecretHash{provider.HashSecret("x")}, Scopes: standardScopes,
	}}}
	err = config.Validate()
	if err != nil {
		t.Errorf("the provider refuses standard scopes: %v", err)
	}
}

// The bounds of the handler must lie within those of the provider, so that what
// a Caddyfile may say is never refused without file and line.
func TestLifetimeBounds(t *testing.T) {
	users, err := provider.NewStaticUsers(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"1s", "10m"} {
		d := parseDuration(t, value)
		config := provider.Config{Issuer: "https://id.example.com", Users: users, Store: noStore{}, RequestLifetime: d, MaxRequestLifetime: d}
		err := config.Validate()
		if err != nil {
			t.Errorf("%s: %v", value, err)
		}
	}
	for _, value := range []string{"1h", "366d"} {
		config := provider.Config{Issuer: "https://id.example.com", Users: users, Store: noStore{}, KeyRotation: parseDuration(t, value)}
		err := config.Validate()
		if err != nil {
			t.Errorf("%s: %v", value, err)
		}
	}
	for _, value := range []string{"1s", "25s"} {
		config := provider.Config{Issuer: "https://id.example.com", Users: users, Store: noStore{}, LongPoll: parseDuration(t, value)}
		err := config.Validate()
		if err != nil {
			t.Errorf("%s: %v", value, err)
		}
	}
	for _, value := range []string{"1s", "365d"} {
		config := provider.Config{Issuer: "https://id.example.com", Users: users, Store: noStore{}, RefreshTokenLifetime: parseDuration(t, value)}
		err := config.Validate()
		if err != nil {
			t.Errorf("%s: %v", value, err)
		}
	}
	for _, value := range []string{"1s", "1m"} {
		config := provider.Config{Issuer: "https://id.example.com", Users: users, Store: noStore{}, Interval: parseDuration(t, value)}
		err := config.Validate()
		if err != nil {
			t.Errorf("%s: %v", value, err)
		}
	}
}
