# Two commands matter: `make demo` and `make test`. Each makes what it needs from a bare checkout.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3.15 python3; do \
	if command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo $$p; break; fi; done)
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test slow soak screenshots fuzz bench deb msi openapi lint format lock clean

demo: $(READY)  ## a working day with an outage in it; KEEP=1 leaves everything up until Ctrl-C, VENDORS=all shows every vendor
	$(BIN)/loyalty-agent demo $(if $(KEEP),--keep) $(if $(VENDORS),--vendors $(VENDORS))

test: $(READY)  ## the default test run
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

slow: $(READY)  ## the suites that take long or need a real service
	$(BIN)/python -m pytest -n auto --dist worksteal -m slow --timeout 600 $(ARGS)

soak: $(READY)  ## the long state machines with examples that nobody has seen yet; SEED=... repeats them
	SEED=$(or $(SEED),$(strip $(shell od -An -N4 -tu4 /dev/urandom))) $(BIN)/python -m pytest -n auto -m slow --timeout 3600 -rP \
		tests/interleavings tests/services/test_visits_machine.py $(ARGS)

screenshots: $(READY)  ## photographs the pages and the demonstration for docs/images, in a real Chromium
	SCREENSHOTS=docs/images $(BIN)/python -m pytest -m slow --timeout 600 tests/e2e/test_pages.py tests/e2e/test_admin_page.py tests/e2e/test_demo_picture.py $(ARGS)

fuzz: $(READY)  ## every parser that meets foreign bytes, with FUZZ_INPUTS each
	FUZZ_INPUTS=$(or $(FUZZ_INPUTS),5000) $(BIN)/python -m pytest -n auto tests/fuzz $(ARGS)

bench: $(READY)  ## every bench beside its limit: a table, and bench/out/results.json
	$(BIN)/python -m bench $(ARGS)

deb: $(READY)  ## the Debian package, into dist/; ARCH=arm64 for the other machine
	$(BIN)/python packaging/build_deb.py --arch $(or $(ARCH),amd64)

msi: $(READY)  ## the Windows package, into dist/, from PAYLOAD: what packaging/windows/build.ps1 made on Windows
	$(BIN)/python packaging/windows/build_msi.py --payload $(PAYLOAD)

openapi: $(READY)  ## docs/openapi.json anew, unless that would break who built on it
	OPENAPI=write $(BIN)/python -m pytest -q tests/api/test_openapi_stable.py

lint: $(READY)  ## style, types and floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --no-warn-unreachable agent
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix --unsafe-fixes . ; $(BIN)/ruff format .

lock:  ## pins anew, by hash and without naming an index; needs uv and npm
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--group dev pyproject.toml -o requirements.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
		-c requirements.txt pyproject.toml -o packaging/requirements.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--group clients -o tests/e2e/clients/python/requirements.txt
	npm install --prefix tests/e2e/clients/typescript --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
		-c requirements.txt pyproject.toml packaging/windows/requirements.in -o packaging/windows/requirements.txt

$(READY): requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer with its venv module was found (Debian: apt install python3-venv)."; exit 1; }
	rm -rf .venv
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
