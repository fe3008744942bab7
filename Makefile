# `make help` lists what there is. Everything happens in .venv, which is made at first need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Programs that are built once for each version of what they are built from, for all checkouts.
BUILT := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/otel-cinder
OTELCOL := $(BUILT)/collector/$(shell sha256sum < collector/builder-config.yaml | cut -c -12)/otelcol-cinder
JAEGER := $(BUILT)/jaeger/$(shell cat jaeger/go.mod jaeger/go.sum | sha256sum | cut -c -12)/jaeger
COMPOSE := $(BUILT)/compose/$(shell cat tests/compose/go.mod tests/compose/go.sum tests/compose/main.go | sha256sum | cut -c -12)/compose-spec
SCHEMA := $(BUILT)/schema/$(shell sha256sum < grafana/schema/package-lock.json | cut -c -12)
DRAWING := $(BUILT)/drawing/$(shell sha256sum < grafana/drawing/package-lock.json | cut -c -12)
# What a proxy has not, ",direct" would fetch from wherever it comes from, or wait for that.
GO = env GOPROXY="$$(go env GOPROXY | sed 's/,direct$$//')" nice go
# From 1.21 on, Go fetches the newer one that a module asks for.
NEED_GO = @go version 2> /dev/null | grep -Eq ' go1\.(2[1-9]|[3-9][0-9])' || { echo "make: $(notdir $@) is built with Go 1.25, or 1.21 and newer which fetch that; here is $$(go version 2> /dev/null || echo none)" >&2; exit 2; }

.DEFAULT_GOAL := help
.PHONY: help demo up down pipeline test nightly matrix programs collector jaeger coverage lint format bench picture docs dashboards schema drawing clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "make: otel-cinder needs Python 3.10 or newer, and $(PYTHON) is older; try make PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(READY) ## Run real Cinder in one process, create a volume, draw its trace
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "make: Cinder 29 needs Python 3.11 or newer; try make clean demo PYTHON=python3.11" >&2; exit 2; }
	@$(BIN)/otel-cinder demo $(ARGS)

up: ## Start collector, Jaeger, Prometheus and Grafana in containers; needs docker
	@docker compose version > /dev/null 2>&1 || { echo "make: this needs docker with its compose plugin; \`make pipeline\` runs the same without it, except Grafana" >&2; exit 2; }
	docker compose up --detach --wait
	@for second in $$(seq 30); do \
	  docker compose exec -T prometheus wget -q -O /dev/null http://collector:13133/ 2> /dev/null && exit; sleep 1; \
	done; echo "make: the collector does not answer; see docker compose logs collector" >&2; exit 1
	@echo "Send OTLP to  http://$$(docker compose port collector 4318), gRPC to $$(docker compose port collector 4317)"
	@echo "Traces        http://$$(docker compose port jaeger 16686)"
	@echo "Dashboards    http://$$(docker compose port grafana 3000)"
	@echo "Prometheus    http://$$(docker compose port prometheus 9090)"
	@echo "A first trace: make demo ARGS=--pipeline"

down: ## Stop what `make up` started; the recorded data stays
	docker compose down

pipeline: $(READY) $(OTELCOL) $(JAEGER) ## Run the same without containers and Grafana, until Ctrl-C; needs Go and Prometheus
	@command -v prometheus > /dev/null || { echo "make: Prometheus is not installed (Debian: prometheus)" >&2; exit 2; }
	@mkdir -p .cache/pipeline
	@echo "Send OTLP to  http://127.0.0.1:4318, gRPC to 127.0.0.1:4317"
	@echo "Traces        http://127.0.0.1:16686"
	@echo "Prometheus    http://127.0.0.1:9090"
	@echo "A first trace: make demo ARGS=--pipeline"
	@JAEGER=$(JAEGER) OTELCOL=$(OTELCOL) $(BIN)/honcho --env /dev/null start

