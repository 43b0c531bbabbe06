//go:build thief && linux

package thief

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

// Where a test leaves the scene for a program that it does not start itself, and
// where it finds what came of it: a line of JSON, an [Outcome], for each way.
const (
	ScenePath    = "/run/thief/scene.json"
	OutcomesPath = "/run/thief/outcomes.jsonl"
)

// Outcome is what came of one way.
type Outcome struct {
	Name string
	Why  string // it failed; "" if it succeeded
}

// Planted is a thief in a real program.
type Planted struct {
	scene    Scene
	outcomes *os.File
}

// Open is called before the process is confined, for the thief to know its
// surroundings and to be able to tell: nothing else is opened. It returns nil
// where no test left a scene.
func Open() (*Planted, error) {
	data, err := os.ReadFile(ScenePath)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	p := &Planted{}
	if err == nil {
		err = json.Unmarshal(data, &p.scene)
	}
	p.scene.Parent = os.Getppid()
	if err == nil {
		p.outcomes, err = os.OpenFile(OutcomesPath, os.O_WRONLY|os.O_APPEND, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("plant a thief: %w", err)
	}
	return p, nil
}

// Steal is called when the process is confined. It tries all ways, and tells.
func (p *Planted) Steal(ctx context.Context) error {
	if p == nil {
		return nil
	}
	p.scene.Scratch = os.TempDir() // which the program made itself
	to := json.NewEncoder(p.outcomes)
	for _, way := range Ways(p.scene) {
		o := Outcome{Name: way.Name}
		if err := way.Run(ctx); err != nil {
			o.Why = err.Error()
		}
		if err := to.Encode(o); err != nil {
			return err
		}
	}
	return p.outcomes.Close()
}
