# Everything a person types. Needs Python 3.11 or newer; the tests also Go 1.25 or newer and, to install what
# is missing of Debian's packages, root. All that is made lies in .build/.

PYTHON ?= python3
export PYTHON
BIN := $(CURDIR)/.build/venv/bin
export PATH := $(BIN):$(CURDIR)/.build/bin:$(PATH)
SOURCES := gateway tests bench

.PHONY: help demo test check bench torture soak fuzz lock clean environment components

help:
	@echo 'make demo [ARGS=--tour]   a simulated plant, a broker and the gateway, to try; Ctrl-C ends it'
	@echo 'make test [ARGS=-k…]      install what the tests need, and run them all'
	@echo 'make check                format, lint, types, import contracts, lock and licences'
	@echo 'make bench [ARGS=--json]  CPU for each request, beside HAProxy in the same run'
	@echo 'make torture              10,000 kills of the journal, 10 million records, 200 of the whole gateway; an hour'
	@echo 'make soak                 60 renewals of OPC UA channels under load, two clients and two servers; eight minutes'
	@echo 'make fuzz [FUZZ_RUNS=…]   twenty million runs over all readers of bytes; crashes go to .build/fuzz/crashes'
	@echo 'make lock                 pin requirements again from pyproject.toml'
	@echo 'make clean                remove all that was made'

environment:
	@.ci/environment

components:
	@.ci/install-components

demo: environment
	@$(BIN)/python -m gateway demo $(ARGS)

test: environment components
	$(BIN)/python -m pytest $(ARGS)

check: environment
	.ci/check

bench: environment components
	@bench/run $(ARGS)

torture: environment components
	TORTURE_KILLS=10000 TORTURE_RECORDS=10000000 TORTURE_ROUNDS=200 TORTURE_EXAMPLES=3000 \
	TORTURE_EXPORT_ROUNDS=25 \
		$(BIN)/python -m pytest -s --timeout=3600 tests/faults tests/properties/test_torn_disk.py $(ARGS)

soak: environment components
	OPCUA_SOAK=1 $(BIN)/python -m pytest --timeout=1200 tests/interop/test_opcua_foreign.py -k renewed $(ARGS)

fuzz: environment
	$(BIN)/python -m tests.fuzz $(ARGS)

lock:
	.ci/lock

clean:
	rm -rf .build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find $(SOURCES) -name __pycache__ -type d -prune -exec rm -rf {} +
