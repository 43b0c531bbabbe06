package docker

import (
	"slices"
	"strings"
	"testing"
)

func TestTheContainerWeRunInIsKnownByItsCgroupsAndMounts(t *testing.T) {
	own, shared := strings.Repeat("a1", 32), strings.Repeat("b2", 32)
	mounts := func(id string) string {
		return "1 2 0:30 / / rw - overlay overlay rw\n" +
			"3 1 8:1 /var/lib/docker/containers/" + id + "/resolv.conf /etc/resolv.conf rw - ext4 /dev/sda1 rw\n" +
			"4 1 8:1 /var/lib/docker/containers/" + id + "/hosts /etc/hosts rw - ext4 /dev/sda1 rw\n"
	}
	for _, tc := range []struct {
		name, cgroup, mountinfo string
		want                    []string
	}{
		{"version 2, as it is seen from inside", "0::/\n", mounts(own), []string{own}},
		{"version 1", "5:memory:/docker/" + own + "\n0::/docker/" + own + "\n", mounts(own), []string{own}},
		{"systemd's names", "0::/system.slice/docker-" + own + ".scope\n", "", []string{own}},
		{"the network of another container", "2:cpu:/docker/" + own + "\n", mounts(shared), []string{own, shared}},
		{"no container", "0::/user.slice/session-1.scope\n", "1 2 8:1 / / rw - ext4 /dev/sda1 rw\n", nil},
		{"another's folder in a volume", "0::/\n", "3 1 8:1 /var/lib/docker/containers/" + shared + "/x /mnt rw - ext4 /dev/sda1 rw\n", nil},
		{"what is no id", "0::/docker/../../etc\n", "3 1 8:1 /containers/../hosts /etc/hosts rw - ext4 /dev/sda1 rw\nshort\n", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ownContainers(write(t, map[string]string{"cgroup": tc.cgroup, "mountinfo": tc.mountinfo}))
			if err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("ownContainers() = %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}
