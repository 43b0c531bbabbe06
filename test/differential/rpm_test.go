package differential

import (
	"path/filepath"
	"strings"
	"testing"
)

const (
	redHat = "Red Hat, Inc."
	rocky  = "Rocky Enterprise Software Foundation"
)

func rpmFixtures(src sources) []fixture {
	release := func(t *testing.T, file string) *layer {
		return run("ADD rootfs.tar /").file(t, "etc/os-release", filepath.Join(src.analyzer("os/release"), file))
	}
	// kept is a database of go-rpmdb's own tests, in a place where rpm has it.
	kept := func(name, database, place string, start func(t *testing.T) *layer) fixture {
		return fixture{name: "rpm-" + name, layers: func(t *testing.T) []*layer {
			return []*layer{start(t).file(t, place, src.rpm(database))}
		}}
	}
	centos := func(version string) func(*testing.T) *layer {
		return func(*testing.T) *layer {
			return run("ADD centos.tar.xz /").text("etc/centos-release", "CentOS release "+version+" (Final)\n").symlink("etc/redhat-release", "centos-release")
		}
	}
	named := func(file string) func(*testing.T) *layer {
		return func(t *testing.T) *layer { return release(t, file) }
	}
	unknown := func(f fixture) fixture { // to Trivy's detectors
		f.nothing = true
		return f
	}
	const bdb = "var/lib/rpm/Packages"
	quick := kept("redhat-libuuid", "libuuid/Packages", bdb, func(*testing.T) *layer {
		return run("ADD ubi.tar /").text("etc/redhat-release", "Red Hat Enterprise Linux release 8.8 (Ootpa)\n")
	})
	quick.quick = true
	all := []fixture{
		quick,
		kept("centos-5", "centos5-plain/Packages", bdb, centos("5.11")),
		kept("centos-6", "centos6-plain/Packages", bdb, centos("6.10")),
		kept("centos-7", "centos7-plain/Packages", bdb, centos("7.5.1804")),
		kept("centos-7-httpd24", "centos7-httpd24/Packages", bdb, centos("7.6.1810")),
		kept("centos-7-python35", "centos7-python35/Packages", bdb, centos("7.6.1810")),
		kept("centos-8-modules", "centos8-modularitylabel/Packages", bdb, centos("8.2.2004")),
		unknown(kept("centos-stream", "centos8-modularitylabel/Packages", bdb, named("centos-stream"))),
		kept("redhat-s390x", "ubi8-s390x/Packages", bdb, func(*testing.T) *layer {
			return run("ADD ubi.tar /").text("etc/redhat-release", "Red Hat Enterprise Linux release 8.6 (Ootpa)\n")
		}),
		unknown(kept("fedora", "fedora35/rpmdb.sqlite", "usr/lib/sysimage/rpm/rpmdb.sqlite", named("fedora"))),
		unknown(kept("fedora-mongo", "fedora35-plus-mongo/rpmdb.sqlite", "var/lib/rpm/rpmdb.sqlite", func(*testing.T) *layer {
			return run("ADD fedora.tar /").text("etc/fedora-release", "Fedora release 35 (Thirty Five)\n")
		})),
		kept("suse", "sle15-bci/Packages.db", "usr/lib/sysimage/rpm/Packages.db", named("sles")),
		kept("opensuse", "sle15-bci/Packages.db", "var/lib/rpm/Packages.db", func(*testing.T) *layer {
			return run("ADD leap.tar /").text("usr/lib/os-release", "NAME=\"openSUSE Leap\"\nID=\"opensuse-leap\"\nVERSION_ID=\"15.3\"\n")
		}),
		kept("tumbleweed", "sle15-bci/Packages.db", "usr/lib/sysimage/rpm/Packages.db", named("opensusetumbleweed")),
		kept("mariner", "cbl-mariner-2.0/rpmdb.sqlite", "var/lib/rpm/rpmdb.sqlite", named("mariner-2.0")),
		{name: "rpm-trivys-database", layers: func(t *testing.T) []*layer {
			return []*layer{centos("7.6.1810")(t).file(t, bdb, filepath.Join(src.analyzer("pkg/rpm"), "valid"))}
		}},
	}
	return append(all, madeRpmFixtures(src, release)...)
}

