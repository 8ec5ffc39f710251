package caddyciba

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2Wire is a connection of HTTP/2 whose requests are made of whatever fields a test
// wants, in whatever order.
type h2Wire struct {
	t      *testing.T
	conn   net.Conn
	framer *http2.Framer
	stream uint32
}

// h2cServer lets a site speak HTTP/2 without encryption.
const h2cServer = "\tservers {\n\t\tprotocols h1 h2c\n\t}\n"

func dialH2(t *testing.T, addr string) *h2Wire {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	_, err = io.WriteString(conn, http2.ClientPreface)
	if err != nil {
		t.Fatal(err)
	}
	w := &h2Wire{t: t, conn: conn, framer: http2.NewFramer(conn, conn), stream: 1}
	w.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	err = w.framer.WriteSettings()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

var errReset = errors.New("the server has refused the request as malformed")

// exchange sends one request and returns the answer, or errReset. After that the
// connection may be over.
func (w *h2Wire) exchange(fields [][2]string, body string) answer {
	w.t.Helper()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range fields {
		err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	id := w.stream
	w.stream += 2
	err := w.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true})
	if err == nil {
		err = w.framer.WriteData(id, true, []byte(body))
	}
	if err != nil {
		return answer{err: errReset}
	}
	var a answer
	for {
		frame, err := w.framer.ReadFrame()
		if err != nil {
			return answer{err: errReset}
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = w.framer.WriteSettingsAck()
			}
		case *http2.GoAwayFrame, *http2.RSTStreamFrame:
			return answer{err: errReset}
		case *http2.MetaHeadersFrame:
			a.status, _ = strconv.Atoi(f.PseudoValue("status"))
			a.header = make(map[string][]string)
			for _, field := range f.RegularFields() {
				a.header.Add(field.Name, field.Value)
			}
			if f.StreamEnded() {
				return a
			}
		case *http2.DataFrame:
			a.body += string(f.Data())
			if f.StreamEnded() {
				return a
			}
		}
	}
}

// h2Fields is a request of which some fields are others. Fields with an empty name in
// front are left out.
func h2Fields(addr string, changes string) [][2]string {
	fields := [][2]string{{":method", "POST"}, {":scheme", "http"}, {":authority", addr}, {":path", "/transfers"}, {"content-type", "application/json"}}
	for change := range strings.SplitSeq(changes, " & ") {
		name, value, given := strings.Cut(strings.ReplaceAll(change, "{host}", addr), "=")
		name, added := strings.CutPrefix(name, "+")
		i := slices.IndexFunc(fields, func(f [2]string) bool { return f[0] == name })
		switch {
		case !given && i >= 0: // left out
			fields = slices.Delete(fields, i, i+1)
		case i >= 0 && !added:
			fields[i][1] = value
		case given:
			fields = append(fields, [2]string{name, value})
		}
	}
	return fields
}

// Rows G of the threat catalogue that only HTTP/2 can show: its pseudo-header fields,
// and what HTTP/1.1 says by headers. None reaches the upstream or a customer.
func TestBadInputHTTP2(t *testing.T) {
	op, b := newFakeOP(t), newBank(t)
	op.setDecision(approve)
	s := startSite(t, h2cServer+memoryStore, fmt.Sprintf("@pay not path /health\nciba @pay %s {\n\tcustomer alice\n\tmessage \"Pay {ciba.body.amount}\"\n\tlimit off\n}\nreverse_proxy %s", op.URL, b.addr()))
	const body = `{"amount":"1"}`
	for _, row := range spellings(t, "testdata/badinput/http2.txt") {
		columns := strings.SplitN(row, "\t", 4)
		if len(columns) != 4 {
			t.Fatalf("%q has %d columns", row, len(columns))
		}
		t.Run(columns[0]+" "+columns[3], func(t *testing.T) {
			got := dialH2(t, s.addr).exchange(h2Fields(s.addr, columns[3]), body)
			if columns[1] == "reset" {
				if got.err != errReset {
					t.Errorf("got %+v", got)
				}
				return
			}
			status, err := strconv.Atoi(columns[1])
			if err != nil {
				t.Fatal(err)
			}
			if columns[2] != "-" {
				got.wantProblem(t, status, columns[2], false)
				return
			}
			if got.err != nil || got.status != status || strings.Contains(got.body, "booked") {
				t.Errorf("got %+v", got)
			}
		})
	}
	b.wantCount(t, 0)
	if n := len(op.started()); n != 0 {
		t.Errorf("somebody was asked %d times", n)
	}
	// The same gate takes what is as it should be.
	if got := dialH2(t, s.addr).exchange(h2Fields(s.addr, ""), body); got.status != 201 {
		t.Errorf("got %+v", got)
	}
}
