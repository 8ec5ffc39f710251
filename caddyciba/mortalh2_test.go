package caddyciba

import (
	"bytes"
	"encoding/binary"
	"io"
	"strconv"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// An http2Conn is one connection of an upstream that speaks HTTP/2. Its frames are
// read by hand, as the upstream may die within one.
type http2Conn struct {
	*mortalConn
	m      *mortal
	framer *http2.Framer // for what is written in whole frames
	stream uint32        // of the request that is being read
	script *script       // for it
}

// serveHTTP2 serves a connection until it dies.
func (m *mortal) serveHTTP2(mc *mortalConn) error {
	preface := make([]byte, len(http2.ClientPreface))
	_, err := io.ReadFull(mc, preface)
	if err != nil {
		return err
	}
	c := &http2Conn{mortalConn: mc, m: m, framer: http2.NewFramer(mc, nil)}
	err = c.framer.WriteSettings()
	if err != nil {
		return err
	}
	m.mu.Lock()
	mc.leave = func() error { return http2.NewFramer(mc, nil).WriteGoAway(1, http2.ErrCodeNo, nil) }
	m.mu.Unlock()
	for {
		err := c.frame()
		if err != nil {
			return err
		}
	}
}

// frame reads one frame and does what it asks for.
func (c *http2Conn) frame() error {
	var header [9]byte
	_, err := io.ReadFull(c, header[:])
	if err != nil {
		return err
	}
	length := int(header[0])<<16 | int(header[1])<<8 | int(header[2])
	kind, flags := http2.FrameType(header[3]), http2.Flags(header[4])
	stream := binary.BigEndian.Uint32(header[5:])
	if kind == http2.FrameHeaders {
		c.stream, c.script = stream, c.m.touch()
	}
	err = c.dieIn(kind, length)
	if err != nil {
		return err
	}
	payload := make([]byte, length)
	_, err = io.ReadFull(c, payload)
	if err != nil {
		return err
	}
	switch {
	case kind == http2.FrameSettings && !flags.Has(http2.FlagSettingsAck):
		return c.framer.WriteSettingsAck()
	case kind == http2.FramePing && !flags.Has(http2.FlagPingAck):
		return c.framer.WritePing(true, [8]byte(payload))
	case kind == http2.FrameHeaders || kind == http2.FrameData:
		return c.request(kind, flags.Has(http2.FlagDataEndStream))
	}
	return nil
}

// dieIn dies within a frame, if that is where the script says.
func (c *http2Conn) dieIn(kind http2.FrameType, length int) error {
	if c.script == nil {
		return nil
	}
	read := -1
	switch {
	case kind == http2.FrameHeaders && c.script.stage == inLine:
		read = 1
	case kind == http2.FrameHeaders && c.script.stage == inHeaders,
		kind == http2.FrameData && c.script.stage == inBody:
		read = length / 2
	}
	if read < 0 {
		return nil
	}
	_, _ = io.CopyN(io.Discard, c, int64(read))
	return c.end()
}

// request goes on with a request of which a frame was read.
func (c *http2Conn) request(kind http2.FrameType, ended bool) error {
	s := c.script
	if s == nil {
		if !ended {
			return nil
		}
		c.m.await()
		return c.write(append(c.headers(true, "200"), c.data("ok", true)...))
	}
	if s.stage == afterHeaders {
		if kind == http2.FrameHeaders {
			return c.end()
		}
		return nil // what the transport has sent before it heard of it
	}
	if kind == http2.FrameHeaders {
		if s.interim != 0 && s.stage > afterHeaders {
			err := c.write(c.headers(true, strconv.Itoa(s.interim), "link", "</style.css>"))
			if err != nil {
				return err
			}
		}
	}
	if !ended {
		return nil
	}
	c.m.completed()
	return c.answer(s)
}

// answer writes as much of the answer as the script says.
func (c *http2Conn) answer(s *script) error {
	status := strconv.Itoa(s.status)
	rest := []string{"content-type", mortalType, "content-length", strconv.Itoa(len(mortalBody))}
	var out []byte
	switch s.stage {
	case afterBody:
		return c.end()
	case inStatus:
		out = c.headers(true, status, rest...)[:11]
	case afterStatus:
		out = c.headers(false, status)
	case inAnswerHeaders:
		more := c.continuation(rest...)
		out = append(c.headers(false, status), more[:len(more)/2]...)
	case afterAnswerHeaders:
		out = c.headers(true, status, rest...)
	case inAnswerBody:
		out = append(c.headers(true, status, rest...), c.data(mortalBody[:len(mortalBody)/2], false)...)
	default:
		return c.write(append(c.headers(true, status, rest...), c.data(mortalBody, true)...))
	}
	err := c.write(out)
	if err != nil {
		return err
	}
	return c.end()
}

// end dies as the script says. Where only the stream does, it returns nil.
func (c *http2Conn) end() error {
	codes := map[manner]http2.ErrCode{
		byRefused: http2.ErrCodeRefusedStream, byCancel: http2.ErrCodeCancel, byInternal: http2.ErrCodeInternal,
	}
	code, ok := codes[c.script.manner]
	switch {
	case ok:
		return c.framer.WriteRSTStream(c.stream, code)
	case c.script.manner == byGoAway0:
		return c.framer.WriteGoAway(0, http2.ErrCodeNo, nil)
	case c.script.manner == byGoAway:
		err := c.framer.WriteGoAway(c.stream, http2.ErrCodeNo, nil)
		if err != nil {
			return err
		}
		return c.m.die(c.mortalConn, byClose)
	}
	return c.m.die(c.mortalConn, c.script.manner)
}

func (c *http2Conn) write(frames []byte) error {
	_, err := c.Write(frames)
	return err
}

// headers is a frame with a status and fields; more follow if it is not complete.
func (c *http2Conn) headers(complete bool, status string, fields ...string) []byte {
	return frames(func(f *http2.Framer) error {
		return f.WriteHeaders(http2.HeadersFrameParam{
			StreamID: c.stream, EndHeaders: complete, BlockFragment: fragment(append([]string{":status", status}, fields...)),
		})
	})
}

func (c *http2Conn) continuation(fields ...string) []byte {
	return frames(func(f *http2.Framer) error { return f.WriteContinuation(c.stream, true, fragment(fields)) })
}

func (c *http2Conn) data(text string, last bool) []byte {
	return frames(func(f *http2.Framer) error { return f.WriteData(c.stream, last, []byte(text)) })
}

// frames returns the bytes that write writes. To a buffer it cannot fail.
func frames(write func(*http2.Framer) error) []byte {
	var buffer bytes.Buffer
	_ = write(http2.NewFramer(&buffer, nil))
	return buffer.Bytes()
}

// fragment encodes fields. Those that are sensitive leave no state behind.
func fragment(fields []string) []byte {
	var buffer bytes.Buffer
	encoder := hpack.NewEncoder(&buffer)
	for i := 0; i < len(fields); i += 2 {
		_ = encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1], Sensitive: true})
	}
	return buffer.Bytes()
}
