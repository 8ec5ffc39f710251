package stepup

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// mutants is the environment variable with the number of bodies that are made of
// those in testdata.
const mutants = "CIBA_READER_MUTANTS"

// An accepted is a body that we accept, with all values in it by their place.
type accepted struct {
	mediaType string
	body      []byte
	values    map[string]string
}

// Threat T3: of every body that is accepted, readers of other makes read what the
// customer is shown, or refuse it. The bodies are those of testdata and thousands
// that are made from them.
func TestOtherReadersAgree(t *testing.T) {
	bodies := acceptedBodies(t)
	readers := []struct {
		name, require string
		command       []string
		formats       string // of which it must take most
	}{
		{"python", "CIBA_REQUIRE_PYTHON", []string{"python3", "testdata/readers/read.py"}, "application/json application/x-www-form-urlencoded application/xml multipart/form-data"},
		{"python-dom", "CIBA_REQUIRE_PYTHON", []string{"python3", "testdata/readers/read.py", "dom"}, "application/xml"},
		{"node", "CIBA_REQUIRE_NODE", []string{"node", "testdata/readers/read.mjs"}, "application/json application/x-www-form-urlencoded multipart/form-data"},
		{"node-querystring", "CIBA_REQUIRE_NODE", []string{"node", "testdata/readers/read.mjs", "legacy"}, "application/x-www-form-urlencoded"},
	}
	for _, reader := range readers {
		t.Run(reader.name, func(t *testing.T) {
			_, err := exec.LookPath(reader.command[0])
			if err != nil {
				if os.Getenv(reader.require) != "" {
					t.Fatal(err)
				}
				t.Skipf("%s is not installed", reader.command[0])
			}
			taken, offered := make(map[string]int), make(map[string]int)
			for i, values := range readBy(t, reader.command, bodies) {
				kind, _, _ := strings.Cut(bodies[i].mediaType, ";")
				offered[kind]++
				if values == nil {
					continue
				}
				taken[kind]++
				compareReadings(t, bodies[i], values)
				if t.Failed() {
					return
				}
			}
			for kind := range strings.FieldsSeq(reader.formats) {
				t.Logf("%s: %d of %d bodies read", kind, taken[kind], offered[kind])
				if taken[kind]*4 < offered[kind]*3 || taken[kind] == 0 {
					t.Errorf("%s: only %d of %d bodies were read", kind, taken[kind], offered[kind])
				}
			}
		})
	}
}

// compareReadings fails if the reader has another value, or more or less of them.
func compareReadings(t *testing.T, b accepted, theirs [][2]any) {
	t.Helper()
	seen := make(map[string]bool)
	for _, entry := range theirs {
		place, err := json.Marshal(entry[0])
		if err != nil {
			t.Fatal(err)
		}
		ours, known := b.values[string(place)]
		if seen[string(place)] {
			t.Errorf("%s %q: %s is there twice", b.mediaType, b.body, place)
		}
		seen[string(place)] = true
		if ours == doubt {
			continue
		}
		if !known || !sameValue(ours, fmt.Sprint(entry[1])) {
			t.Errorf("%s %q: %s is %q for us and %q for the reader", b.mediaType, b.body, place, ours, entry[1])
		}
	}
	if len(seen) != len(b.values) {
		t.Errorf("%s %q: we read %d values %q, the reader %d %q", b.mediaType, b.body, len(b.values), b.values, len(seen), theirs)
	}
}

// sameValue compares numbers as numbers: JavaScript has no others than doubles.
func sameValue(ours, theirs string) bool {
	if ours == theirs {
		return true
	}
	a, number := strings.CutPrefix(ours, "number ")
	b, also := strings.CutPrefix(theirs, "number ")
	if !number || !also {
		return false
	}
	x, err := strconv.ParseFloat(a, 64)
	y, err2 := strconv.ParseFloat(b, 64)
	return err == nil && err2 == nil && x == y
}

// readBy lets a program read the bodies. A reading is nil if the program refuses
// the body.
func readBy(t *testing.T, command []string, bodies []accepted) [][][2]any {
	t.Helper()
	var input bytes.Buffer
	encoder := json.NewEncoder(&input)
	for _, b := range bodies {
		err := encoder.Encode(map[string]string{"type": b.mediaType, "body": base64.StdEncoding.EncodeToString(b.body)})
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin = &input
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.Bytes())
	}
	var all [][][2]any
	scanner := bufio.NewScanner(bytes.NewReader(output))
	scanner.Buffer(nil, 64<<20)
	for scanner.Scan() {
		var values [][2]any
		err := json.Unmarshal(scanner.Bytes(), &values)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, values)
	}
	if len(all) != len(bodies) {
		t.Fatalf("%d answers for %d bodies\n%s", len(all), len(bodies), stderr.Bytes())
	}
	return all
}