// madeRpmFixtures have databases that this machine's rpm writes.
func madeRpmFixtures(src sources, release func(*testing.T, string) *layer) []fixture {
	made := func(name, file, backend string, packages ...rpmPackage) fixture {
		return fixture{name: "rpm-" + name, layers: func(t *testing.T) []*layer {
			place := map[string]string{rpmSQLite: "var/lib/rpm/rpmdb.sqlite", rpmNDB: "usr/lib/sysimage/rpm/Packages.db"}[backend]
			return []*layer{release(t, file).text(place, string(rpmDatabase(t, backend, packages...)))}
		}}
	}
	el8 := func(vendor string) []rpmPackage {
		return []rpmPackage{
			{Name: "openssl-libs", Version: "1:1.1.1k-5.el8_5", Source: "openssl", Vendor: vendor, Files: []string{"/usr/lib64/libssl.so.1.1.1k"}},
			{Name: "zlib", Version: "1.2.11-17.el8", Vendor: vendor},
			{Name: "python3-requests", Version: "2.20.0-2.el8", Source: "python-requests", Arch: "noarch", Vendor: vendor, Files: []string{"/usr/lib/python3.6/site-packages/requests-2.20.0.dist-info/METADATA"}},
			{Name: "nginx", Version: "1:1.14.1-8.module_el8.3.0+2165+af250afe.alma", Vendor: vendor, Module: "nginx:1.14:8030020201124104955:af250afe"},
			{Name: "epel-thing", Version: "1.0-1.el8", Vendor: "Fedora Project", Files: []string{"/usr/lib/node_modules/lodash/package.json"}},
			{Name: "gpg-pubkey", Version: "d4082792-5b32db75"},
		}
	}
	application := func(l *layer) *layer {
		return l.text("usr/lib/python3.6/site-packages/requests-2.20.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: requests\nVersion: 2.20.0\n\n").
			text("usr/lib/node_modules/lodash/package.json", `{"name": "lodash", "version": "4.17.20"}`)
	}
	return []fixture{
		made("rocky", "rocky", rpmSQLite, el8(rocky)...),
		made("alma", "alma", rpmSQLite, el8("AlmaLinux")...),
		{name: "rpm-rocky-8", archive: true, layers: func(t *testing.T) []*layer {
			return []*layer{application(run("ADD rocky.tar /").text("etc/rocky-release", "Rocky Linux release 8.5 (Green Obsidian)\n").text("var/lib/rpm/rpmdb.sqlite", string(rpmDatabase(t, rpmSQLite, el8(rocky)...))))}
		}},
		{name: "rpm-alma-8", quick: true, layers: func(t *testing.T) []*layer {
			return []*layer{application(run("ADD alma.tar /").text("etc/almalinux-release", "AlmaLinux release 8.5 (Arctic Sphynx)\n").text("var/lib/rpm/Packages.db", string(rpmDatabase(t, rpmNDB, el8("AlmaLinux")...))))}
		}},
		made("oracle", "oracle", rpmNDB, el8("Oracle America")...),
		{name: "rpm-amazon-2", layers: func(t *testing.T) []*layer {
			return []*layer{application(run("ADD amzn.tar /").text("etc/system-release", "Amazon Linux release 2 (Karoo)\n").text("var/lib/rpm/rpmdb.sqlite", string(rpmDatabase(t, rpmSQLite,
				rpmPackage{Name: "polkit", Version: "0.112-26.amzn2", Files: []string{"/usr/lib/node_modules/lodash/package.json"}},
				rpmPackage{Name: "curl", Version: "7.61.1-11.amzn2.0.1", Vendor: "Amazon Linux"},
				rpmPackage{Name: "zlib", Version: "1.2.7-18.amzn2", Vendor: "Amazon.com", Arch: "aarch64"}))))}
		}},
		{name: "rpm-amazon-2023", layers: func(t *testing.T) []*layer {
			return []*layer{run("ADD amzn.tar /").text("usr/lib/system-release", "Amazon Linux release 2023 (Amazon Linux)\n").text("var/lib/rpm/rpmdb.sqlite", string(rpmDatabase(t, rpmSQLite,
				rpmPackage{Name: "openssl-libs", Source: "openssl", Version: "1:3.0.8-1.amzn2023", Vendor: "Amazon Linux"}, rpmPackage{Name: "openssl", Version: "1:3.0.8-1.amzn2023", Vendor: "Amazon Linux"})))}
		}},
		made("photon", "photon", rpmSQLite, rpmPackage{Name: "openssl", Version: "3.0.0-7.ph4", Vendor: "VMware, Inc."}),
		made("azure", "azurelinux-3.0", rpmSQLite, rpmPackage{Name: "curl", Version: "8.7.1-1.azl3", Vendor: "Microsoft Corporation"}, rpmPackage{Name: "curl-libs", Source: "curl", Version: "8.7.1-1.azl3", Vendor: "Microsoft Corporation"}),
		made("suse-made", "sles", rpmNDB, rpmPackage{Name: "libz1", Source: "zlib", Version: "1.2.11-3.24.1", Vendor: "SUSE LLC <https://www.suse.com/>"}, rpmPackage{Name: "libopenssl1_1", Source: "openssl-1_1", Version: "1.1.1d-150200.11.47.1", Vendor: "openSUSE"}),
		made("coreos", "coreos", rpmSQLite, rpmPackage{Name: "zlib", Version: "1.2.11-17.el8", Vendor: redHat}),
		made("slemicro", "slemicro", rpmNDB, rpmPackage{Name: "libopenssl1_1", Source: "openssl-1_1", Version: "1.1.1l-150400.7.21.1", Vendor: "SUSE LLC <https://www.suse.com/>"}),
		{name: "rpm-mariner-distroless", layers: func(t *testing.T) []*layer {
			return []*layer{release(t, "mariner-2.0").text("var/lib/rpmmanifest/container-manifest-2",
				"openssl-libs\t1.1.1k-7.cm2\t1653816591\t1653753130\tMicrosoft Corporation\t(none)\t2096\tx86_64\t0\topenssl-1.1.1k-7.cm2.src.rpm\n"+
					"zlib\t1.2.11-5.cm2\t1653816591\t1653628955\tMicrosoft Corporation\t(none)\t11\tx86_64\t0\tzlib-1.2.11-5.cm2.src.rpm\n")}
		}},
		redHatFixture(src, el8(redHat)),
		{name: "rpm-replaced", layers: func(t *testing.T) []*layer {
			el := el8(rocky)
			newer := rpmPackage{Name: "openssl-libs", Version: "1:1.1.1k-6.el8_5", Source: "openssl", Vendor: rocky}
			return []*layer{
				run("ADD rocky.tar /").text("etc/rocky-release", "Rocky Linux release 8.5 (Green Obsidian)\n").text("var/lib/rpm/rpmdb.sqlite", string(rpmDatabase(t, rpmSQLite, el[:3]...))),
				run("RUN dnf upgrade").text("var/lib/rpm/rpmdb.sqlite", string(rpmDatabase(t, rpmSQLite, newer, el[1], el[3]))),
				run("RUN rpm --rebuilddb").remove("var/lib/rpm/rpmdb.sqlite").text("usr/lib/sysimage/rpm/Packages.db", string(rpmDatabase(t, rpmNDB, newer, el[3]))),
			}
		}},
		{name: "rpm-curated", layers: func(t *testing.T) []*layer {
			return []*layer{run("ADD ubi.tar /").text("etc/redhat-release", "Red Hat Enterprise Linux release 9.2 (Plow)\n").text("usr/share/rapidfort/curated.json", "{}").
				text("var/lib/rpm/rpmdb.sqlite", string(rpmDatabase(t, rpmSQLite, rpmPackage{Name: "curl", Version: "7.61.1-20.el8", Vendor: redHat}, rpmPackage{Name: "curl-minimal", Source: "curl", Version: "7.76.1-20.fc39", Vendor: "Fedora Project"})))}
		}},
		{name: "rpm-bottlerocket", layers: func(t *testing.T) []*layer {
			root := "x86_64-bottlerocket-linux-gnu/sys-root/usr/"
			inventory := read(t, filepath.Join(src.analyzer("pkg/bottlerocket_inventory"), "application-inventory.json"))
			return []*layer{run("ADD").file(t, root+"lib/os-release", filepath.Join(src.analyzer("os/release"), "bottlerocket")).
				text(root+"share/bottlerocket/application-inventory.json", strings.Replace(string(inventory), "1.1781747852", "1.1700000000", 1))}
		}},
	}
}

