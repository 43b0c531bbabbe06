package differential

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// dpkg is a paragraph of dpkg's status. Fields are further lines.
func dpkg(name, version string, fields ...string) string {
	return fmt.Sprintf("Package: %s\nStatus: install ok installed\nPriority: optional\nSection: libs\nArchitecture: amd64\nVersion: %s\n%sDescription: a package\n more of it\n\n",
		name, version, strings.Join(append(fields, ""), "\n"))
}

func debianFixtures(src sources) []fixture {
	glibc := dpkg("libc6", "2.36-9+deb12u1", "Source: glibc", "Maintainer: GNU Libc Maintainers <debian-glibc@lists.debian.org>", "Depends: libgcc-s1, libcrypt1 (>= 1:4.4.10-10~)", "Multi-Arch: same")
	zlib := dpkg("zlib1g", "1:1.2.13.dfsg-1", "Source: zlib", "Depends: libc6 (>= 2.14)")
	release := func(version string) *layer {
		return run("ADD rootfs.tar.xz /").dir("etc").text("etc/debian_version", version+"\n").symlink("etc/os-release", "../usr/lib/os-release").
			text("usr/lib/os-release", "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n")
	}
	kept := func(name string) fixture {
		return fixture{name: "debian-trivys-" + name, layers: func(t *testing.T) []*layer {
			return []*layer{release("12.1").archive(t, "", filepath.Join(src.analyzer("pkg/dpkg"), name+".txtar")), run("RUN nothing else").text("srv/hello.txt", "hello, world\n")}
		}}
	}
	return []fixture{
		kept("valid"), kept("only-apt"), kept("digest"), kept("third-party"), kept("md5sums"), kept("corrupsed"),
		{name: "debian", base: debian},
		{name: "debian-application", base: debian, layers: func(t *testing.T) []*layer {
			return []*layer{
				run("ENV LANG=C.UTF-8"),
				run("RUN pip install").tree(t, "usr/local/lib/python3.11/site-packages", src.analyzer("language/python/packaging")),
				run("COPY app /app").tree(t, "app", src.analyzer("language/nodejs/pkg")).
					file(t, "usr/local/bin/tool", filepath.Join(src.analyzer("language/golang/binary"), "executable_gobinary")),
			}
		}},
		{name: "debian-distroless", quick: true, base: distroless},
		{name: "debian-trivys-distroless", base: src.image("distroless.tar.gz"), archive: true},
		{name: "debian-trivys-vulnerable", base: src.image("vuln-image.tar.gz"), archive: true},
		{name: "debian-third-party", quick: true, archive: true, layers: func(t *testing.T) []*layer {
			return []*layer{
				release("12.5").text("var/lib/dpkg/status", glibc+zlib),
				run("RUN apt-get install docker-ce gh vault").text("var/lib/dpkg/status", glibc+zlib+
					dpkg("docker-ce", "5:24.0.5-1~debian.12~bookworm", "Maintainer: Docker <support@docker.com>", "Depends: libc6 (>= 2.34)")+
					dpkg("gh", "2.40.1", "Maintainer: GitHub")+
					dpkg("vault", "1.15.0-1", "Maintainer: HashiCorp")+
					dpkg("nodejs", "20.10.0-1nodesource1", "Maintainer: Ivan Iguaran <ivan@nodesource.com>")+
					dpkg("openssl", "3.0.11-1~deb12u1", "Maintainer: Debian OpenSSL Team <pkg-openssl-devel@alioth-lists.debian.net>")).
					text("var/lib/dpkg/info/nodejs.md5sums", "d41d8cd98f00b204e9800998ecf8427e  usr/lib/node_modules/npm/package.json\n").
					text("usr/lib/node_modules/npm/package.json", `{"name": "minimist", "version": "1.2.5"}`).
					text("var/lib/dpkg/info/openssl.md5sums", "d41d8cd98f00b204e9800998ecf8427e  usr/lib/node_modules/lodash/package.json\n").
					text("usr/lib/node_modules/lodash/package.json", `{"name": "lodash", "version": "4.17.20"}`),
			}
		}},
		{name: "debian-odd-status", layers: func(*testing.T) []*layer {
			return []*layer{release("12.5").text("var/lib/dpkg/status",
				glibc+
					strings.Replace(dpkg("removed", "1.0-1"), "install ok installed", "deinstall ok config-files", 1)+
					strings.Replace(dpkg("purged", "1.0-1"), "install ok installed", "purge ok not-installed", 1)+
					strings.Replace(dpkg("half", "1.0-1"), "install ok installed", "install ok half-configured", 1)+
					dpkg("native", "7.0")+dpkg("epochs", "2:1.0-1", "Source: other (1:0.9-2)")+
					dpkg("binnmu", "1.0-1+b2", "Source: binnmu (1.0-1)")+
					"\n\n"+strings.ReplaceAll(dpkg("many-hyphens", "1.0-rc1-2"), "Priority: optional\n", "")+
					dpkg("glibc", "2.36-9+deb12u1", "Depends: nothing | libc6, half (= 1.0-1), debconf-2.0")+
					dpkg("libc6", "2.36-9+deb12u2", "Source: glibc"))}
		}},
		{name: "debian-hardlinked-status", layers: func(*testing.T) []*layer {
			return []*layer{
				release("12.5").text("var/lib/dpkg/status-old", glibc).text("var/lib/dpkg/status", zlib),
				run("RUN dpkg").hardlink("var/lib/dpkg/status", "var/lib/dpkg/status-old").symlink("var/lib/dpkg/available", "status"),
			}
		}},
		{name: "debian-releases", layers: func(*testing.T) []*layer {
			return []*layer{
				release("10.13").text("var/lib/dpkg/status", dpkg("sudo", "1.8.27-1+deb10u1")+dpkg("chromium", "90.0.4430.212-1~deb10u1")),
				run("RUN apt-get full-upgrade").text("etc/debian_version", "11.6\n").text("var/lib/dpkg/status", dpkg("sudo", "1.9.5p2-3")+dpkg("gzip", "1.10-4")+dpkg("xz-utils", "5.2.5-2")),
			}
		}},
		{name: "debian-end-of-life", layers: func(*testing.T) []*layer {
			return []*layer{release("9.13").text("var/lib/dpkg/status", dpkg("bash", "4.4-5")+dpkg("openssl", "1.1.0k-1~deb9u1")+dpkg("e2fslibs", "1.43.4-2", "Source: e2fsprogs"))}
		}},
		{name: "debian-statuses", layers: func(*testing.T) []*layer {
			status := ""
			for _, name := range []string{"unknown", "not-affected", "affected", "fixed", "under-investigation", "will-not-fix", "fix-deferred", "end-of-life", "sources"} {
				status += dpkg("invented-"+name, "1.0-1")
			}
			return []*layer{release("12.5").text("var/lib/dpkg/status", status)}
		}},
		{name: "debian-echo", layers: func(t *testing.T) []*layer {
			return []*layer{run("ADD").file(t, "etc/os-release", filepath.Join(src.analyzer("os/release"), "echo")).text("var/lib/dpkg/status", dpkg("apache2", "2.4.0-1")+dpkg("libc6", "2.36-9+deb12u1", "Source: glibc", "Maintainer: Docker <support@docker.com>"))}
		}},
		{name: "debian-seal", layers: func(*testing.T) []*layer {
			return []*layer{release("12.5").text("var/lib/dpkg/status", dpkg("seal-wget", "1.21-1+deb11u1", "Source: seal-wget")+dpkg("openssl", "3.0.15-1~deb12u1"))}
		}},
		{name: "debian-rootio", layers: func(*testing.T) []*layer {
			return []*layer{release("12.5").text("var/lib/dpkg/status", dpkg("openssl", "3.0.15-1~deb12u1.root.io.0")+zlib)}
		}},
	}
}

