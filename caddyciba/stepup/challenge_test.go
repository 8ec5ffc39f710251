package stepup

import (
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"
)

func TestParseChallenge(t *testing.T) {
	const none = -1
	for _, row := range []struct {
		field  string
		ok     bool
		acr    []string
		maxAge time.Duration
	}{
		{`Bearer error="insufficient_user_authentication"`, true, nil, none},
		{`Bearer error="insufficient_user_authentication", error_description="x, y", acr_values="phr phrh"`, true, []string{"phr", "phrh"}, none},
		{`Bearer realm="a", error=insufficient_user_authentication, max_age=300`, true, nil, 5 * time.Minute},
		{`bearer ERROR="insufficient_user_authentication",max_age="0"`, true, nil, 0},
		{`DPoP algs="ES256", error="insufficient_user_authentication", acr_values="a\"b"`, true, []string{`a"b`}, none},
		{`Basic realm="x", Bearer error="insufficient_user_authentication", acr_values="phr"`, true, []string{"phr"}, none},
		{`Bearer error="invalid_token"`, false, nil, 0},
		{`Basic error="insufficient_user_authentication"`, false, nil, 0},
		{`Bearer error="invalid_token", error="insufficient_user_authentication"`, false, nil, 0},
		{`Bearer error="insufficient_user_authentication", max_age="soon"`, false, nil, 0},
		{`Bearer error="insufficient_user_authentication`, false, nil, 0},
		{`error="insufficient_user_authentication"`, false, nil, 0},
		{`Bearer error=`, false, nil, 0},
		{``, false, nil, 0},
	} {
		got, ok := parseChallenge(http.Header{"Www-Authenticate": {row.field}})
		if ok != row.ok {
			t.Errorf("%s: %v", row.field, ok)
			continue
		}
		if !ok {
			continue
		}
		if row.maxAge == none && got.maxAge >= 0 || row.maxAge != none && got.maxAge != row.maxAge || !slices.Equal(got.acr, row.acr) {
			t.Errorf("%s: %+v", row.field, got)
		}
	}
}

// A challenge can make a route stricter, never less strict.
func TestChallengeDemands(t *testing.T) {
	for name, row := range map[string]struct {
		challenge challenge
		route     Route
		acr       []string
		age       time.Duration
		fails     bool
	}{
		"nothing":           {challenge{nil, -1}, Route{ACR: []string{"a"}, FreshAuth: true, AuthAge: time.Minute}, []string{"a"}, time.Minute, false},
		"a class":           {challenge{[]string{"a", "b"}, -1}, Route{}, []string{"a", "b"}, 0, false},
		"a class of ours":   {challenge{[]string{"a", "b"}, -1}, Route{ACR: []string{"b", "c"}}, []string{"b"}, 0, false},
		"no class of ours":  {challenge{[]string{"a"}, -1}, Route{ACR: []string{"b"}}, nil, 0, true},
		"younger than ours": {challenge{nil, time.Second}, Route{FreshAuth: true, AuthAge: time.Minute}, nil, time.Second, false},
		"older than ours":   {challenge{nil, time.Hour}, Route{FreshAuth: true, AuthAge: time.Minute}, nil, time.Minute, false},
		"ours is any":       {challenge{nil, time.Hour}, Route{}, nil, time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			rt := row.route
			err := row.challenge.demand(&rt)
			if row.fails {
				if !errors.Is(err, errChallenge) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil || !slices.Equal(rt.ACR, row.acr) || rt.AuthAge != row.age {
				t.Errorf("route %+v, %v", rt, err)
			}
			if row.challenge.maxAge >= 0 && (!rt.FreshAuth || rt.AuthTimeOptional) {
				t.Error("auth_time is not demanded")
			}
		})
	}
}