// redHatFixture has what Red Hat's build system leaves in each layer: the
// repositories its packages came from, or the name of the image they came with.
func redHatFixture(src sources, packages []rpmPackage) fixture {
	return fixture{name: "rpm-redhat-content-sets", quick: true, layers: func(t *testing.T) []*layer {
		buildinfo := src.analyzer("buildinfo")
		later := append(packages[:len(packages):len(packages)], rpmPackage{Name: "sudo", Version: "1.8.29-6.el8", Vendor: redHat}, rpmPackage{Name: "polkit", Version: "0.115-11.el8", Vendor: redHat})
		last := append(later[:len(later):len(later)], rpmPackage{Name: "gzip", Version: "1.9-9.el8", Vendor: redHat})
		return []*layer{
			run("ADD ubi8-minimal.tar /").text("etc/redhat-release", "Red Hat Enterprise Linux release 8.5 (Ootpa)\n").
				file(t, "root/buildinfo/content_manifests/ubi8-minimal-container-8.5-218.json", filepath.Join(buildinfo, "content_manifests", "ubi8-minimal-container-8.5-218.json")).
				text("var/lib/rpm/rpmdb.sqlite", string(rpmDatabase(t, rpmSQLite, packages...))),
			run("RUN microdnf install sudo").file(t, "root/buildinfo/Dockerfile-ubi8-8.3-227", filepath.Join(buildinfo, "dockerfile", "Dockerfile-ubi8-8.3-227")).
				text("var/lib/rpm/rpmdb.sqlite", string(rpmDatabase(t, rpmSQLite, later...))),
			run("RUN microdnf install gzip").text("var/lib/rpm/rpmdb.sqlite", string(rpmDatabase(t, rpmSQLite, last...))),
		}
	}}
}
