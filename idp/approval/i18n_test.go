package approval

import (
	"regexp"
	"slices"
	"testing"
	"text/template/parse"
	"time"
)

// The catalogues have the same keys, the same placeholders, and every key that
// the templates and the code name.
func TestCatalogues(t *testing.T) {
	ls, err := loadLocales()
	if err != nil {
		t.Fatal(err)
	}
	placeholder := regexp.MustCompile(`\{\w+\}`)
	for _, l := range ls.all[1:] {
		for key, text := range ls.all[0].words {
			want, got := placeholder.FindAllString(text, -1), placeholder.FindAllString(l.words[key], -1)
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(want, got) {
				t.Errorf("%s %q has the placeholders %v, want %v", l.name, key, got, want)
			}
		}
	}
	used := usedKeys(t)
	for key := range used {
		if ls.all[0].words[key] == "" {
			t.Errorf("a template uses %q, which no catalogue has", key)
		}
	}
	if len(used) < 40 {
		t.Errorf("only %d keys found in templates", len(used))
	}
}

// usedKeys returns the keys that templates name literally.
func usedKeys(t *testing.T) map[string]bool {
	t.Helper()
	used := map[string]bool{}
	g := newRig(t)
	for _, set := range g.app.pages["en"] {
		for _, tmpl := range set.Templates() {
			if tmpl.Tree != nil {
				collectKeys(tmpl.Tree.Root, used)
			}
		}
	}
	return used
}

func collectKeys(n parse.Node, used map[string]bool) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n == nil {
			return
		}
		for _, c := range n.Nodes {
			collectKeys(c, used)
		}
	case *parse.ActionNode:
		collectKeys(n.Pipe, used)
	case *parse.TemplateNode:
		collectKeys(n.Pipe, used)
	case *parse.IfNode:
		collectKeys(n.Pipe, used)
		collectKeys(n.List, used)
		collectKeys(n.ElseList, used)
	case *parse.RangeNode:
		collectKeys(n.Pipe, used)
		collectKeys(n.List, used)
		collectKeys(n.ElseList, used)
	case *parse.WithNode:
		collectKeys(n.Pipe, used)
		collectKeys(n.List, used)
		collectKeys(n.ElseList, used)
	case *parse.PipeNode:
		if n == nil {
			return
		}
		for _, c := range n.Cmds {
			collectKeys(c, used)
		}
	case *parse.CommandNode:
		name, ok := n.Args[0].(*parse.IdentifierNode)
		if ok && len(n.Args) > 1 {
			key, ok := n.Args[1].(*parse.StringNode)
			switch {
			case ok && name.Ident == "t":
				used[key.Text] = true
			case ok && name.Ident == "tn":
				used[key.Text+".one"], used[key.Text+".other"] = true, true
			}
		}
		for _, c := range n.Args {
			collectKeys(c, used)
		}
	}
}

func TestDurations(t *testing.T) {
	ls, err := loadLocales()
	if err != nil {
		t.Fatal(err)
	}
	for d, want := range map[time.Duration]string{
		0: "0 s", 59 * time.Second: "59 s", time.Minute: "1 min", 84*time.Second + 900*time.Millisecond: "1 min 24 s",
		time.Hour + 5*time.Minute + time.Second: "1 h 5 min",
	} {
		if got := ls.all[0].duration(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}

// Times name the zone, and the day unless it is today.
func TestMoments(t *testing.T) {
	ls, err := loadLocales()
	if err != nil {
		t.Fatal(err)
	}
	vienna := time.FixedZone("CET", 3600)
	now := time.Date(2026, 11, 22, 23, 30, 0, 0, time.UTC)
	for in, want := range map[time.Time][]string{
		now:                     {"12:30 AM CET", "00:30 CET"},
		now.Add(-time.Hour):     {"22 Nov 2026, 11:30 PM CET", "22.11.2026, 23:30 CET"},
		now.Add(24 * time.Hour): {"24 Nov 2026, 12:30 AM CET", "24.11.2026, 00:30 CET"},
	} {
		for i, l := range ls.all[:2] {
			m := l.moment(in, now, vienna)
			if m.Words != want[i] || m.Machine != in.Format(time.RFC3339) {
				t.Errorf("%s in %s: %q %s", in, l.name, m.Words, m.Machine)
			}
		}
	}
}
