// Command program is a Go program with a module in it, for the tests.
package main

import (
	"fmt"

	"github.com/Masterminds/semver/v3"
)

func main() { fmt.Println(semver.MustParse("1.2.3")) }
