package analysis

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"

	ftypes "github.com/aquasecurity/trivy/pkg/fanal/types"
)

const nameOS = "os-release"

const (
	// esmStatus is where Ubuntu Pro notes which of its services are on.
	esmStatus = "var/lib/ubuntu-advantage/status.json"
	// rapidFort marks an image whose packages RapidFort rebuilt; it is the
	// file's presence that counts.
	rapidFort = "usr/share/rapidfort/curated.json"
)

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
		"etc/fedora-release", "usr/lib/fedora-release", "etc/oracle-release", rapidFort:
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
	// A tar may carry a path twice; the later entry is the file.
	l.result.OS = slices.DeleteFunc(l.result.OS, func(c OSCandidate) bool { return c.Path == p })
	l.result.OS = append(l.result.OS, OSCandidate{p, os})
	return nil
}

func readRelease(p, text string) (ftypes.OS, error) {
	switch path.Base(p) {
	case "os-release":
		return osRelease(text), nil
	case "debian_version":
		return firstLine(ftypes.Debian, text), nil
	case "alpine-release":
		return firstLine(ftypes.Alpine, text), nil
	case "lsb-release":
		return lsbRelease(text), nil
	case path.Base(esmStatus):
		return ubuntuPro(text)
	case path.Base(rapidFort):
		return ftypes.OS{Supplier: ftypes.SupplierRapidFort}, nil
	case "system-release":
		return systemRelease(text), nil
	}
	return redHatRelease(path.Base(p), text), nil
}

// firstLine reads a file that holds a version and no more. An empty first line
// still says which family this is.
func firstLine(family ftypes.OSType, text string) ftypes.OS {
	if text == "" {
		return ftypes.OS{}
	}
	line, _, _ := strings.Cut(text, "\n")
	return ftypes.OS{Family: family, Name: strings.TrimSuffix(line, "\r")}
}

// osReleaseFamily maps ID of os-release. Debian and Ubuntu are left to
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
		key, value, ok := strings.Cut(line, "=")
		switch key = strings.TrimSpace(key); key {
		case "ID", "NAME", "VERSION_ID":
			if ok {
				fields[key] = strings.Trim(strings.TrimSpace(value), `"'`)
			}
		}
	}
	family := osReleaseFamily(fields["ID"], fields["NAME"])
	if family == "" || fields["VERSION_ID"] == "" {
		return ftypes.OS{}
	}
	return ftypes.OS{Family: family, Name: fields["VERSION_ID"]}
}

func lsbRelease(text string) ftypes.OS {
	ubuntu := false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if line == "DISTRIB_ID=Ubuntu" {
			ubuntu = true
		}
		if release, ok := strings.CutPrefix(line, "DISTRIB_RELEASE="); ok && ubuntu {
			return ftypes.OS{Family: ftypes.Ubuntu, Name: strings.TrimSpace(release)}
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
	// What may follow the first value is no part of it.
	if err := json.NewDecoder(strings.NewReader(text)).Decode(&status); err != nil {
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
				return ftypes.OS{Family: ftypes.Amazon, Name: strings.Join(fields[3:], " ")}
			}
		case strings.HasPrefix(line, "Amazon Linux"):
			return ftypes.OS{Family: ftypes.Amazon, Name: strings.Join(fields[2:], " ")}
		}
	}
	return ftypes.OS{}
}

// redHatRelease reads Red Hat's and its relatives' files, lines like "Rocky
// Linux release 9.3 (Blue Onyx)" up to the first that is none. Each file but
// redhat-release speaks for one distribution only; that one, Oracle and others
// carry too, and merging prefers their own file.
func redHatRelease(base, text string) ftypes.OS {
	release := regexp.MustCompile(`(.*) release (\d[\d.]*)`)
	own := map[string]ftypes.OSType{
		"centos-release": ftypes.CentOS, "rocky-release": ftypes.Rocky, "almalinux-release": ftypes.Alma, "fedora-release": ftypes.Fedora,
	}
	for line := range strings.Lines(text) {
		match := release.FindStringSubmatch(strings.TrimSpace(line))
		if match == nil {
			break
		}
		family := redHatFamily(match[1])
		if base == "oracle-release" {
			family = ftypes.Oracle
		}
		if want, ok := own[base]; !ok || family == want {
			return ftypes.OS{Family: family, Name: match[2]}
		}
	}
	return ftypes.OS{}
}

func redHatFamily(name string) ftypes.OSType {
	switch strings.ToLower(name) {
	case "centos", "centos linux":
		return ftypes.CentOS
	case "rocky", "rocky linux":
		return ftypes.Rocky
	case "alma", "almalinux", "alma linux":
		return ftypes.Alma
	case "oracle", "oracle linux", "oracle linux server":
		return ftypes.Oracle
	case "fedora", "fedora linux":
		return ftypes.Fedora
	}
	return ftypes.RedHat
}
