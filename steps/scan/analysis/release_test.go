package analysis

import (
	"slices"
	"testing"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
	"github.com/google/go-cmp/cmp"
)

const debianOSRelease = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n"

func TestLayerKnowsTheDistribution(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files []file
		want  ftypes.OS
	}{
		{"Debian", []file{{path: "etc/debian_version", content: "12.5\n"}, {path: "usr/lib/os-release", content: debianOSRelease}}, ftypes.OS{Family: ftypes.Debian, Name: "12.5"}},
		{"Debian's os-release alone has no point release", []file{{path: "usr/lib/os-release", content: debianOSRelease}}, ftypes.OS{}},
		{"Ubuntu over the Debian it comes from", []file{
			{path: "etc/lsb-release", content: "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=22.04\nDISTRIB_CODENAME=jammy\n"},
			{path: "etc/debian_version", content: "bookworm/sid\n"}}, ftypes.OS{Family: ftypes.Ubuntu, Name: "22.04"}},
		{"Ubuntu Pro", []file{
			{path: "var/lib/ubuntu-advantage/status.json", content: `{"services":[{"name":"esm-infra","status":"enabled"}]}`},
			{path: "etc/debian_version", content: "buster/sid\n"},
			{path: "etc/lsb-release", content: "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=18.04\n"}}, ftypes.OS{Family: ftypes.Ubuntu, Name: "18.04", Extended: true}},
		{"Alpine", []file{{path: "etc/alpine-release", content: "3.15.0\n"}}, ftypes.OS{Family: ftypes.Alpine, Name: "3.15.0"}},
		{"Wolfi", []file{{path: "etc/os-release", content: "ID=wolfi\nVERSION_ID=\"20230201\"\n"}}, ftypes.OS{Family: ftypes.Wolfi, Name: "20230201"}},
		{"CentOS Stream by its name", []file{
			{path: "etc/redhat-release", content: "CentOS Stream release 9\n"},
			{path: "usr/lib/os-release", content: "NAME=\"CentOS Stream\"\nID=\"centos\"\nVERSION_ID=\"9\"\n"}}, ftypes.OS{Family: ftypes.CentOSStream, Name: "9"}},
		{"Oracle over the Red Hat it carries", []file{
			{path: "etc/oracle-release", content: "Oracle Linux Server release 8.5\n"},
			{path: "etc/redhat-release", content: "Red Hat Enterprise Linux release 8.5 (Ootpa)\n"}}, ftypes.OS{Family: ftypes.Oracle, Name: "8.5"}},
		{"Rocky's file speaks for Rocky", []file{{path: "etc/rocky-release", content: "Rocky Linux release 9.3 (Blue Onyx)\n"}}, ftypes.OS{Family: ftypes.Rocky, Name: "9.3"}},
		{"Amazon Linux 2", []file{{path: "etc/system-release", content: "Amazon Linux release 2 (Karoo)\n"}}, ftypes.OS{Family: ftypes.Amazon, Name: "2 (Karoo)"}},
		{"no control characters", []file{{path: "etc/debian_version", content: "12\x1b[2J\n"}}, ftypes.OS{}},
		{"Amazon Linux 2023", []file{{path: "usr/lib/system-release", content: "Amazon Linux release 2023.3.20240131 (Amazon Linux)\n"}}, ftypes.OS{Family: ftypes.Amazon, Name: "2023.3.20240131 (Amazon Linux)"}},
		{"Amazon Linux 1", []file{{path: "etc/system-release", content: "Amazon Linux AMI release 2018.03\n"}}, ftypes.OS{Family: ftypes.Amazon, Name: "AMI release 2018.03"}},
		{"a later line of Alma's file", []file{{path: "etc/almalinux-release", content: "Derived from RHEL release 8.5\nAlmaLinux release 8.5 (Arctic Sphynx)\nx\n"}}, ftypes.OS{Family: ftypes.Alma, Name: "8.5"}},
		{"not after a line that is none", []file{{path: "etc/centos-release", content: "# x\nCentOS Linux release 7.9.2009 (Core)\n"}}, ftypes.OS{}},
		{"Oracle's file under any name", []file{{path: "etc/oracle-release", content: "Something release 9.1\n"}}, ftypes.OS{Family: ftypes.Oracle, Name: "9.1"}},
		{"Echo over the Debian it comes from", []file{{path: "etc/debian_version", content: "12\n"}, {path: "etc/os-release", content: "ID=echo\nVERSION_ID='1'\n"}}, ftypes.OS{Family: ftypes.Echo, Name: "1"}},
		{"CoreOS", []file{{path: "usr/lib/os-release", content: "ID=coreos\nVERSION_ID=1\n"}}, ftypes.OS{Family: ftypes.CoreOS, Name: "1"}},
		{"no release without VERSION_ID", []file{{path: "etc/os-release", content: "ID=wolfi\n"}}, ftypes.OS{}},
		{"a family with an empty version", []file{{path: "etc/debian_version", content: "\n"}}, ftypes.OS{Family: ftypes.Debian}},
		{"packages that RapidFort rebuilt", []file{{path: "usr/share/rapidfort/curated.json", content: "anything"}, {path: "etc/debian_version", content: "12.1\n"}}, ftypes.OS{Family: ftypes.Debian, Name: "12.1", Supplier: ftypes.SupplierRapidFort}},
		{"text after Ubuntu Pro's status", []file{{path: esmStatus, content: `{"services":[{"name":"esm-infra","status":"enabled"}]} x`}}, ftypes.OS{Family: ftypes.Ubuntu, Extended: true}},
		{"an empty file", []file{{path: "etc/alpine-release"}}, ftypes.OS{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := analysed(t, Options{}, tc.files...).system(); got != tc.want {
				t.Errorf("system is %+v, want %+v", got, tc.want)
			}
			slices.Reverse(tc.files)
			if got := analysed(t, Options{}, tc.files...).system(); got != tc.want {
				t.Errorf("with the files in reverse, system is %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestRepositoriesNameTheNewestAlpine(t *testing.T) {
	for _, tc := range []struct {
		name, content string
		want          *ftypes.Repository
	}{
		{"newest", "https://dl-cdn.alpinelinux.org/alpine/v3.9/main\nhttps://dl-cdn.alpinelinux.org/alpine/v3.19/main\n", &ftypes.Repository{Family: "alpine", Release: "3.19"}},
		{"edge is newer than all", "http://x.org/alpine/edge/main\nhttp://x.org/alpine/v3.19/main\n", &ftypes.Repository{Family: "alpine", Release: "edge"}},
		{"a vendor's repository beside Alpine's", "https://x.org/alpine/v3.19/main\nhttps://nginx.org/packages/alpine/v3.11/main\n", nil},
		{"another distribution's", "https://packages.wolfi.dev/os/\nhttps://x.org/wolfi/v1/main\n", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := analysed(t, Options{}, file{path: "etc/apk/repositories", content: tc.content})
			if diff := cmp.Diff(tc.want, r.Repository); diff != "" {
				t.Errorf("repository (-want +got):\n%s", diff)
			}
		})
	}
}
