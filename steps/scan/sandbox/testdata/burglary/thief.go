//go:build thief && linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/imagewright/imagewright/steps/scan/sandbox"
	"github.com/imagewright/imagewright/steps/scan/sandbox/thief"
)

// beThief confines itself, as an honest program does before it reads anything,
// and then tries one way.
func beThief() error {
	o, err := receive()
	if err != nil {
		return err
	}
	out := os.NewFile(reportFD, "report")
	if !o.Plan.Naked {
		status, err := sandbox.Enter(o.Options)
		if err != nil {
			return err
		}
		line, err := json.Marshal(status)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "status: %s\n", line)
	}
	for _, way := range thief.Ways(o.Scene) {
		if way.Name != o.Way {
			continue
		}
		if err := way.Run(context.Background()); err != nil {
			_, err := fmt.Fprintf(out, "%q\n", err.Error()) // one line
			return err
		}
		_, err := fmt.Fprint(out, thief.Said)
		return err
	}
	return fmt.Errorf("there is no way %q", o.Way)
}
