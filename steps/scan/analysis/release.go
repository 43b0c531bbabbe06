package analysis

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
)

const nameOS = "os-release"

// esmStatus is where Ubuntu Pro notes which of its services are on.
const esmStatus = "var/lib/ubuntu-advantage/status.json"

// maxOSName bounds a distribution's version (bytes): it is shown everywhere.
const maxOSName = 128

// releaseFile reports whether the file at p says which distribution this is.
func releaseFile(p string) bool {
	switch p {
	case "etc/os-release", "usr/lib/os-release",
		"aarch64-bottlerocket-linux-gnu/sys-root/usr/lib/os-release",
		"x86_64-bottlerocket-linux-gnu/sys-root/usr/lib/os-release",
		"etc/debian_version", "etc/lsb-release", esmStatus, "etc/alpine-release",
		"etc/system-release", "usr/lib/system-release",
		"etc/redhat-release", "etc/centos-release", "etc/rocky-release", "etc/almalinux-release",
		"etc/fedora-release", "usr/lib/fedora-release", "etc/oracle-release":
		return true
	}
	return false
}

// release notes what the release file at p says. One that says nothing is no
// problem: many distributions ship another's file. Packages without any
// distribution are refused when they are matched.
func (l *layer) release(_ context.Context, p string, c *content) error {
	data, err := c.bytes()
	if err != nil {
		return err
	}
	os, err := readRelease(p, string(data))
	if err != nil {
		return err
	}
	if os == (ftypes.OS{}) || len(os.Name) > maxOSName || strings.ContainsFunc(os.Name, unicode.IsControl) {
		return nil
	}
	l.result.OS = append(l.result.OS, OSCandidate{p, os})
	return nil
}

func readRelease(p, text string) (ftypes.OS, error) {
	switch path.Base(p) {
	case "os-release":
		return osRelease(text), nil
	case "debian_version":
		return named(ftypes.Debian, firstLine(text)), nil
	case "alpine-release":
		return named(ftypes.Alpine, firstLine(text)), nil
	case "lsb-release":
		return lsbRelease(text), nil
	case "status.json":
		return ubuntuPro(text)
	case "system-release":
		return systemRelease(text), nil
	}
	return redHatRelease(path.Base(p), firstLine(text)), nil
}

func named(family ftypes.OSType, name string) ftypes.OS {
	if name == "" {
		return ftypes.OS{}
	}
	return ftypes.OS{Family: family, Name: name}
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return strings.TrimSuffix(line, "\r")
}

// osReleaseFamilies maps ID of os-release. Debian and Ubuntu are left to
// debian_version and lsb-release, which alone tell point releases; so does Trivy.
func osReleaseFamily(id, name string) ftypes.OSType {
	switch id {
	case "rhel":
		return ftypes.RedHat
	case "centos":
		if name == "CentOS Stream" {
			return ftypes.CentOSStream
		}
		return ftypes.CentOS
	case "almalinux":
		return ftypes.Alma
	case "ol":
		return ftypes.Oracle
	case "opensuse", "opensuse-leap": // Leap 42 and Leap 15
		return ftypes.OpenSUSELeap
	case "sle-micro", "sl-micro", "sle-micro-rancher":
		return ftypes.SLEMicro
	case "mariner":
		return ftypes.CBLMariner
	case "activestate", "rocky", "fedora", "alpine", "bottlerocket", "opensuse-tumbleweed", "sles",
		"photon", "wolfi", "chainguard", "azurelinux", "echo", "minimos", "coreos":
		return ftypes.OSType(id) // Trivy's name is the same
	}
	return ""
}

func osRelease(text string) ftypes.OS {
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, "="); ok {
			fields[strings.TrimSpace(key)] = strings.Trim(strings.TrimSpace(value), `"'`)
		}
	}
	family := osReleaseFamily(fields["ID"], fields["NAME"])
	if family == "" {
		return ftypes.OS{}
	}
	return named(family, fields["VERSION_ID"])
}

func lsbRelease(text string) ftypes.OS {
	ubuntu := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if line == "DISTRIB_ID=Ubuntu" {
			ubuntu = true
		}
		if release, ok := strings.CutPrefix(line, "DISTRIB_RELEASE="); ok && ubuntu {
			return named(ftypes.Ubuntu, strings.TrimSpace(release))
		}
	}
	return ftypes.OS{}
}

// ubuntuPro: with security maintenance on, other advisories apply.
func ubuntuPro(text string) (ftypes.OS, error) {
	var status struct {
		Services []struct {
			Name   string `json:"name"`
			Status string `json:"status"`
		} `json:"services"`
	}
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		return ftypes.OS{}, fmt.Errorf("status of Ubuntu Pro: %w", err)
	}
	for _, s := range status.Services {
		if s.Name == "esm-infra" && s.Status == "enabled" {
			return ftypes.OS{Family: ftypes.Ubuntu, Extended: true}, nil
		}
	}
	return ftypes.OS{}, nil
}

// systemRelease knows Amazon Linux alone: "Amazon Linux release 2 (Karoo)",
// "Amazon Linux release 2023 (Amazon Linux)", "Amazon Linux AMI release 2018.03".
func systemRelease(text string) ftypes.OS {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "Amazon Linux release 2"):
			if len(fields) >= 5 {
				return named(ftypes.Amazon, strings.Join(fields[3:], " "))
			}
		case strings.HasPrefix(line, "Amazon Linux"):
			return named(ftypes.Amazon, strings.Join(fields[2:], " "))
		}
	}
	return ftypes.OS{}
}

// redHatRelease reads the one line of Red Hat's and its relatives' files, like
// "Rocky Linux release 9.3 (Blue Onyx)". Oracle and others also carry
// redhat-release; merging prefers their own file.
func redHatRelease(base, line string) ftypes.OS {
	match := regexp.MustCompile(`(.*) release (\d[\d.]*)`).FindStringSubmatch(strings.TrimSpace(line))
	if match == nil {
		return ftypes.OS{}
	}
	var family ftypes.OSType
	switch strings.ToLower(match[1]) {
	case "centos", "centos linux":
		family = ftypes.CentOS
	case "rocky", "rocky linux":
		family = ftypes.Rocky
	case "alma", "almalinux", "alma linux":
		family = ftypes.Alma
	case "oracle", "oracle linux", "oracle linux server":
		family = ftypes.Oracle
	case "fedora", "fedora linux":
		family = ftypes.Fedora
	default:
		family = ftypes.RedHat
	}
	// Each file but redhat-release speaks for one distribution only.
	own := map[string]ftypes.OSType{
		"centos-release": ftypes.CentOS, "rocky-release": ftypes.Rocky, "almalinux-release": ftypes.Alma, "fedora-release": ftypes.Fedora,
	}
	switch want, ok := own[base]; {
	case base == "oracle-release":
		family = ftypes.Oracle
	case ok && family != want:
		return ftypes.OS{}
	}
	return named(family, match[2])
}
