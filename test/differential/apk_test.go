package differential

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// apk is a paragraph of apk's database.
func apk(name, version, origin string, lines ...string) string {
	return fmt.Sprintf("C:Q11otALzX1d1D0kVawy06IairTXS0=\nP:%s\nV:%s\nA:x86_64\nS:445080\nI:569344\nT:a package\nU:https://example.com\nL:MIT AND (BSD-2-Clause OR GPL-2.0-only)\no:%s\nm:Natanael Copa <ncopa@alpinelinux.org>\nt:1466181580\n%s\n",
		name, version, origin, strings.Join(append(lines, ""), "\n"))
}

// alpine is a release with what apk has installed.
func alpine(version, installed string) *layer {
	return run("ADD alpine-minirootfs.tar.gz / # buildkit").text("etc/alpine-release", version+"\n").
		text("etc/os-release", "NAME=\"Alpine Linux\"\nID=alpine\nVERSION_ID="+version+"\n").
		text("etc/apk/repositories", "https://dl-cdn.alpinelinux.org/alpine/v"+version[:strings.LastIndex(version, ".")]+"/main\n").
		text("lib/apk/db/installed", installed)
}

func apkFixtures(src sources) []fixture {
	old := apk("musl", "1.2.4-r1", "musl", "p:so:libc.musl-x86_64.so.1=1", "F:lib", "R:ld-musl-x86_64.so.1", "a:0:0:755", "Z:Q1KUwsFGLHn/enpN9+QIpK/FmixtQ=") +
		apk("libcrypto3", "3.1.2-r0", "openssl", "D:so:libc.musl-x86_64.so.1", "p:so:libcrypto.so.3=3", "F:etc/ssl", "R:openssl.cnf", "F:usr/lib/node_modules/lodash", "R:package.json") +
		apk("libssl3", "3.1.2-r0", "openssl", "D:so:libcrypto.so.3 so:libc.musl-x86_64.so.1>=1 !conflict", "p:so:libssl.so.3=3")
	plain := func(name, release, installed string) fixture {
		return fixture{name: name, layers: func(*testing.T) []*layer { return []*layer{alpine(release, installed)} }}
	}
	named := func(name, id, release, installed string) fixture {
		return fixture{name: name, layers: func(*testing.T) []*layer {
			return []*layer{run("apko").text("etc/os-release", "ID="+id+"\nNAME=\""+id+"\"\nVERSION_ID=\""+release+"\"\n").text("usr/lib/apk/db/installed", installed)}
		}}
	}
	both := apk("curl", "8.3.0-r0", "curl") + apk("libssl3", "3.1.3-r0", "openssl") + apk("jq", "1.5-r0", "jq") + apk("ansible", "2.6.0-r0", "ansible")
	return []fixture{
		{name: "apk-trivys-3.10", base: src.image("alpine-310.tar.gz"), archive: true},
		{name: "apk-trivys-3.11", quick: true, base: src.image("alpine-311.tar.gz")},
		{name: "apk-trivys-database", layers: func(t *testing.T) []*layer {
			return []*layer{alpine("3.10.2", "").file(t, "lib/apk/db/installed", filepath.Join(src.analyzer("pkg/apk"), "apk"))}
		}},
		plain("apk-3.12", "3.12.0", apk("busybox", "1.31.1-r16", "busybox")+apk("ssl_client", "1.31.1-r16", "busybox")+apk("apk-tools", "2.10.5-r1", "apk-tools")+apk("libssl1.1", "1.1.1g-r0", "openssl")),
		plain("apk-3.16", "3.16.1", apk("zlib", "1.2.12-r1", "zlib")+apk("zlib", "1.2.12-r2", "zlib")+"C:Q1\nP:no-version\n\n"),
		plain("broken-apk", "3.16.1", apk("zlib", "1.2.12-r1", "zlib")+apk("bad", "not a version", "bad")),
		plain("apk-3.19", "3.19.0", old+apk("libexpat", "2.5.0-r2", "expat")+apk(".build-deps", "20231208.1", "")),
		named("apk-wolfi", "wolfi", "20230201", both),
		named("apk-chainguard", "chainguard", "20230214", both),
		named("apk-minimos", "minimos", "20241031", both),
		{name: "apk-edge", layers: func(*testing.T) []*layer {
			return []*layer{alpine("3.19.0_alpha", apk("git", "2.35.1-r0", "git")).text("etc/apk/repositories", "# mirrors\nhttps://dl-cdn.alpinelinux.org/alpine/edge/main\nhttps://dl-cdn.alpinelinux.org/alpine/edge/community\n")}
		}},
		{name: "apk-repositories-alone", layers: func(*testing.T) []*layer {
			return []*layer{run("COPY").text("etc/apk/repositories", "http://dl-cdn.alpinelinux.org/alpine/v3.12/main\n").text("lib/apk/db/installed", apk("busybox", "1.31.1-r16", "busybox"))}
		}},
		{name: "apk-seal", layers: func(*testing.T) []*layer {
			return []*layer{alpine("3.18.4", apk("seal-zlib", "1.2.8-r2", "seal-zlib")+old)}
		}},
		{name: "apk-rootio", layers: func(*testing.T) []*layer {
			return []*layer{alpine("3.19.1", apk("less", "643-r10071", "less")+old)}
		}},
		{name: "apk-rapidfort", layers: func(*testing.T) []*layer {
			return []*layer{alpine("3.18.4", apk("libssl3", "3.1.4-r0", "libssl3")+old).text("usr/share/rapidfort/curated.json", "{}")}
		}},
		{name: "apk-upgraded", quick: true, layers: func(*testing.T) []*layer {
			return []*layer{
				alpine("3.18.3", old),
				run("/bin/sh -c #(nop)  CMD [\"/bin/sh\"]"),
				run("RUN /bin/sh -c apk upgrade # buildkit").text("lib/apk/db/installed", strings.ReplaceAll(old, "3.1.2-r0", "3.1.4-r0")),
				run("COPY node_modules").text("usr/lib/node_modules/lodash/package.json", `{"name": "lodash", "version": "4.17.20"}`),
				run("RUN apk add").text("lib/apk/db/installed", strings.ReplaceAll(old, "3.1.2-r0", "3.1.4-r0")+apk("curl", "8.4.0-r0", "curl", "F:opt/app/node_modules/minimist", "R:package.json")).
					text("opt/app/node_modules/minimist/package.json", `{"name": "minimist", "version": "1.2.0"}`),
			}
		}},
		{name: "apk-release-upgraded", layers: func(*testing.T) []*layer {
			return []*layer{
				alpine("3.16.1", apk("zlib", "1.2.12-r1", "zlib")),
				run("RUN apk upgrade --available").text("etc/alpine-release", "3.19.0\n").text("etc/os-release", "ID=alpine\nVERSION_ID=3.19.0\n").
					text("etc/apk/repositories", "https://dl-cdn.alpinelinux.org/alpine/v3.19/main\n").text("lib/apk/db/installed", old),
			}
		}},
	}
}
