package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// tracesOf lists the processes that belong to a session, or have to do with the
// files below work, and the mounts there, in whichever process's namespace.
func tracesOf(t *testing.T, work string, session int) []string {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var traces []string
	for _, process := range found {
		if why := traceOf(process, work, session); why != "" {
			command := bytes.ReplaceAll(readProc(process, "cmdline"), []byte{0}, []byte(" "))
			traces = append(traces, fmt.Sprintf("process %s, %q: %s", filepath.Base(process), command, why))
		}
	}
	return traces
}

// traceOf says what a process, a folder in /proc, has to do with the demo; empty
// when it is nothing. One that ends meanwhile shows nothing, nor does one that
// has ended and only waits to be asked how.
func traceOf(process, work string, session int) string {
	// 12 (name, which may hold anything) S parent group session …
	stat := readProc(process, "stat")
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 4 || fields[0] == "Z" {
		return ""
	}
	if own := strconv.Itoa(session); fields[2] == own || fields[3] == own {
		return "it is in the demo's group or session"
	}
	for _, link := range []string{"cwd", "exe", "root"} {
		if to, _ := os.Readlink(filepath.Join(process, link)); to == work || strings.HasPrefix(to, work+"/") {
			return link + " is " + to
		}
	}
	for _, file := range []string{"cmdline", "environ"} {
		if bytes.Contains(readProc(process, file), []byte(work)) {
			return work + " is in its " + file
		}
	}
	for line := range bytes.Lines(readProc(process, "mountinfo")) {
		if bytes.Contains(line, []byte(work)) {
			return "it has the mount " + string(bytes.TrimSpace(line))
		}
	}
	return ""
}

// readProc reads a file of a process: empty when the process is gone.
func readProc(process, file string) []byte {
	text, _ := os.ReadFile(filepath.Join(process, file))
	return text
}
