//go:build !linux

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"github.com/imagewright/imagewright/internal/fault"
)

// Command is for Linux; elsewhere it returns [errors.ErrUnsupported].
func Command(context.Context, CommandOptions) (*exec.Cmd, error) {
	return nil, fmt.Errorf("start a confined process: %w", errors.ErrUnsupported)
}

// Enter confines nothing here, which it tells.
func Enter(o Options) (Status, error) {
	if o.Mode == Off {
		return Status{Off: true}, nil
	}
	if o.Mode == Require {
		return Status{}, fault.Failed(errors.New("the process that reads the image cannot be confined: this system is not Linux"),
			"sandbox=auto goes on with what there is")
	}
	return Status{Gaps: []string{"a sandbox (this system is not Linux)"}}, nil
}
