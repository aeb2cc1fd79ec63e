# make demo   install the lean runtime into .venv and show everything in half a minute
# make test   install everything into .venv-test, then lint, type-check and test
# make bench  each stage's latency here, and the same model in torch beside it
# make bench-signal  beats, waves, quality and checked statements on the real recordings, beside what people use today
# make train  train uniecg-nano again and export it (hours on a CPU)

PYTHON ?= python3
export PYTHON

SOURCES := pyproject.toml CMakeLists.txt tools/venv $(shell find device runtime export -type f \
	-not -path '*/__pycache__/*' -not -path '*/.*')
CPP := $(shell find device tests examples -name '*.cc' -o -name '*.c' -o -name '*.h')
CHECKPOINT ?= checkpoints/uniecg-nano
TEST_BIN := .venv-test/bin
UNIECG_DATA ?= $(HOME)/.cache/uniecg/data
export UNIECG_DATA

.PHONY: demo test lint test-python bench bench-signal train clean

demo: .venv/.installed
	.venv/bin/uniecg demo

.venv/.installed: $(SOURCES)
	tools/venv .venv plot

.venv-test/.installed: $(SOURCES)
	tools/venv .venv-test dev,export,tensorrt

test: lint test-python

lint: .venv-test/.installed
	$(TEST_BIN)/ruff check .
	$(TEST_BIN)/ruff format --check .
	$(TEST_BIN)/mypy
	$(TEST_BIN)/clang-format --dry-run --Werror $(CPP)

# The installed packages are tested, not the source folders that pyproject.toml names for quick runs. One
# of the tests builds the C++ tests with sanitizers and runs ctest, another for 64-bit ARM; their cmake and ninja are
# in the environment, the cross-compiler and the emulator are Debian packages. Without those that test is skipped.
test-python: .venv-test/.installed
	tools/test-aarch64 --tools || true
	PATH="$(CURDIR)/$(TEST_BIN):$$PATH" $(TEST_BIN)/pytest -o pythonpath=

bench: .venv-test/.installed
	$(TEST_BIN)/uniecg bench
	if [ -d $(CHECKPOINT) ]; then $(TEST_BIN)/python benchmarks/interpret_vs_torch.py $(CHECKPOINT); \
	else echo "no checkpoint at $(CHECKPOINT), so no comparison with torch; make train, or give CHECKPOINT=..."; fi

bench-signal: .venv-test/.installed
	$(TEST_BIN)/python -m pip install --quiet --disable-pip-version-check ".[peers]"
	$(TEST_BIN)/python benchmarks/signal_beats.py --peers
	$(TEST_BIN)/python benchmarks/signal_waves.py
	$(TEST_BIN)/python benchmarks/signal_waves.py --who rules
	$(TEST_BIN)/python benchmarks/signal_waves.py --who neurokit2
	$(TEST_BIN)/python benchmarks/signal_quality.py
	$(TEST_BIN)/python benchmarks/claim_checking.py --texts 100

train: .venv-test/.installed
	$(TEST_BIN)/python -m uniecg_export.training --data $(UNIECG_DATA) --out $(CHECKPOINT)
	$(TEST_BIN)/uniecg export $(CHECKPOINT) --delineator checkpoints/delineator --out $(CHECKPOINT).bundle

clean:
	rm -rf .venv .venv-test build dist demo-output
