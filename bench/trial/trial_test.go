package trial

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
)

func TestTooFewRunsAreRefused(t *testing.T) {
	if err := check(minRuns); err != nil {
		t.Errorf("%d runs: %v", minRuns, err)
	}
	if err := check(minRuns - 1); err == nil || !strings.Contains(err.Error(), "-runs=4 is too few") {
		t.Errorf("%d runs: %v; want it refused", minRuns-1, err)
	}
}

func TestItsFolderIsGoneInTheEnd(t *testing.T) {
	t.Chdir("../..")
	broken := errors.New("broken")
	var work string
	err := run(t.Context(), minRuns, func(_ context.Context, s Trial) error {
		work = s.Work
		return errors.Join(broken, os.WriteFile(work+"/file", nil, 0o600))
	})
	if !errors.Is(err, broken) {
		t.Errorf("run: %v; want what broke", err)
	}
	if _, err := os.Stat(work); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", work, err)
	}
}

func TestElsewhereThanInTheRootOfTheRepositoryItSaysSo(t *testing.T) {
	t.Chdir(t.TempDir())
	err := run(t.Context(), minRuns, func(context.Context, Trial) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "root of the repository") {
		t.Errorf("run: %v; want where it runs", err)
	}
}
