# Every target makes the environment it needs; nothing has to be installed by hand but Python and make.
PYTHON ?= python3
DEMO_VENV ?= .venv-demo
VENV ?= .venv
PIP_FLAGS = --quiet --disable-pip-version-check --constraint constraints.txt

# one process for each core, and each file of tests in one of them: what they make together stays there
SIDE_BY_SIDE = --numprocesses=auto --maxprocesses=4 --dist=loadfile

# what tests of devices start on this machine: a board behind ssh, a phone behind adb
DEVICE_PACKAGES = adb openssh-client openssh-server

# tests and type checks tell nobody that they ran (ONNX Runtime from 1.29 on would)
export ORT_DISABLE_TELEMETRY = 1

.PHONY: demo devices test test-fast check format docs clean

demo: $(DEMO_VENV)/.ready  ## build and validate the digits sample for all three targets
	$(DEMO_VENV)/bin/edgewise build sample_models/digits/edgewise.toml --out dist/digits

devices: $(VENV)/.ready  ## what tests on ARM64 code need; without it they are skipped
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get -qq update && \
	  DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends \
	  $(DEVICE_PACKAGES); fi
	$(VENV)/bin/edgewise emulator install --counter --verbose

test: $(VENV)/.ready  ## the whole test suite
	$(VENV)/bin/python -m pytest $(SIDE_BY_SIDE)

test-fast: $(VENV)/.ready  ## without the tests that take more than about five seconds
	$(VENV)/bin/python -m pytest $(SIDE_BY_SIDE) -m "not slow"

check: $(VENV)/.ready  ## lint, format and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(VENV)/.ready
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

docs: $(VENV)/.ready  ## regenerate the schemas in docs/
	$(VENV)/bin/python docs/generate.py

clean:
	rm -rf $(DEMO_VENV) $(VENV) dist build

$(DEMO_VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEMO_VENV)
	$(DEMO_VENV)/bin/python -m pip install $(PIP_FLAGS) .
	touch $@

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install $(PIP_FLAGS) --editable ".[test]"
	touch $@
