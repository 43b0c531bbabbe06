# Everything a person or a CI does here is a target; `make` alone lists them.
#
# One set of variables for build, vet, test and staticcheck, so that the world
# is compiled once. trivy's libraries need jsonv2; the version comes from git
# below, so Go need not ask git for it (it refuses a checkout it does not own).
# gRPC's tracing pages call methods by name, and then the linker can leave out
# none: without them each program is a fifth smaller.
export GOEXPERIMENT := jsonv2
export CGO_ENABLED  := 0
export GOFLAGS      := -trimpath -buildvcs=false -tags=grpcnotrace
# runc and debootstrap live in sbin, which a plain user's PATH often lacks.
export PATH := $(PATH):/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin

VERSION := $(shell git describe --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/imagewright/imagewright/internal/step.version=$(VERSION)
TOOLS   := bin/tools

.DEFAULT_GOAL := help
.PHONY: help build test test-differential demo generate lint tools clean bench-build bench-rebuild bench-scan packages-demo packages-test

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## bin/imagewright-<step>, one static binary a step
	@mkdir -p bin
	go build -ldflags '$(LDFLAGS)' -o bin/ ./steps/*/imagewright-*

test: packages-test tools build lint ## everything .ci/run checks: lint, unit tests, end-to-end scripts, two CI runners
	go test -timeout 45m ./...
	go test -tags=grpcnotrace,caches -run S3 ./internal/buildkit
	cd examples/hello-go && go vet ./... && go test ./...

test-differential: packages-test $(TOOLS)/.trivy build ## imagewright-scan against the trivy CLI, over many more images than make test takes
	go test -timeout 60m -count=1 ./test/differential -full

demo: packages-demo build $(TOOLS)/.registry ## the whole pipeline on examples/hello-go, or on APP=dir; DB_REPOSITORY=… for another database
	go build -o $(TOOLS)/demo ./test/demo
	@$(TOOLS)/demo -db-repository '$(DB_REPOSITORY)' $(if $(APP),-app '$(APP)')

generate: ## actions/, gitlab-templates/ and docs/inputs, from the declared inputs
	go run ./steps/generate

# Folders of Go source that are ours; bin, .cache and .demo hold other people's.
SOURCE := $(wildcard steps internal test bench examples)

bench-build: packages-demo build $(TOOLS)/.registry $(TOOLS)/.buildkit ## start, size and small builds against buildkitd and buildctl (BENCH_RUNS=9)
	go build -tags grpcnotrace,caches -ldflags '$(LDFLAGS)' -o $(TOOLS)/imagewright-build-caches ./steps/build/imagewright-build
	go build -o $(TOOLS)/bench-build ./bench/build
	@$(TOOLS)/bench-build $(if $(BENCH_RUNS),-runs '$(BENCH_RUNS)')

bench-rebuild: packages-demo build $(TOOLS)/.registry ## a rebuild after a small change against docker build (needs docker.io; BENCH_RUNS=9)
	go build -o $(TOOLS)/bench-rebuild ./bench/rebuild
	@$(TOOLS)/bench-rebuild $(if $(BENCH_RUNS),-runs '$(BENCH_RUNS)')

bench-scan: packages-demo build tools ## scans against the trivy CLI (BENCH_RUNS=9)
	go build -o $(TOOLS)/bench-scan ./bench/scan
	@$(TOOLS)/bench-scan $(if $(BENCH_RUNS),-runs '$(BENCH_RUNS)')

lint: $(TOOLS)/.staticcheck packages-test ## gofmt, go vet, staticcheck, shellcheck
	@unformatted=$$(gofmt -l $(SOURCE)); test -z "$$unformatted" || { echo "not gofmt'ed:" $$unformatted >&2; exit 1; }
	go vet ./...
	go vet -tags=grpcnotrace,thief ./steps/scan/sandbox/... ./steps/scan/sandbox/testdata/burglary ./steps/scan/parser
	$(TOOLS)/staticcheck ./...
	shellcheck .ci/run test/packages

clean: ## all that was built, fetched or made here
	rm -rf bin .cache .demo

# --- what the machine needs --------------------------------------------------

# COMMAND:PACKAGE, or PACKAGE; see test/packages.
packages-demo:  ; @test/packages git:git runc:runc debootstrap:debootstrap debian-archive-keyring busybox-static ca-certificates
packages-test: packages-demo ; @test/packages skopeo:skopeo rpm:rpm rsync:rsync shellcheck:shellcheck node:nodejs npm:npm \
	sudo:sudo newuidmap:uidmap fuse-overlayfs:fuse-overlayfs dockerd:docker.io sshd:openssh-server ssh:openssh-client

# Pinned, and each in bin/tools: nothing is installed outside this folder. A
# stamp carries the version, so that a new version here is a new installation.
# (go-tool NAME, PACKAGE, VERSION, FLAGS)
define go-tool
tools: $(TOOLS)/.$(1)
$(TOOLS)/.$(1): $(TOOLS)/.$(1)@$(3)
	@touch $$@
$(TOOLS)/.$(1)@$(3):
	@mkdir -p $(TOOLS)
	@rm -f $(TOOLS)/.$(1)@*
	GOBIN=$(CURDIR)/$(TOOLS) go install $(4) $(2)@$(3)
	@touch $$@
endef

tools: $(TOOLS)/.gitlab-ci-local ## the pinned tools that tests use, into bin/tools

$(eval $(call go-tool,registry,github.com/distribution/distribution/v3/cmd/registry,v3.1.2))
$(eval $(call go-tool,staticcheck,honnef.co/go/tools/cmd/staticcheck,v0.8.1))
$(eval $(call go-tool,actionlint,github.com/rhysd/actionlint/cmd/actionlint,v1.7.12))
$(eval $(call go-tool,act,github.com/nektos/act,v0.2.89))
# The scanner to agree with: eight minutes on two cores, the first time.
$(eval $(call go-tool,trivy,github.com/aquasecurity/trivy/cmd/trivy,v0.74.0,-ldflags='-s -w'))

# The builder to compare with and to build on, its client, and what a # syntax=
# line names: of the version in go.mod. Built in the module's own folder, because
# go install refuses a module that excludes something.
tools: $(TOOLS)/.buildkit
$(TOOLS)/.buildkit: go.mod
	@mkdir -p $(TOOLS)
	go mod download github.com/moby/buildkit
	go build -C "$$(go list -m -f '{{.Dir}}' github.com/moby/buildkit)" -o $(CURDIR)/$(TOOLS)/ ./cmd/buildctl ./cmd/buildkitd ./frontend/dockerfile/cmd/dockerfile-frontend
	@touch $@

# gitlab-ci-local and all below it, at the hashes of test/npm/package-lock.json.
$(TOOLS)/.gitlab-ci-local: test/npm/package-lock.json | packages-test
	@mkdir -p $(TOOLS)/.npm
	cp test/npm/package.json test/npm/package-lock.json $(TOOLS)/.npm/
	cd $(TOOLS)/.npm && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	ln -sfn .npm/node_modules/.bin/gitlab-ci-local $(TOOLS)/gitlab-ci-local
	@touch $@