# The tests that ARGS names, if it names any; only those of the pipeline and of compose.yaml run
# programs that no package has.
NAMED := $(filter tests tests/%,$(ARGS))
NEED_PROGRAMS := $(if $(NAMED),$(filter tests tests/ tests/pipeline% tests/compose%,$(NAMED)),all)

test: $(READY) lint ## Run all tests, or ARGS='tests/unit -q'; under CI=true a missing program fails them
ifneq ($(NEED_PROGRAMS),)
	@$(MAKE) --no-print-directory --keep-going programs || [ "$$CI" != true ]
endif
	$(BIN)/python -m pytest $(ARGS)

nightly: $(READY) ## Run what is too slow for CI: all tests of Cinder and its libraries, untraced and traced
	$(BIN)/python -m pytest -m nightly $(ARGS)

matrix: $(READY) ## Install each OpenStack release's Cinder, add otel-cinder, compare traces, write docs/releases.md; ARGS='-k zed'
	$(BIN)/python -m pytest tests/releases -m 'nightly or not nightly' --update-table $(ARGS)

programs: $(OTELCOL) $(JAEGER) $(COMPOSE) $(SCHEMA) $(DRAWING) ## Build the programs that the tests need and no package provides; needs Go and npm

collector: $(OTELCOL) ## Build the OpenTelemetry Collector that the tests run; needs Go

jaeger: $(JAEGER) ## Build the Jaeger that the tests run; needs Go

$(OTELCOL):
	$(NEED_GO)
	mkdir -p $(@D)
	env dist.output_path=$(@D)/source $(GO) run go.opentelemetry.io/collector/cmd/builder@v0.158.0 \
	  --config collector/builder-config.yaml
	mv $(@D)/source/$(@F) $@ && rm -r $(@D)/source

$(JAEGER):
	$(NEED_GO)
	cd jaeger && $(GO) build -trimpath -ldflags='-s -w' -o $@.part github.com/jaegertracing/jaeger/cmd/jaeger
	mv $@.part $@

$(COMPOSE):
	$(NEED_GO)
	cd tests/compose && $(GO) build -o $@.part . && mv $@.part $@

coverage: $(READY) ## Show which lines the unit tests run, in their subprocesses too
	$(BIN)/python -m pytest tests/unit --cov --cov-report=term-missing:skip-covered $(ARGS)

lint: $(READY) ## Check style, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(READY) ## Measure what tracing costs, as ratios; ARGS='flow --quick' for a quick look
	$(BIN)/python -m benchmarks $(ARGS)

picture: $(READY) $(OTELCOL) $(JAEGER) $(DRAWING) ## Draw the docs' pictures again, from real runs; ARGS='-k cinder-rpc'; needs chromium
	$(BIN)/otel-cinder demo --svg docs/images/demo.svg
	$(BIN)/python -m docs.recording docs/images/live.svg
	$(BIN)/python -m pytest -m nightly tests/pipeline/test_pictures.py --pictures docs/images $(ARGS)

docs: $(READY) ## Write docs/reference.md and the collector's ignored_keys from otel_cinder/conventions.py
	$(BIN)/python docs/reference.py
	$(BIN)/python collector/ignored_keys.py

dashboards: $(READY) ## Write grafana/dashboards/*.json from the code beside it
	$(BIN)/python -m grafana

schema: $(SCHEMA) ## Fetch Grafana's published schema, with which the tests check the dashboards; needs npm

drawing: $(DRAWING) ## Fetch Grafana's published code, with which the tests draw the dashboards; needs npm

$(SCHEMA) $(DRAWING): $(BUILT)/%:
	@command -v npm > /dev/null || { echo "make: Grafana's packages are fetched with npm, and there is none" >&2; exit 2; }
	rm -rf $@.part && mkdir -p $@.part && cp grafana/$(firstword $(subst /, ,$*))/package*.json grafana/$(firstword $(subst /, ,$*))/.npmrc $@.part
	cd $@.part && npm ci --silent --ignore-scripts --no-audit --no-fund
	mv $@.part $@

clean: ## Remove what was built
	rm -rf $(VENV) .cache build dist *.egg-info
