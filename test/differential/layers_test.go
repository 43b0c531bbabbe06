package differential

import (
	"fmt"
	"strings"
	"testing"
)

// nodePackage is the least that npm's package.json says.
func nodePackage(name, version string) string {
	return `{"name": "` + name + `", "version": "` + version + `", "license": "MIT"}`
}

// layerFixtures are about what later layers do to earlier ones.
func layerFixtures(src sources) []fixture {
	lodash, minimist, jquery := nodePackage("lodash", "4.17.20"), nodePackage("minimist", "1.2.0"), nodePackage("jquery", "3.4.0")
	const modules = "srv/app/node_modules/"
	base := func() *layer {
		return alpine("3.18.3", apk("musl", "1.2.4-r1", "musl")+apk("libssl3", "3.1.2-r0", "openssl"))
	}
	return []fixture{
		{name: "layers-whiteouts", quick: true, layers: func(*testing.T) []*layer {
			return []*layer{
				base().text(modules+"lodash/package.json", lodash).text(modules+"minimist/package.json", minimist).text(modules+"jquery/package.json", jquery),
				run("RUN rm").remove(modules + "lodash/package.json").remove(modules + "minimist"),
				run("RUN rm more").remove("lib/apk/db"),
			}
		}},
		{name: "layers-opaque", layers: func(*testing.T) []*layer {
			return []*layer{
				base().text(modules+"lodash/package.json", lodash).text(modules+"minimist/package.json", minimist),
				run("RUN mv").opaque("srv/app").text(modules+"jquery/package.json", jquery),
				run("RUN more").text(modules+"lodash/package.json", nodePackage("lodash", "4.17.21")).opaque(modules + "jquery"),
			}
		}},
		{name: "layers-replaced", archive: true, layers: func(*testing.T) []*layer {
			return []*layer{
				base().text(modules+"a/package.json", lodash).text(modules+"b/package.json", minimist).text(modules+"c/package.json", jquery),
				run("COPY a").text(modules+"a/package.json", nodePackage("lodash", "4.17.21")),
				run("COPY b").text(modules+"b/package.json", `{"private": true}`),
				run("COPY c").text(modules+"c/package.json", jquery),
				run("COPY a again").text(modules+"a/package.json", lodash),
			}
		}},
		{name: "layers-links", layers: func(*testing.T) []*layer {
			return []*layer{
				base().text(modules+"lodash/package.json", lodash).hardlink(modules+"hard/package.json", modules+"lodash/package.json").symlink(modules+"soft/package.json", "../lodash/package.json").symlink("srv/link", "app"),
				run("COPY through").text("srv/link/node_modules/minimist/package.json", minimist),
				run("RUN ln").symlink(modules+"lodash/package.json", "/dev/null"),
			}
		}},
		// The same name twice in one layer is left out: which counts, Trivy leaves to chance.
		{name: "layers-dotted-names", layers: func(*testing.T) []*layer {
			return []*layer{base().text("./"+modules+"minimist/package.json", minimist).text("/"+modules+"jquery/package.json", jquery).text("srv/x/../y/package.json", lodash)}
		}},
		{name: "layers-deleted-and-back", layers: func(*testing.T) []*layer {
			return []*layer{
				base().text(modules+"lodash/package.json", lodash),
				run("RUN rm -r").remove("srv"),
				run("RUN nothing"),
				run("COPY back").text(modules+"lodash/package.json", lodash),
				run("RUN both").remove(modules+"lodash").text(modules+"lodash/package.json", nodePackage("lodash", "4.17.15")),
			}
		}},
		{name: "layers-no-distribution", quick: true, layers: func(*testing.T) []*layer {
			return []*layer{run("COPY app /").text(modules+"lodash/package.json", lodash), run("USER 1000"), run("COPY more /").text(modules+"minimist/package.json", minimist)}
		}},
		{name: "layers-nothing", nothing: true, layers: func(*testing.T) []*layer { return []*layer{run("COPY hello /").text("hello.txt", "hello, world\n")} }},
		{name: "layers-two-managers", layers: func(*testing.T) []*layer {
			return []*layer{
				base(),
				run("COPY --from=debian / /").text("etc/debian_version", "12.5\n").text("var/lib/dpkg/status", dpkg("libc6", "2.36-9+deb12u1", "Source: glibc")+dpkg("musl", "1.2.3-1")),
			}
		}},
		{name: "layers-two-managers-reversed", layers: func(*testing.T) []*layer {
			return []*layer{
				run("ADD debian").text("etc/debian_version", "12.5\n").text("var/lib/dpkg/status", dpkg("libc6", "2.36-9+deb12u1", "Source: glibc")+dpkg("musl", "1.2.3-1")),
				run("COPY --from=alpine / /").text("etc/alpine-release", "3.18.3\n").text("lib/apk/db/installed", apk("musl", "1.2.4-r1", "musl")+apk("libssl3", "3.1.2-r0", "openssl")),
			}
		}},
		{name: "layers-distribution-removed", layers: func(*testing.T) []*layer {
			return []*layer{
				run("ADD debian").text("etc/debian_version", "12.5\n").text("var/lib/dpkg/status", dpkg("libc6", "2.36-9+deb12u1", "Source: glibc")),
				run("RUN rm").remove("etc/debian_version").remove("var/lib/dpkg/status").text("var/lib/dpkg/status.d/zlib1g", dpkg("zlib1g", "1:1.2.13.dfsg-1", "Source: zlib")),
			}
		}},
		{name: "layers-status-files", layers: func(*testing.T) []*layer {
			return []*layer{
				run("bazel 1").text("etc/debian_version", "12.5\n").text("var/lib/dpkg/status.d/libc6", dpkg("libc6", "2.36-9+deb12u1", "Source: glibc")).
					text("var/lib/dpkg/status.d/libc6.md5sums", "d41d8cd98f00b204e9800998ecf8427e  usr/lib/node_modules/a/package.json\n").text("usr/lib/node_modules/a/package.json", lodash),
				run("bazel 2").text("var/lib/dpkg/status.d/zlib1g", dpkg("zlib1g", "1:1.2.13.dfsg-1", "Source: zlib")).
					text("var/lib/dpkg/status.d/libc6", dpkg("libc6", "2.36-9+deb12u3", "Source: glibc")).text("usr/lib/node_modules/b/package.json", minimist),
				run("bazel 3").remove("var/lib/dpkg/status.d/zlib1g"),
			}
		}},
		{name: "layers-file-becomes-folder", layers: func(*testing.T) []*layer {
			return []*layer{
				base().text("srv/a/package.json", lodash).text("srv/b/package.json", minimist),
				run("RUN mv").text("srv/a", "a file now"),
				run("RUN mv back").text("srv/a/package.json/package.json", jquery).remove("srv/b/package.json").text("srv/b/package.json/x/package.json", lodash),
			}
		}},
		{name: "layers-root-opaque", layers: func(*testing.T) []*layer {
			return []*layer{
				base().text(modules+"lodash/package.json", lodash),
				run("COPY --link").text(".wh..wh..opq", "").text(modules+"minimist/package.json", minimist),
			}
		}},
		{name: "layers-aufs", layers: func(*testing.T) []*layer {
			return []*layer{
				base().text(modules+"lodash/package.json", lodash).dir(".wh..wh.plnk").text(".wh..wh.aufs", ""),
				run("RUN").text(modules+".wh..wh.orph", "").text("srv/.wh.nothing", "").text(modules+".wh.lodash/x", ""),
			}
		}},
		{name: "layers-odd-names", layers: func(*testing.T) []*layer {
			long := strings.Repeat("a-long-name/", 30)
			return []*layer{base().text(long+"package.json", lodash).text("srv/sp ace/package.json", minimist).text("srv/日本語/package.json", jquery).
				text("srv/new\nline/package.json", lodash).text("srv/esc\x1b[31m/package.json", minimist).text("srv/back\\slash/package.json", jquery).text("srv/a//b/./c/package.json", lodash)}
		}},
		{name: "layers-escaping", layers: func(*testing.T) []*layer {
			return []*layer{base().text("../../srv/package.json", lodash).text("srv/../../b/package.json", minimist)}
		}},
		{name: "layers-the-same-twice", archive: true, layers: func(*testing.T) []*layer {
			again := func() *layer { return run("COPY same").text(modules+"lodash/package.json", lodash) }
			return []*layer{base(), again(), run("RUN rm").remove("srv/app"), again()}
		}},
		{name: "layers-zstd", mixed: true, layers: func(*testing.T) []*layer {
			return []*layer{base().text(modules+"lodash/package.json", lodash), run("COPY").text(modules+"minimist/package.json", minimist), run("RUN").remove(modules + "lodash")}
		}},
		{name: "layers-no-history", noHistory: true, layers: func(*testing.T) []*layer {
			return []*layer{base().text(modules+"lodash/package.json", lodash), run("COPY").text(modules+"minimist/package.json", minimist).text("srv/.token", "x = "+githubToken()+"\n")}
		}},
		{name: "layers-distribution-without-packages", nothing: true, layers: func(*testing.T) []*layer {
			return []*layer{run("ADD").text("etc/debian_version", "12.5\n"), run("RUN").text("var/lib/dpkg/status", "")}
		}},
		{name: "layers-packages-without-distribution", layers: func(*testing.T) []*layer {
			return []*layer{run("COPY").text("var/lib/dpkg/status", dpkg("libc6", "2.36-9+deb12u1", "Source: glibc")), run("COPY").text(modules+"lodash/package.json", lodash)}
		}},
		{name: "layers-many", layers: func(*testing.T) []*layer {
			var all []*layer
			for i := range 40 {
				name := string(rune('a' + i%26))
				l := run("COPY "+name).text(modules+name+"/package.json", nodePackage("lodash", fmt.Sprintf("4.17.%d", i)))
				if i%5 == 4 {
					l.remove(modules + string(rune('a'+(i*7)%26)))
				}
				all = append(all, l, run("ENV X="+name))
			}
			return all
		}},
	}
}
