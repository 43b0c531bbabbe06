package differential

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// placed adds the files of a folder that match a pattern, each under a folder
// of its own at prefix, as name.
func (l *layer) placed(t *testing.T, prefix, name, dir, pattern string) *layer {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(pattern)))
	if err != nil || len(files) == 0 {
		t.Fatalf("no %s in %s (%v)", pattern, dir, err)
	}
	for _, file := range files {
		own := strings.NewReplacer(dir+string(filepath.Separator), "", string(filepath.Separator), "-", "*", "-").Replace(file)
		l.file(t, prefix+"/"+strings.TrimSuffix(own, filepath.Ext(own))+"/"+name, file)
	}
	return l
}

// language is an image with files of one language alone, in three layers: two
// that add, and one that deletes and replaces.
func language(name string, add func(t *testing.T, first, second, third *layer)) fixture {
	return fixture{name: "language-" + name, layers: func(t *testing.T) []*layer {
		first, second, third := run("COPY first /"), run("COPY second /"), run("RUN third")
		add(t, first, second, third)
		return []*layer{first, run("ENV A=1"), second, third}
	}}
}

func languageFixtures(src sources) []fixture {
	repo := func(name string) string {
		return filepath.Join(src.trivy, "integration", "testdata", "fixtures", "repo", filepath.FromSlash(name))
	}
	const site = "usr/lib/python3/dist-packages/"
	all := []fixture{
		language("node", func(t *testing.T, first, second, third *layer) {
			first.tree(t, "srv/npm", repo("npm")).tree(t, "srv/pnpm", repo("pnpm")).tree(t, "srv/yarn", repo("yarn"))
			second.file(t, "srv/pkg/package.json", filepath.Join(src.analyzer("language/nodejs/pkg"), "package.json")).
				placed(t, "srv/parser", "package.json", src.parser("nodejs/packagejson"), "[a-hj-z]*_package.json").
				tree(t, "srv/licenses", filepath.Join(src.analyzer("language/nodejs/license"), "happy")).
				tree(t, "srv/berry", filepath.Join(src.analyzer("language/nodejs/yarn"), "yarn-berry-node-modules"))
			third.text("srv/npm/node_modules/react/package.json", nodePackage("invented", "1.0.0")).remove("srv/npm/node_modules/promise").
				text("srv/a/package.json", nodePackage("invented", "v1.0.0-beta.1+build")).text("srv/b/package.json", nodePackage("jquery", "3.3.9"))
		}),
		language("node-twice", func(_ *testing.T, first, second, third *layer) {
			first.text("a/node_modules/lodash/package.json", nodePackage("lodash", "4.17.20")).text("b/node_modules/lodash/package.json", nodePackage("lodash", "4.17.20"))
			second.text("a/node_modules/lodash/package.json", nodePackage("lodash", "4.17.20")).text("c/node_modules/lodash/package.json", nodePackage("lodash", "4.17.21"))
			third.text("b/node_modules/lodash/package.json", nodePackage("lodash", "4.17.19"))
		}),
		language("python", func(t *testing.T, first, second, third *layer) {
			first.tree(t, site+"trivy", src.analyzer("language/python/packaging"))
			for _, file := range []string{"zipp-3.12.1", "networkx-3.0", "iniconfig-2.0.0", "asyncssh-2.14.2", "simple-0.1.0", "pyphen-0.14.0"} {
				second.file(t, site+file+".dist-info/METADATA", filepath.Join(src.parser("python/packaging"), file+".METADATA"))
			}
			second.file(t, site+"setuptools-51.3.3-py3.8.egg-info/PKG-INFO", filepath.Join(src.parser("python/packaging"), "setuptools-51.3.3-py3.8.egg-info.PKG-INFO")).
				file(t, site+"distlib-0.3.1-py3.9.egg-info", filepath.Join(src.parser("python/packaging"), "distlib-0.3.1-py3.9.egg-info")).
				file(t, site+"Unidecode.egg/EGG-INFO/PKG-INFO", filepath.Join(src.parser("python/packaging"), "unidecode-egg-info.PKG-INFO")).
				text("opt/venv/lib/python3.11/site-packages/PyYAML-5.3.dist-info/METADATA", "Metadata-Version: 2.1\nName: PyYAML\nVersion: 5.3\nLicense: MIT\nRequires-Dist: nothing\n\nLong text\n").
				text("opt/venv/lib/python3.11/site-packages/Jinja2-3.1.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: Jinja2\nVersion: 3.1.2\n\n").
				tree(t, "srv/pip", filepath.Join(src.analyzer("language/python/pip"), "libs"))
			third.remove(site+"networkx-3.0.dist-info").text("opt/venv/lib/python3.11/site-packages/PyYAML-5.3.dist-info/METADATA", "Metadata-Version: 2.1\nName: PyYAML\nVersion: 5.4\n\n").
				text("usr/lib/python2.7/argparse.egg-info", "Metadata-Version: 1.0\nName: argparse\nVersion: 1.2.1\n\n")
		}),
		language("python-sboms", func(_ *testing.T, first, second, _ *layer) {
			const dir = site + "numpy-2.2.4.dist-info/"
			first.text(dir+"METADATA", "Metadata-Version: 2.1\nName: numpy\nVersion: 2.2.4\n\n").
				text(dir+"sboms/openblas.cdx.json", `{"bomFormat":"CycloneDX","specVersion":"1.6","version":1,"metadata":{"component":{"type":"library","name":"openblas","version":"0.3.29","bom-ref":"pkg:generic/openblas@0.3.29","purl":"pkg:generic/openblas@0.3.29"}},"components":[{"type":"library","name":"libgfortran","version":"5.0.0","bom-ref":"pkg:rpm/almalinux/libgfortran@8.5.0","purl":"pkg:rpm/almalinux/libgfortran@8.5.0"},{"type":"library","name":"minimist","version":"1.2.0","bom-ref":"pkg:npm/minimist@1.2.0","purl":"pkg:npm/minimist@1.2.0"}]}`)
			second.text(site+"other-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: other\nVersion: 1.0\n\n")
		}),
		language("ruby", func(t *testing.T, first, second, third *layer) {
			const gems = "usr/local/lib/ruby/gems/3.1.0/specifications/"
			first.file(t, gems+"rake-13.0.6.gemspec", filepath.Join(src.parser("ruby/gemspec"), "normal00.gemspec")).
				file(t, gems+"async-1.25.0.gemspec", filepath.Join(src.parser("ruby/gemspec"), "normal01.gemspec")).
				file(t, gems+"default/test-unit.gemspec", filepath.Join(src.analyzer("language/ruby/gemspec"), "multiple_licenses.gemspec")).
				file(t, gems+"license.gemspec", filepath.Join(src.parser("ruby/gemspec"), "license.gemspec"))
			second.text(gems+"rack-2.2.3.gemspec", "# -*- encoding: utf-8 -*-\n# stub: rack 2.2.3 ruby lib\n\nGem::Specification.new do |s|\n  s.name = \"rack\".freeze\n  s.version = \"2.2.3\"\n  s.licenses = [\"MIT\".freeze]\nend\n").
				text("srv/app.gemspec", "Gem::Specification.new do |s|\n  s.name = \"app\"\n  s.version = \"1\"\nend\n")
			third.remove(gems + "rake-13.0.6.gemspec")
		}),
		language("go", func(t *testing.T, first, second, third *layer) {
			parser := src.parser("golang/binary")
			first.program("usr/local/bin/gobinary", read(t, filepath.Join(src.analyzer("language/golang/binary"), "executable_gobinary"))).
				program("usr/local/bin/bash", read(t, filepath.Join(src.analyzer("language/golang/binary"), "executable_bash")))
			for _, file := range []string{"test.exe", "test.elf", "test.macho", "main-version-via-ldflags.elf", "goexperiment", "semver-main-module-version.macho", "replace.elf", "dummy"} {
				second.program("opt/"+file, read(t, filepath.Join(parser, file)))
			}
			second.text("opt/not-executable.elf", string(read(t, filepath.Join(parser, "test.elf")))).
				text("opt/not-executable.exe", string(read(t, filepath.Join(parser, "test.exe")))).
				program("opt/ours", read(t, ours()))
			third.remove("opt/test.macho").program("opt/test.elf", []byte("no longer a program"))
		}),
		language("rust", func(t *testing.T, first, second, third *layer) {
			parser := src.parser("rust/binary")
			first.program("usr/bin/rust", read(t, filepath.Join(src.analyzer("language/rust/binary"), "executable_rust"))).
				program("usr/bin/broken", read(t, filepath.Join(src.analyzer("language/rust/binary"), "broken_elf")))
			for _, file := range []string{"test.elf", "test.exe", "test.macho", "dummy"} {
				second.program("opt/"+file, read(t, filepath.Join(parser, file)))
			}
			for _, file := range []string{"happy", "no-cargo-toml", "toml-only-workspace-deps", "toml-workspace-glob", "toml-workspace-members", "version-workspace-inherit"} {
				second.archive(t, "srv/cargo/"+file+"/", filepath.Join(src.analyzer("language/rust/cargo"), file+".txtar"))
			}
			third.placed(t, "srv/lock", "Cargo.lock", src.parser("rust/cargo"), "cargo_[nmv]*.lock").tree(t, "srv/repo", repo("cargo")).remove("opt/test.exe")
		}),
		language("dotnet", func(t *testing.T, first, second, third *layer) {
			first.file(t, "app/datacollector.deps.json", filepath.Join(src.analyzer("language/dotnet/deps"), "datacollector.deps.json"))
			for _, file := range []string{"happy", "self-contained", "multi-project", "without-runtime", "ambiguous-root", "no-libraries", "missing-target"} {
				second.file(t, "app/"+file+".deps.json", filepath.Join(src.parser("dotnet/core_deps"), file+".deps.json"))
			}
			second.placed(t, "srv/lock", "packages.lock.json", src.parser("nuget/lock"), "packages_lock_*.json").
				file(t, "srv/config/packages.config", filepath.Join(src.parser("nuget/config"), "packages.config")).
				file(t, "srv/dev/packages.config", filepath.Join(src.parser("nuget/config"), "dev_dependency.config")).
				tree(t, "srv/nuget", filepath.Join(src.analyzer("language/dotnet/nuget"), "lock")).
				tree(t, "srv/nuget-repository", filepath.Join(src.analyzer("language/dotnet/nuget"), "repository"))
			third.placed(t, "srv/props", "Directory.Packages.props", src.parser("nuget/packagesprops"), "*ackages.props").
				file(t, "srv/packages/Packages.props", filepath.Join(src.analyzer("language/dotnet/packagesprops"), "Packages.props")).
				tree(t, "srv/repo", repo("packagesprops")).tree(t, "srv/repo-nuget", repo("nuget")).remove("app/happy.deps.json")
		}),
		language("php", func(t *testing.T, first, second, third *layer) {
			first.tree(t, "var/www/vendor/composer", repo("composer-vendor")).tree(t, "var/www", repo("composer"))
			second.file(t, "srv/vendor/composer/installed.json", filepath.Join(src.analyzer("language/php/composer"), "composer-vendor", "happy", "installed.json"))
			third.text("srv/one/installed.json", `{"packages": [{"name": "guzzlehttp/guzzle", "version": "7.4.4", "version_normalized": "7.4.4.0", "license": ["MIT"], "require": {"guzzlehttp/psr7": "^1.8"}}, {"name": "guzzlehttp/psr7", "version": "v1.8.3"}]}`)
		}),
		language("julia", func(t *testing.T, first, second, third *layer) {
			for _, dir := range []string{"dep_ext_v1.9", "julia_v1.0_format", "shadowed_dep_v1.9", "no_deps_v1.6", "no_deps_v1.9"} {
				first.tree(t, "srv/"+dir, filepath.Join(src.parser("julia/manifest"), dir))
			}
			second.tree(t, "srv/happy", filepath.Join(src.analyzer("language/julia/pkg"), "happy")).tree(t, "srv/no-manifest", filepath.Join(src.analyzer("language/julia/pkg"), "no_manifest"))
			third.tree(t, "srv/repo", repo("julia")).remove("srv/dep_ext_v1.9")
		}),
		language("conda", func(t *testing.T, first, second, third *layer) {
			first.tree(t, "opt", repo("conda"))
			second.file(t, "opt/miniconda3/envs/other/conda-meta/libgomp-11.2.0-h1234567_1.json", filepath.Join(src.parser("conda/meta"), "libgomp-11.2.0-h1234567_1.json")).
				file(t, "opt/miniconda3/envs/other/conda-meta/_libgcc_mutex-0.1-main.json", filepath.Join(src.parser("conda/meta"), "_libgcc_mutex-0.1-main.json")).
				file(t, "opt/miniconda3/conda-meta/_libgcc_mutex-0.1-main.json", filepath.Join(src.parser("conda/meta"), "_libgcc_mutex-0.1-main.json")).
				tree(t, "srv", repo("conda-environment"))
			third.remove("opt/miniconda3/envs/testenv/conda-meta/openssl-1.1.1q-h7f8727e_0.json")
		}),
		// Lock files of a checkout say what would be installed, not what is.
		language("lock-files", func(t *testing.T, first, second, third *layer) {
			for _, dir := range []string{"composer", "pnpm", "yarn", "npm", "mixlock", "swift", "sbt", "conan", "pubspec", "pipenv", "gradle", "pip", "bun", "poetry", "uv", "cocoapods", "pom", "pylock", "trivy-ci-test"} {
				first.tree(t, "srv/"+dir, repo(dir))
			}
			second.archive(t, "srv/go/", filepath.Join(src.analyzer("language/golang/mod"), "happy.txtar"))
			third.placed(t, "srv/bundler", "Gemfile.lock", src.parser("ruby/bundler"), "*.lock")
		}),
	}
	all = append(all, javaFixtures(src)...)
	quick := map[string]bool{"language-node": true, "language-python": true, "language-rust": true, "language-java": true}
	for i := range all {
		all[i].quick, all[i].archive = quick[all[i].name], i%3 == 1
	}
	return append(all, brokenFixtures(src)...)
}

