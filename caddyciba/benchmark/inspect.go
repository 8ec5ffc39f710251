package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit in which Linux tells of processor time to programs.
const clockTick = 10 * time.Millisecond

// inUse is what a process has in use, without garbage.
type inUse struct {
	Heap       int64 `json:"heap"`       // bytes
	Stacks     int64 `json:"stacks"`     // bytes
	Goroutines int64 `json:"goroutines"` // how many there are
}

// memory returns the bytes of memory that the process has.
func (s *side) memory() (int64, error) {
	fields, err := s.proc("statm")
	if err != nil {
		return 0, err
	}
	if len(fields) < 2 {
		return 0, errors.New("the kernel tells nothing of memory")
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("reading memory: %w", err)
	}
	return pages * int64(os.Getpagesize()), nil
}

// cpu returns the processor time that the process has used.
func (s *side) cpu() (time.Duration, error) {
	fields, err := s.proc("stat")
	if err != nil {
		return 0, err
	}
	if len(fields) < 15 {
		return 0, errors.New("the kernel tells nothing of processor time")
	}
	var ticks int64
	for _, field := range fields[13:15] { // in the program, and in the kernel for it
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading processor time: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// proc returns the fields of a file that the kernel keeps of the process.
func (s *side) proc(name string) ([]string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", s.pid, name))
	if err != nil {
		return nil, fmt.Errorf("reading %s (in Linux only): %w", name, err)
	}
	return strings.Fields(string(data)), nil
}

// collect has garbage collected, and returns what is in use.
func (s *side) collect() (inUse, error) {
	var used inUse
	res, err := http.Get(s.url + "/collect")
	if err != nil {
		return used, fmt.Errorf("collecting garbage: %w", err)
	}
	defer res.Body.Close()
	err = json.NewDecoder(res.Body).Decode(&used)
	if err != nil {
		return used, fmt.Errorf("collecting garbage: %w", err)
	}
	return used, nil
}

// profile writes profiles of the process to files of a directory, if there is one.
func (s *side) profile(dir string, names ...string) error {
	for _, name := range names {
		if dir == "" {
			return nil
		}
		res, err := http.Get(s.url + "/profile/" + name)
		if err != nil {
			return fmt.Errorf("taking profile: %w", err)
		}
		data, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			return fmt.Errorf("taking profile: %w", err)
		}
		err = os.MkdirAll(dir, 0o700)
		if err != nil {
			return err
		}
		err = os.WriteFile(filepath.Join(dir, s.name+"-"+name+".pprof"), data, 0o600)
		if err != nil {
			return err
		}
	}
	return nil
}

// profileCPU begins a profile of processor time, if there is a directory to put it
// into.
func (s *side) profileCPU(dir string) error {
	if dir == "" {
		return nil
	}
	res, err := http.Post(s.url+"/profile/cpu", "", nil)
	if err != nil {
		return fmt.Errorf("taking profile: %w", err)
	}
	return res.Body.Close()
}
