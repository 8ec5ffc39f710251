package caddyciba

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// serveHTTP1 serves a connection until it dies.
func (m *mortal) serveHTTP1(c *mortalConn) error {
	reader := bufio.NewReader(c)
	for {
		_, err := reader.Peek(1)
		if err != nil {
			return err
		}
		s := m.touch()
		err = m.exchangeHTTP1(c, reader, s)
		if err != nil {
			return err
		}
	}
}

// exchangeHTTP1 reads one request and answers it, as far as the script goes.
func (m *mortal) exchangeHTTP1(c *mortalConn, reader *bufio.Reader, s *script) error {
	if s == nil {
		_, _, err := readHTTP1(reader, false)
		if err != nil {
			return err
		}
		m.await()
		_, err = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		return err
	}
	switch s.stage {
	case accepted:
		return m.die(c, s.manner)
	case inLine:
		_, _ = reader.Discard(5)
		return m.die(c, s.manner)
	case inHeaders:
		_, _ = reader.ReadString('\n')
		_, _ = reader.ReadString(':')
		return m.die(c, s.manner)
	}
	if s.interim != 0 && s.stage > afterHeaders {
		_, err := reader.Peek(1)
		if err == nil {
			_, err = fmt.Fprintf(c, "HTTP/1.1 %d %s\r\nLink: </style.css>\r\n\r\n", s.interim, http.StatusText(s.interim))
		}
		if err != nil {
			return err
		}
	}
	r, rest, err := readHTTP1(reader, s.stage <= inBody)
	if err != nil {
		return err
	}
	switch s.stage {
	case afterHeaders:
		return m.die(c, s.manner)
	case inBody:
		_, _ = io.CopyN(io.Discard, rest, r.ContentLength/2)
		return m.die(c, s.manner)
	}
	m.completed()
	if s.stage == afterBody {
		return m.die(c, s.manner)
	}
	line := fmt.Sprintf("HTTP/1.1 %d %s\r\n", s.status, http.StatusText(s.status))
	head := line + fmt.Sprintf("Content-Type: %s\r\nContent-Length: %d\r\n\r\n", mortalType, len(mortalBody))
	full := head + mortalBody
	length := map[stage]int{
		inStatus: len(line) / 2, afterStatus: len(line), inAnswerHeaders: len(line) + len("Content-Ty"),
		afterAnswerHeaders: len(head), inAnswerBody: len(head) + len(mortalBody)/2, healthy: len(full),
	}
	_, err = io.WriteString(c, full[:length[s.stage]])
	if err == nil && s.stage != healthy {
		err = m.die(c, s.manner)
	}
	return err
}

// readHTTP1 reads a request, with its body unless only the headers are wanted.
func readHTTP1(reader *bufio.Reader, headersOnly bool) (*http.Request, io.Reader, error) {
	r, err := http.ReadRequest(reader)
	if err != nil || headersOnly {
		if err != nil {
			return nil, nil, err
		}
		return r, r.Body, nil
	}
	body, err := io.ReadAll(r.Body)
	return r, strings.NewReader(string(body)), err
}