// brokenFixtures hold files that no parser reads.
func brokenFixtures(src sources) []fixture {
	broken := func(name, place, file string) fixture {
		return fixture{name: "broken-" + name, layers: func(t *testing.T) []*layer {
			return []*layer{
				run("COPY good /").text("srv/good/package.json", nodePackage("lodash", "4.17.20")),
				run("COPY broken /").program(place, read(t, file)),
			}
		}}
	}
	return []fixture{
		broken("node", "srv/node_modules/a/package.json", filepath.Join(src.analyzer("language/nodejs/pkg"), "sad.json")),
		broken("node-in-tests", "srv/node_modules/a/test/fixtures/package.json", filepath.Join(src.analyzer("language/nodejs/pkg"), "sad.json")),
		broken("node-name", "srv/node_modules/a/package.json", filepath.Join(src.parser("nodejs/packagejson"), "invalid_name.json")),
		broken("jar", "srv/app.jar", filepath.Join(src.analyzer(""), "post-apps", "jar", "invalid.jar")),
		broken("cargo", "srv/Cargo.lock", filepath.Join(src.parser("rust/cargo"), "cargo_invalid.lock")),
		broken("deps", "srv/app.deps.json", filepath.Join(src.parser("dotnet/core_deps"), "invalid.deps.json")),
		broken("packages-config", "srv/packages.config", filepath.Join(src.parser("nuget/config"), "malformed_xml.config")),
		broken("props", "srv/Directory.Packages.props", filepath.Join(src.parser("nuget/packagesprops"), "no_project.props")),
		broken("julia", "srv/Manifest.toml", filepath.Join(src.parser("julia/manifest"), "missed-child-dep", "Manifest.toml")),
		broken("julia-twice", "srv/Manifest.toml", filepath.Join(src.parser("julia/manifest"), "multiple-same-deps", "Manifest.toml")),
		broken("conda", "opt/envs/a/conda-meta/a-1-1.json", filepath.Join(src.parser("conda/meta"), "invalid_json.json")),
		broken("conda-package", "opt/envs/a/conda-meta/a-1-1.json", filepath.Join(src.parser("conda/meta"), "invalid_package.json")),
		broken("composer", "srv/installed.json", filepath.Join(src.analyzer("language/php/composer"), "composer-vendor", "sad", "installed.json")),
		broken("gemspec", "gems/specifications/a.gemspec", filepath.Join(src.parser("ruby/gemspec"), "malformed00.gemspec")),
		broken("egg", "srv/a.egg", filepath.Join(src.analyzer(""), "post-apps", "jar", "invalid.jar")),
		broken("bom", "srv/a.spdx.json", filepath.Join(src.analyzer("sbom"), "invalid_spdx.json")),
		broken("rpm", "var/lib/rpm/rpmdb.sqlite", filepath.Join(src.analyzer("sbom"), "invalid_spdx.json")),
		broken("content-manifest", "root/buildinfo/content_manifests/a.json", filepath.Join(src.analyzer("buildinfo"), "content_manifests", "broken.json")),
		broken("elf", "usr/bin/a", filepath.Join(src.analyzer("language/golang/binary"), "broken_elf")),
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
