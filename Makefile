# The commands people use. `make demo` and `make test` are the two to know.

GO      ?= go
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT  := $(shell git rev-parse HEAD 2>/dev/null)
LDFLAGS := -X freshet/app.version=$(VERSION) -X freshet/app.commit=$(COMMIT)
DATA    ?= freshet-demo

NODE_OK      := $(shell node --version 2>/dev/null | grep -qE '^v(2[0-9]|[3-9][0-9])' && command -v npm >/dev/null 2>&1 && echo yes)
PAGE_SOURCES := $(shell find frontend/src frontend/public frontend/index.html frontend/vite.config.ts frontend/svelte.config.js frontend/tsconfig.json -type f 2>/dev/null)
MODULES      := frontend/node_modules/.package-lock.json
PAGE         := frontend/dist/index.html
DESKTOP_TAGS := desktop,production,webkit2_41

.DELETE_ON_ERROR:
.PHONY: help demo test check build page serve desktop package package-test bench bench-cdc fmt generate proof clean screenshots

help: ## what can be made
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile

demo: ## a living system on this machine: a shop, its database, consumers, sinks, faults to try
	@build/setup.sh demo
	@$(MAKE) --no-print-directory build
	@exec bin/freshet demo --data $(DATA) $(ARGS)

test: ## everything that CI runs: installs what it needs, checks, tests, drives the page
	@build/setup.sh test
	@build/test.sh

check: ## the checks alone: format, vet, staticcheck, vulnerabilities, licences, the page's
	@build/test.sh check

build: ## bin/freshet, with the page in it
	@if [ "$(NODE_OK)" = yes ]; then $(MAKE) --no-print-directory page; \
	 else echo "build: without Node.js 20 and npm the page is not built" >&2; fi
	CGO_ENABLED=1 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/freshet .

page: $(PAGE)

$(MODULES): frontend/package.json frontend/package-lock.json
	cd frontend && npm ci --no-audit --no-fund --prefer-offline --loglevel=error
	@touch $@

$(PAGE): $(MODULES) $(PAGE_SOURCES)
	cd frontend && npm run --silent build
	@touch $@ frontend/dist/.gitkeep

serve: build ## the console and the local broker, without a demo
	@exec bin/freshet serve $(ARGS)

desktop: ## bin/freshet-desktop: the same with a window
	@build/setup.sh desktop
	@$(MAKE) --no-print-directory page
	CGO_ENABLED=1 $(GO) build -trimpath -tags $(DESKTOP_TAGS) -ldflags '$(LDFLAGS)' -o bin/freshet-desktop .

package: ## dist/: .deb of server and desktop, tar.gz, the server for Windows
	@build/setup.sh package
	@build/package.sh

package-test: ## what is in dist/ on a clean Debian 12 in a folder: installs, runs the demo, leaves nothing (as root)
	@build/setup.sh package-test
	@build/package-test.sh

bench: ## one table, measured in one run
	@build/setup.sh test
	@$(MAKE) --no-print-directory build
	@build/bench.sh

bench-cdc: ## capture beside pg_recvlogical on the same log; BENCH_TRIES=1 BENCH_ONLY=million for a look
	@build/setup.sh test
	@$(MAKE) --no-print-directory build
	@FRESHET_BENCH_CDC=$(CURDIR)/bin/freshet $(GO) test -count=1 -timeout 90m -run '^TestBenchCDC$$' ./app/demo -v | grep -E '^(\||--- |ok|FAIL| +bench)'

fmt: $(MODULES) ## formats Go and the page
	$(GO) fmt ./...
	cd frontend && npm run --silent format

generate: $(MODULES) ## everything that is made from the code: API description, its types, references, the list of dependencies
	$(GO) generate ./...
	cd frontend && npm run --silent generate
	node build/reference.mjs
	node build/dependencies.mjs

screenshots: ## every screen, light and dark, wide and narrow, in test-artifacts
	@build/setup.sh test
	@$(MAKE) --no-print-directory build
	cd frontend && npm run --silent screenshots

proof: ## what takes longer than CI may, of all or of ARGS=page or ARGS=PACKAGES; its log goes to docs/proofs
	@build/setup.sh proof
	@build/proof.sh $(ARGS)

clean: ## removes what was built
	rm -rf bin dist frontend/node_modules test-artifacts
	find frontend/dist -mindepth 1 ! -name .gitkeep -delete
