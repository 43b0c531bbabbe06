package differential

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/aquasecurity/trivy/pkg/clock"
	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"

	"github.com/imagewright/imagewright/steps/scan/analysis"
	"github.com/imagewright/imagewright/steps/scan/detection"
)

// The two programs are compared at today's date, because Trivy's takes no other.
// What ours says on the last day of a release and on the one after it is held to
// the dates that its maker published.
func TestEndOfLifeComesWithTheDay(t *testing.T) {
	cache := t.TempDir()
	newSources(t).writeDatabases(t, cache)
	db, err := detection.Open(filepath.Join(cache, "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	date := func(year int, month time.Month, day int) time.Time {
		return time.Date(year, month, day, 12, 0, 0, 0, time.UTC)
	}
	for _, tc := range []struct {
		family   ftypes.OSType
		release  string
		extended bool
		last     time.Time // zero: it has no end
	}{
		{ftypes.Debian, "9.13", false, date(2022, 6, 30)},
		{ftypes.Debian, "10.13", false, date(2024, 6, 30)},
		{ftypes.Debian, "12.5", false, date(2028, 6, 10)},
		{ftypes.Ubuntu, "16.04", false, date(2021, 4, 21)},
		{ftypes.Ubuntu, "16.04", true, date(2026, 4, 29)},
		{ftypes.Ubuntu, "20.04", false, date(2025, 5, 31)},
		{ftypes.Alpine, "3.12.0", false, date(2022, 5, 1)},
		{ftypes.Alpine, "3.19.1", false, date(2025, 11, 1)},
		{ftypes.Alpine, "edge", false, time.Time{}},
		{ftypes.CentOS, "7.6.1810", false, date(2024, 6, 30)},
		{ftypes.CentOS, "8.2.2004", false, date(2021, 12, 31)},
		{ftypes.RedHat, "6.10", false, date(2024, 6, 30)},
		{ftypes.Amazon, "2 (Karoo)", false, date(2026, 6, 30)},
		{ftypes.Amazon, "2023 (Amazon Linux)", false, date(2028, 3, 15)},
		{ftypes.SLES, "15.3", false, date(2022, 12, 31)},
		{ftypes.OpenSUSELeap, "15.3", false, date(2022, 11, 30)},
		{ftypes.Photon, "1.0", false, date(2022, 2, 28)},
		{ftypes.Wolfi, "20230201", false, time.Time{}},
	} {
		name := string(tc.family) + " " + tc.release
		if tc.extended {
			name += " extended"
		}
		t.Run(name, func(t *testing.T) {
			detail := &analysis.Detail{
				OS:       ftypes.OS{Family: tc.family, Name: tc.release, Extended: tc.extended},
				Packages: ftypes.Packages{{ID: "hello@1-1", Name: "hello", Version: "1", Release: "1", SrcName: "hello", SrcVersion: "1", SrcRelease: "1"}},
			}
			ended := func(at time.Time) bool {
				t.Helper()
				_, ended, err := db.Detect(clock.With(t.Context(), at), detail, detection.Options{})
				if err != nil {
					t.Fatal(err)
				}
				return ended
			}
			if tc.last.IsZero() {
				if far := date(2900, 1, 1); ended(far) {
					t.Errorf("at its end on %s; it has none", far)
				}
				return
			}
			if ended(tc.last) {
				t.Errorf("at its end on %s already, its last day", tc.last)
			}
			if next := tc.last.AddDate(0, 0, 1); !ended(next) {
				t.Errorf("not at its end on %s", next)
			}
		})
	}
}
