package remote

import (
	"slices"
	"strings"
	"testing"

	"github.com/imagewright/imagewright/internal/fault"
)

func TestAddressesAreWrittenAsTheyAreRead(t *testing.T) {
	for _, s := range []string{
		"tcp://buildkitd:1234",
		"tcp://127.0.0.1:1234",
		"tcp://[::1]:1234",
		"unix:///run/buildkit/buildkitd.sock",
		"unix:///run/a%20b.sock",
		"ssh://builder",
		"ssh://me@builder.example.com:2222/run/user/1000/buildkit/buildkitd.sock",
		"ssh://[fe80::1]",
		"kube-pod://buildkitd-0",
		"kube-pod://buildkitd-0?container=buildkitd&context=user%40cluster&namespace=ci",
	} {
		a, err := ParseAddress(s)
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		if s == "unix:///run/a%20b.sock" { // the percent sign is part of the name
			if a.socket != "/run/a%20b.sock" {
				t.Errorf("%s is socket %q", s, a.socket)
			}
			continue
		}
		if a.String() != s {
			t.Errorf("%s is read as %s", s, a)
		}
	}
}

func TestBadAddressesAreUsageErrors(t *testing.T) {
	for s, want := range map[string]string{
		"mybuilder":                           "no address",
		"http://buildkitd:1234":               "scheme http is not known",
		"tcp://buildkitd":                     "port is missing",
		"tcp://:1234":                         "host's name",
		"tcp://-oProxyCommand=x:1234":         "host's name",
		"tcp://buildkitd:70000":               "1 to 65535",
		"tcp://buildkitd:1234/path":           "only a host and a port",
		"tcp://buildkitd:1234?x=y":            "only a host and a port",
		"unix://run/buildkitd.sock":           "three slashes",
		"unix:///" + strings.Repeat("a", 107): "room for 107",
		"ssh://-oProxyCommand=touch_x":        "host's name",
		"ssh://-l@builder":                    "user's name",
		"ssh://a%20b@builder":                 "user's name",
		"ssh://builder/run/$(touch x).sock":   "socket may hold",
		"ssh://builder?x=y":                   "no query",
		"ssh://builder#x":                     "well-formed",
		"kube-pod://":                         "name of a pod",
		"kube-pod://--kubeconfig":             "name of a pod",
		"kube-pod://pod?namespace=-n":         "name of a namespace",
		"kube-pod://pod?container=a_b":        "name of a container",
		"kube-pod://pod?pods=x":               `"pods" may not stand`,
		"kube-pod://pod?context=a&context=b":  "not twice",
		"tcp://%zz:1234":                      "well-formed",
	} {
		_, err := ParseAddress(s)
		if err == nil {
			t.Errorf("%s is accepted", s)
			continue
		}
		if !strings.Contains(err.Error(), want) || fault.Code(err) != fault.ExitUsage || !strings.Contains(fault.Hint(err), "tcp://HOST:PORT") {
			t.Errorf("%s: exit %d, %q, hint %q; want %q in it, exit 2 and what is accepted", s, fault.Code(err), err, fault.Hint(err), want)
		}
	}
}

func TestNoPasswordOfAnAddressIsPrinted(t *testing.T) {
	for _, s := range []string{"tcp://u:hunter2@h:1", "ssh://u:hunter2@h", "ssh://u:hun@ter2@h", "ftp://u:hunter2@h", "ssh://u:hunter2%zz@h"} {
		_, err := ParseAddress(s)
		if err == nil || strings.Contains(err.Error(), "ter2") {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func TestArgumentsOfTheCommands(t *testing.T) {
	for s, want := range map[string][]string{
		"ssh://builder": {"-T", "-a", "-x", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=30", "--", "builder", "buildctl", "dial-stdio"},
		"ssh://me@builder:22/run/b.sock": {"-T", "-a", "-x", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=30",
			"-l", "me", "-p", "22", "--", "builder", "buildctl", "--addr", "unix:///run/b.sock", "dial-stdio"},
		"kube-pod://pod": {"exec", "-i", "pod", "--", "buildctl", "dial-stdio"},
		"kube-pod://pod?namespace=ci&container=b&context=a@c": {"--context=a@c", "--namespace=ci", "exec", "-i", "--container=b", "pod", "--", "buildctl", "dial-stdio"},
	} {
		a, err := ParseAddress(s)
		if err != nil {
			t.Fatal(err)
		}
		got := a.sshArguments()
		if a.scheme == "kube-pod" {
			got = a.kubectlArguments()
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s runs with %q, want %q", s, got, want)
		}
	}
}
