package porttest

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// listenState is the state of a listening socket in /proc/net/tcp.
const listenState = "0A"

// listeners counts the sockets that listen on a port.
func listeners(port uint16) (int, error) {
	count := 0
	suffix := fmt.Sprintf(":%04X", port)
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		file, err := os.Open(name)
		if os.IsNotExist(err) {
			continue // without IPv6
		}
		if err != nil {
			return 0, err
		}
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			if len(fields) > 3 && strings.HasSuffix(fields[1], suffix) && fields[3] == listenState {
				count++
			}
		}
		err = lines.Err()
		_ = file.Close()
		if err != nil {
			return 0, err
		}
	}
	return count, nil
}
