package main

import (
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"os"
	"slices"
	"strings"
)

// size is that of a program in MB, 10⁶ bytes.
type size struct {
	figure string // in the BENCH lines
	what   string // for people
	mb     float64
	goal   float64
}

// variantTag is what adds the caches of the large clouds to the program.
const variantTag = "caches"

// measureSizes measures both forms of imagewright-build, once it is sure which
// is which.
func measureSizes(p programs) ([]size, error) {
	var sizes []size
	for _, program := range []struct {
		path, figure, what string
		variant            bool
		goal               float64
	}{
		{p.build, "size-mb", "imagewright-build: registry, local, inline and gha caches", false, 42},
		{p.variant, "size-caches-mb", "the same with the tag caches: s3 and azblob too", true, 52},
	} {
		if err := checkForm(program.path, program.variant); err != nil {
			return nil, err
		}
		info, err := os.Stat(program.path)
		if err != nil {
			return nil, err
		}
		sizes = append(sizes, size{program.figure, program.what, float64(info.Size()) / 1e6, program.goal})
	}
	return sizes, nil
}

// checkForm checks that a program is stripped and has the variant's tag or has
// it not.
func checkForm(path string, variant bool) error {
	file, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	for _, section := range []string{".symtab", ".debug_info", ".zdebug_info"} {
		if file.Section(section) != nil {
			return fmt.Errorf("%s is not stripped, it has %s; run: make build", path, section)
		}
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return err
	}
	var tags []string
	for _, setting := range info.Settings {
		if setting.Key == "-tags" {
			tags = strings.Split(setting.Value, ",")
		}
	}
	if slices.Contains(tags, variantTag) != variant {
		return fmt.Errorf("%s was built with the tags %q; only the variant should have %s", path, tags, variantTag)
	}
	return nil
}
