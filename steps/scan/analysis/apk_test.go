package analysis

import (
	"slices"
	"strings"
	"testing"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/google/go-cmp/cmp"
)

func TestApkDetails(t *testing.T) {
	const installed = `P:musl
V:1.2.2-r7
o:musl
p:so:libc.musl-x86_64.so.1=1
C:not base64
F:lib
R:ld.so

P:busybox
V:?
V:1.34-r0
D:!uclibc so:libc.musl-x86_64.so.1>=1 musl unknown
R:in-the-last-directory

P:musl
V:9.9-r9
R:of-a-second-one
`
	db := newApkDatabase(&listing{})
	err := db.read(installed)
	if err == nil || !strings.Contains(err.Error(), `busybox: "?"`) {
		t.Errorf("error %v; want one about busybox's first version", err)
	}
	want := ftypes.Packages{
		{ID: "musl@1.2.2-r7", Name: "musl", Version: "1.2.2-r7", SrcName: "musl", SrcVersion: "1.2.2-r7", InstalledFiles: []string{"lib/ld.so"}, AnalyzedBy: "apk"},
		{ID: "busybox@1.34-r0", Name: "busybox", Version: "1.34-r0", DependsOn: []string{"musl@1.2.2-r7", "musl@9.9-r9"}, InstalledFiles: []string{"lib/in-the-last-directory"}, AnalyzedBy: "apk"},
	}
	if diff := cmp.Diff(want, db.pkgs); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
	if !slices.Contains(db.installed, "lib/of-a-second-one") {
		t.Errorf("installed files %v; want those of the second musl too", db.installed)
	}
}
