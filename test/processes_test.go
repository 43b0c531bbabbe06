package test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// process is one as /proc shows it. An empty argument list is a zombie's, or
// that of one that is gone.
type process struct {
	id        int
	arguments string // NUL-separated
	parent    *process
}

// descendants returns all processes below the one with this id.
func descendants(id int) []process {
	paths, _ := filepath.Glob("/proc/[0-9]*/stat") // only a bad pattern is an error
	parents := map[int]int{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // gone already
		}
		// 12 (name, which may hold anything) S 34 …
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		parents[child], _ = strconv.Atoi(fields[1])
	}
	known := map[int]*process{id: {id: id}}
	var found []process
	for grew := true; grew; {
		grew = false
		for child, parent := range parents {
			if known[parent] == nil || known[child] != nil {
				continue
			}
			p := process{id: child, parent: known[parent]}
			p.arguments = p.read("cmdline")
			known[child] = &p
			found = append(found, p)
			grew = true
		}
	}
	return found
}

// read reads a file of the process in /proc: empty when it is gone.
func (p process) read(file string) string {
	text, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.id), file))
	return string(text)
}