// ubuntu is the little that tells one from a Debian.
func ubuntu(version string) *layer {
	return run("ADD file:1 in /").text("etc/lsb-release", "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE="+version+"\nDISTRIB_CODENAME=x\nDISTRIB_DESCRIPTION=\"Ubuntu "+version+" LTS\"\n").
		text("etc/debian_version", "buster/sid\n").text("usr/lib/os-release", "NAME=\"Ubuntu\"\nVERSION_ID=\""+version+"\"\nID=ubuntu\nID_LIKE=debian\n")
}

func ubuntuFixtures(src sources) []fixture {
	esm := func(t *testing.T, l *layer, file string) *layer {
		return l.file(t, "var/lib/ubuntu-advantage/status.json", filepath.Join(src.analyzer("os/ubuntu"), file))
	}
	old := dpkg("sudo", "1.8.16-0ubuntu1.9") + dpkg("policykit-1", "0.105-14.1ubuntu0.5") + dpkg("libpolkit-gobject-1-0", "0.105-14.1ubuntu0.5", "Source: policykit-1")
	return []fixture{
		{name: "ubuntu-16.04", layers: func(*testing.T) []*layer { return []*layer{ubuntu("16.04").text("var/lib/dpkg/status", old)} }},
		{name: "ubuntu-16.04-esm", quick: true, layers: func(t *testing.T) []*layer {
			return []*layer{ubuntu("16.04").text("var/lib/dpkg/status", old), esm(t, run("RUN pro attach"), "esm_enabled_status.json")}
		}},
		{name: "ubuntu-16.04-no-esm", layers: func(t *testing.T) []*layer {
			return []*layer{ubuntu("16.04").text("var/lib/dpkg/status", old), esm(t, run("RUN pro"), "esm_disabled_status.json")}
		}},
		{name: "ubuntu-20.04", archive: true, layers: func(*testing.T) []*layer {
			return []*layer{ubuntu("20.04").text("var/lib/dpkg/status", dpkg("sudo", "1.8.31-1ubuntu1.1")+dpkg("wpasupplicant", "2:2.9-1ubuntu4", "Source: wpa")+dpkg("libpolkit", "0.105-26ubuntu1", "Source: policykit-1")+dpkg("nginx", "1.22.1-9+deb12u2.root.io.0"))}
		}},
		{name: "ubuntu-22.04-rapidfort", layers: func(*testing.T) []*layer {
			return []*layer{
				ubuntu("22.04").text("var/lib/dpkg/status", dpkg("curl", "7.81.0-1ubuntu1.13")+dpkg("libc6", "2.35-0ubuntu3.1", "Source: glibc")+dpkg("rf-binutils", "2.42-10rfubu")),
				run("RUN rapidfort").text("usr/share/rapidfort/curated.json", "{}"),
			}
		}},
		{name: "ubuntu-esm-first", layers: func(t *testing.T) []*layer {
			return []*layer{esm(t, run("RUN pro attach"), "esm_enabled_status.json"), ubuntu("16.04").text("var/lib/dpkg/status", old)}
		}},
		{name: "ubuntu-on-debian", layers: func(*testing.T) []*layer {
			return []*layer{
				run("ADD debian").text("etc/debian_version", "12.5\n").text("var/lib/dpkg/status", dpkg("libc6", "2.36-9+deb12u1", "Source: glibc")),
				run("COPY --from=ubuntu").text("etc/lsb-release", "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=22.04\n").text("var/lib/dpkg/status.d/curl", dpkg("curl", "7.81.0-1ubuntu1.13")),
			}
		}},
		{name: "ubuntu-upgraded", layers: func(*testing.T) []*layer {
			return []*layer{
				ubuntu("22.04").text("var/lib/dpkg/status", dpkg("libc6", "2.35-0ubuntu3.1", "Source: glibc")),
				run("RUN do-release-upgrade").text("etc/lsb-release", "DISTRIB_ID=Ubuntu\nDISTRIB_RELEASE=24.04\n").
					text("var/lib/dpkg/status", dpkg("openssh-client", "1:9.6p1-3ubuntu13", "Source: openssh")),
			}
		}},
	}
}
