package stepup

import (
	"net/http"
	"slices"
	"strings"
)

// A Cleaner does what Clean does with names that are the same for many requests.
// It is safe for concurrent use.
type Cleaner struct {
	names []string

	// noted are the headers that Clean looks at, by their folded names.
	noted map[string]noted

	// begin has, for each length of such a name, a bit for each letter that one of
	// them begins with. Most headers of a request need no second look.
	begin [longestNoted + 1]uint32
}

// longestNoted is the length in bytes of the longest name that a Cleaner has a
// quick answer for.
const longestNoted = 63

// noted is a header that Clean looks at.
type noted struct {
	canonical string // the one spelling that has a quick answer
	kind      notedKind
}

// notedKind says what is to be done with a header.
type notedKind byte

const (
	notedOwn    notedKind = 1 << iota // remove it
	notedSingle                       // occurs once
	notedKey                          // is an Idempotency-Key
	notedLink                         // is Connection
	notedElse                         // leave it to Clean
)

// NewCleaner returns a Cleaner that removes the headers of these names; see Clean.
func NewCleaner(names ...string) *Cleaner {
	c := &Cleaner{names: names, noted: make(map[string]noted)}
	for name := range overrides {
		c.note(name, notedElse)
	}
	for name := range hopByHop {
		if name != "connection" {
			c.note(name, notedElse)
		}
	}
	for name := range singleValued {
		c.note(name, notedSingle)
	}
	c.note("connection", notedLink)
	c.note("idempotency-key", notedKey)
	for _, name := range names {
		c.note(foldHeader(name), notedOwn)
	}
	return c
}

func (c *Cleaner) note(folded string, kind notedKind) {
	n := c.noted[folded]
	n.canonical, n.kind = http.CanonicalHeaderKey(folded), n.kind|kind
	c.noted[folded] = n
	if folded != "" && len(folded) <= longestNoted {
		c.begin[len(folded)] |= letterBit(folded[0])
	}
}

// letterBit gives 32 bits to what a folded name can begin with.
func letterBit(c byte) uint32 { return 1 << (c & 0x1f) }

// Clean is the function Clean with the names of the Cleaner, but for those in keep,
// in any case: these are left as they are.
func (c *Cleaner) Clean(r *http.Request, keep []string) error {
	if len(keep) == 0 {
		if c.quick(r) {
			return nil
		}
		return Clean(r, c.names...)
	}
	return Clean(r, slices.DeleteFunc(slices.Clone(c.names), func(name string) bool {
		return slices.ContainsFunc(keep, func(other string) bool { return strings.EqualFold(name, other) })
	})...)
}

// quick does what Clean would do where nothing can be wrong, and reports whether
// it has. If it has not, r is as it was.
func (c *Cleaner) quick(r *http.Request) bool {
	if r.URL != nil && !lacksOverride(r.URL.RawQuery) {
		return false
	}
	var room [8]string
	gone := room[:0]
	for name, values := range r.Header {
		n, plain := c.look(name)
		if !plain {
			return false
		}
		if n.kind == 0 {
			continue
		}
		if n.canonical != name || n.kind&notedElse != 0 ||
			n.kind&notedSingle != 0 && len(values) > 1 ||
			n.kind&notedKey != 0 && !isKey(values) ||
			n.kind&notedLink != 0 && !isUsualConnection(values) {
			return false
		}
		if n.kind&(notedOwn|notedLink) != 0 {
			if len(gone) == cap(gone) {
				return false
			}
			gone = append(gone, name)
		}
	}
	for _, name := range gone {
		delete(r.Header, name)
	}
	r.Trailer = nil
	return true
}

// look finds out what Clean thinks of a header. It reports false for names that
// are not ASCII, or have no length to be folded here.
func (c *Cleaner) look(name string) (noted, bool) {
	var all byte
	for i := range len(name) {
		all |= name[i]
	}
	if all >= 0x80 || name == "" || len(name) > longestNoted {
		return noted{}, false
	}
	if c.begin[len(name)]&letterBit(foldByte(name[0])) == 0 {
		return noted{}, true
	}
	var room [longestNoted]byte
	folded := room[:len(name)]
	for i := range folded {
		folded[i] = foldByte(name[i])
	}
	return c.noted[string(folded)], true
}

// foldByte is foldHeader for one character of ASCII.
func foldByte(c byte) byte {
	switch {
	case c >= 'A' && c <= 'Z':
		return c | 0x20
	case c == '_' || c == '.':
		return '-'
	default:
		return c
	}
}

// isKey reports that an Idempotency-Key is in order.
func isKey(values []string) bool {
	return len(values) == 1 && values[0] != "" && len(values[0]) <= maxIdempotencyKey && isVisibleASCII(values[0])
}

// isUsualConnection reports that Connection says what nearly all callers say.
func isUsualConnection(values []string) bool {
	return len(values) == 1 && (values[0] == "close" || values[0] == "keep-alive" || values[0] == "Keep-Alive")
}
