package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"
)

// printClaims prints one claim a line, in alphabetical order, times in words.
func printClaims(out io.Writer, claims map[string]any) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		text, err := claimText(name, claims[name])
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "  %s\t%s\n", name, text)
	}
	return w.Flush()
}

func claimText(name string, value any) (string, error) {
	switch v := value.(type) {
	case string:
		return v, nil
	case float64:
		if slices.Contains([]string{"auth_time", "exp", "iat", "nbf"}, name) {
			return fmt.Sprintf("%.0f (%s)", v, time.Unix(int64(v), 0).Format(time.DateTime)), nil
		}
	}
	text, err := json.Marshal(value)
	return string(text), err
}
