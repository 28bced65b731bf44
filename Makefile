# Every tool is pinned here and run with "go run": nothing to install, and no
# tool enters go.mod.
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
GOVULNCHECK   := golang.org/x/vuln/cmd/govulncheck@v1.9.0
DEADCODE      := golang.org/x/tools/cmd/deadcode@v0.52.0

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

WASM   := GOOS=wasip1 GOARCH=wasm
GUESTS := ./abi/... ./sdk/go/... ./plugins/agents/... ./plugins/tools/... ./examples/...
SDK    := $(shell find abi sdk/go -name '*.go' ! -name '*_test.go')

# A built-in plugin is a folder with a plugin.yaml; its name is the folder's.
SOURCES := $(patsubst %/plugin.yaml,%,$(wildcard plugins/*/*/plugin.yaml))
PLUGINS := $(foreach dir,$(SOURCES),plugins/dist/$(notdir $(dir)).wasm)

# The race detector needs a C compiler, which a machine with Go alone has not.
RACE := $(if $(shell command -v $$(go env CC)),-race)

# Tests that the race detector would slow down tenfold take a part of their work
# with it, and all of it in a run of their own.
SLOW := ^(TestProcesses|TestSpecification|TestGoProgram|TestBuiltModules)$$

FUZZTIME ?= 30s
COUNT    ?= 6

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: check
check: fmt fix lint vuln dead test clean-tree ## Run everything a change must pass

.PHONY: build
build: plugins ## Build the host into bin/
	go build -trimpath -o bin/ ./host/cmd/...

.PHONY: plugins
plugins: $(PLUGINS) ## Build the built-in plugins into plugins/dist/

define plugin
plugins/dist/$(notdir $(1)).wasm: $(shell find $(1) -type f ! -name '*_test.go') $(SDK)
	go run ./host/cmd/vespiary build --output $$@ $(1)
	@touch $$@ # a module that came out the same is left alone
endef
$(foreach dir,$(SOURCES),$(eval $(call plugin,$(dir))))

.PHONY: demo
demo: build ## Show what it does: an agent, its tools, a denial, a crash
	bin/vespiary demo

.PHONY: setup
setup: ## Install what the tests need, as far as that is allowed
	@.ci/setup

.PHONY: test
test: setup plugins ## Run the tests
	@set +e; { \
	go test -json $(RACE) -shuffle=on -timeout=40m ./...; all=$$?; \
	$(if $(RACE),go test -json -run '$(SLOW)' -timeout=20m ./host/internal/runtime/...,:); slow=$$?; \
	exit $$((all | slow)); } | go run ./.ci/count

.PHONY: golden
golden: plugins ## Rewrite the golden files
	@{ grep -rl --include='*_test.go' 'flag.Bool("update"' . || true; } | xargs -r -n1 dirname | sort -u | \
	while read -r dir; do go test $$dir -update; done

.PHONY: fuzz
fuzz: plugins ## Run each fuzz target for FUZZTIME
	@grep -r --include='*_test.go' -o '^func Fuzz[A-Za-z0-9_]*' . | sed 's|/[^/]*_test.go:func | |' | \
	while read -r dir target; do \
		echo "$$dir $$target"; \
		go test -run='^$$' -fuzz="^$$target\$$" -fuzztime=$(FUZZTIME) $$dir; \
	done

.PHONY: bench
bench: plugins ## Run the benchmarks COUNT times, in benchstat's format
	go test -run='^$$' -bench=. -benchmem -count=$(COUNT) ./...

.PHONY: soak
soak: plugins ## Run the long tests, which make test leaves out
	@dirs=$$(grep -rl --include='*_test.go' '^//go:build soak' . | xargs -r -n1 dirname | sort -u); \
	test -n "$$dirs" || { echo "soak: there is no test with the build tag soak"; exit 1; }; \
	go test -tags=soak -run='^TestSoak' -count=1 -timeout=0 -v $$dirs

.PHONY: fmt
fmt: ## Format
	go run $(GOLANGCI_LINT) fmt

.PHONY: fix
fix: ## Apply Go's modernizers
	go fix ./...

.PHONY: lint
lint: ## Lint the host, then the guests as guests
	go run $(GOLANGCI_LINT) run ./...
	go run -exec 'env $(WASM)' $(GOLANGCI_LINT) run $(GUESTS)

.PHONY: vuln
vuln: ## Look for known vulnerabilities
	go run $(GOVULNCHECK) ./...

.PHONY: dead
dead: ## Fail on functions that nothing reaches
	@out=$$(go run $(DEADCODE) -test ./...); test -z "$$out" || { echo "$$out"; exit 1; }

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin .cache demo plugins/dist/*.wasm

.PHONY: clean-tree
clean-tree: # formatting, fixes and go.mod must already be committed
	go mod tidy
	git diff --exit-code
