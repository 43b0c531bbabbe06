package dockerd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/pkg/cap"
)

// lessScript is a runtime that runs runc after it has taken from the
// specifications it is given what runc could not grant.
const lessScript = `#!/bin/sh
set -e
before=
for argument in "$@"; do
	case $before in
	--bundle) sed -i %[1]s "$argument/config.json" ;;
	--process) sed -i %[1]s "$argument" ;;
	esac
	before=$argument
done
exec %[2]s "$@"
`

// runtimeArguments are those with which an engine can use runc here; dir is for what they need. Docker
// 20.10 gives privileged containers every capability that the kernel knows, and
// runc fails where this machine's root, a container's perhaps, lacks one.
func runtimeArguments(dir string) ([]string, error) {
	have, err := cap.Current()
	if err != nil {
		return nil, err
	}
	var edits strings.Builder
	for _, name := range cap.Known() {
		if !slices.Contains(have, name) {
			fmt.Fprintf(&edits, ` -e 's/"%[1]s",//g' -e 's/,"%[1]s"//g'`, name)
		}
	}
	if edits.Len() == 0 {
		return nil, nil
	}
	runc, err := exec.LookPath("runc")
	if err != nil {
		return nil, err
	}
	script := filepath.Join(dir, "less")
	if err := os.WriteFile(script, fmt.Appendf(nil, lessScript, edits.String(), runc), 0o700); err != nil {
		return nil, err
	}
	return []string{"--add-runtime=less=" + script, "--default-runtime=less"}, nil
}
