package analysis

import "testing"

func TestGlobsSayWhatIsSkipped(t *testing.T) {
	o := Options{SkipDirs: []string{"/opt/vendor", "**/testdata"}, SkipFiles: []string{"app/*.jar", "/etc/motd"}}
	for p, want := range map[string]bool{
		"opt/vendor/a/package.json": true,
		"opt/vendor":                false, // a file of that name is no directory
		"opt/vendors/package.json":  false,
		"srv/a/testdata/b/c.jar":    true,
		"app/x.jar":                 true,
		"app/lib/x.jar":             false,
		"etc/motd":                  true,
	} {
		if got := o.skipped(p); got != want {
			t.Errorf("%s is skipped: %v, want %v", p, got, want)
		}
	}
}
