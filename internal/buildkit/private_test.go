package buildkit

import (
	"errors"
	"fmt"
	"os"
	"testing"
)

func TestAPrivateStateIsNobodyElsesAndGoesWithItsEngine(t *testing.T) {
	shared := options(t, t.TempDir())
	first := start(t, shared)
	defer stop(t, first)
	o := shared
	o.Private = true
	one, two := start(t, o), start(t, o)
	if one.Joined() || two.Joined() || one.StateDir() == two.StateDir() {
		t.Errorf("private states %s (joined: %v) and %s (joined: %v)", one.StateDir(), one.Joined(), two.StateDir(), two.Joined())
	}
	dir := buildContext(t, fmt.Sprintf(quick, "x"), nil)
	mustBuild(t, first, dir, newLayout(t), "1700000000")
	if _, ran := mustBuild(t, one, dir, newLayout(t), "1700000000"); len(ran) < 2 {
		t.Errorf("a new state had steps already; only %q ran", ran)
	}
	stop(t, one)
	stop(t, two)
	for _, e := range []*Engine{one, two} {
		if left, err := os.ReadDir(e.StateDir()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a private state is left: %v, %v", left, err)
		}
	}
}

func TestAPrivateStateOfAKilledEngineIsSwept(t *testing.T) {
	o := options(t, t.TempDir())
	private := o
	private.Private = true
	killed, alive := start(t, private), start(t, private)
	mustBuild(t, killed, buildContext(t, fmt.Sprintf(quick, "x"), nil), newLayout(t), "1700000000")
	killed.process.Kill()
	<-killed.exited
	killed.Close()
	stop(t, start(t, o))
	e := start(t, o)
	eventually(t, func() string {
		if _, err := os.Stat(killed.StateDir()); err == nil {
			return killed.StateDir()
		}
		return ""
	})
	mustBuild(t, alive, buildContext(t, fmt.Sprintf(quick, "y"), nil), newLayout(t), "1700000000")
	stop(t, alive)
	stop(t, e)
}
