package idp

import (
	"reflect"
	"testing"

	"github.com/caddyciba/gateway/idp/provider"
)

// Everything that shapes an instance must be in its key, or a reload would go
// on with the old settings.
func TestKeyDependsOnEveryField(t *testing.T) {
	plain, err := new(settings).key()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{plain: "nothing"}
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
	// The top level and one element of each list, field by field.
	for _, field := range reflect.VisibleFields(reflect.TypeFor[settings]()) {
		s := new(settings)
		set(t, reflect.ValueOf(s).Elem().FieldByIndex(field.Index), field.Name)
		check(field.Name, s)
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[provider.Client]()) {
		s := &settings{Clients: make([]provider.Client, 1)}
		set(t, reflect.ValueOf(&s.Clients[0]).Elem().FieldByIndex(field.Index), field.Name)
		check("Clients."+field.Name, s)
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[provider.User]()) {
		s := &settings{Users: make([]provider.User, 1)}
		set(t, reflect.ValueOf(&s.Users[0]).Elem().FieldByIndex(field.Index), field.Name)
		check("Users."+field.Name, s)
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[provider.Scope]()) {
		s := &settings{Scopes: make([]provider.Scope, 1)}
		set(t, reflect.ValueOf(&s.Scopes[0]).Elem().FieldByIndex(field.Index), field.Name)
		check("Scopes."+field.Name, s)
	}
}

// set gives a value something other than its zero.
func set(t *testing.T, v reflect.Value, name string) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint8:
		v.SetUint(7)
	case reflect.Array:
		set(t, v.Index(0), name)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		if v.Type().Name() == "RawMessage" {
			v.SetBytes([]byte("1"))
		} else if v.Index(0).Kind() != reflect.Struct {
			set(t, v.Index(0), name)
		}
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]any{"x": "y"}))
	case reflect.Struct:
		set(t, v.Field(0), name)
	default:
		t.Fatalf("field %s has kind %s, which this test does not know", name, v.Kind())
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
	for _, value := range []string{"1s", "1m"} {
		config := provider.Config{Issuer: "https://id.example.com", Users: users, Store: noStore{}, Interval: parseDuration(t, value)}
		err := config.Validate()
		if err != nil {
			t.Errorf("%s: %v", value, err)
		}
	}
}