// acceptedBodies are those of testdata that are accepted, and what is accepted of
// those that are made from them. They are the same each time.
func acceptedBodies(t *testing.T) []accepted {
	t.Helper()
	count := 6000
	if text := os.Getenv(mutants); text != "" {
		var err error
		count, err = strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
	}
	types := map[string]string{"json": "application/json"}
	for format, mediaType := range formatTypes {
		types[format] = mediaType
	}
	random := rand.New(rand.NewPCG(1, 2))
	var all []accepted
	for _, format := range []string{"json", "form", "multipart", "xml"} {
		var seeds []string
		for _, name := range []string{"accepted", "refused"} {
			for _, line := range lines(t, filepath.Join("testdata", format, name+".txt")) {
				if format != "json" && name == "accepted" {
					line, _, _ = cut3(t, line)
				}
				seeds = append(seeds, line)
			}
		}
		for _, name := range payments(t, format) {
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			seeds = append(seeds, string(content), string(content))
		}
		before := len(all)
		for i := range len(seeds) + count {
			body := seeds[i%len(seeds)]
			if i >= len(seeds) {
				body = mutate(random, body, seeds[random.IntN(len(seeds))])
			}
			d := &Document{contentType: types[format], body: []byte(body)}
			if d.Check() == nil {
				all = append(all, accepted{d.contentType, d.body, valuesOf(t, d.root)})
			}
		}
		if len(all)-before < 20 {
			t.Fatalf("%s: only %d bodies are accepted", format, len(all)-before)
		}
	}
	return all
}

// mutate changes a body at a few places, in ways that tell readers apart.
func mutate(random *rand.Rand, body, other string) string {
	const pieces = "\"'<>&=;%+ \t\r\n\x00\\/.:[]{}0129eE-_aA\u00e9\u017f\ufeff&#10;<!---->%20&amp;<![CDATA[]]>\\u0041\\ud83d\\ude00"
	runes := []rune(pieces)
	for range 1 + random.IntN(3) {
		at := random.IntN(len(body) + 1)
		switch random.IntN(5) {
		case 0:
			body = body[:at] + string(runes[random.IntN(len(runes))]) + body[at:]
		case 1:
			end := min(len(body), at+random.IntN(4))
			body = body[:at] + body[end:]
		case 2:
			from := random.IntN(len(other) + 1)
			end := min(len(other), from+random.IntN(12))
			body = body[:at] + other[from:end] + body[at:]
		case 3:
			end := min(len(body), at+random.IntN(16))
			body = body[:end] + body[at:end] + body[end:]
		default:
			from := random.IntN(len(runes))
			body = body[:at] + string(runes[from:min(len(runes), from+1+random.IntN(6))]) + body[at:]
		}
	}
	return body
}

// doubt stands for a value that we never show.
const doubt = "never shown"

// valuesOf are all values of a body by their place.
func valuesOf(t *testing.T, root content) map[string]string {
	t.Helper()
	values := make(map[string]string)
	put := func(place []string, value string) {
		key, err := json.Marshal(place)
		if err != nil {
			t.Fatal(err)
		}
		values[string(key)] = value
	}
	switch root := root.(type) {
	case *jsonValue:
		putJSON(put, root, []string{})
	case *formFields:
		for name, field := range root.byName {
			value := "text " + field.value
			if field.file != nil {
				value = fmt.Sprintf("file %d %s", field.file.size, field.file.sha256)
			}
			put([]string{name}, value)
		}
	case *xmlRoot:
		putXML(put, root.element, []string{root.element.name.local})
	}
	return values
}

func putJSON(put func([]string, string), v *jsonValue, place []string) {
	inner := func(name string) []string { return append(append([]string{}, place...), name) }
	switch v.kind {
	case jsonObject:
		for i := range v.items {
			putJSON(put, &v.items[i], inner(v.names[i]))
		}
	case jsonArray:
		for i := range v.items {
			putJSON(put, &v.items[i], inner(strconv.Itoa(i)))
		}
	case jsonNumber:
		put(place, "number "+v.text)
	case jsonString:
		put(place, "text "+v.text)
	default:
		put(place, v.text)
	}
}

func putXML(put func([]string, string), e *xmlElement, place []string) {
	inner := func(names ...string) []string { return append(append([]string{}, place...), names...) }
	for _, a := range e.attributes {
		put(inner("@"+strings.TrimPrefix(a.name.space+" "+a.name.local, " ")), "text "+a.value)
	}
	if len(e.children) == 0 {
		value := "text " + e.text
		if e.doubtful {
			value = doubt
		}
		put(place, value)
	}
	seen := make(map[string]int)
	for _, child := range e.children {
		name := child.name.local
		putXML(put, child, inner(name, strconv.Itoa(seen[name])))
		seen[name]++
	}
}
