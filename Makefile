# The two commands are `make demo` and `make test`. Both need nothing but git, make and python3 on Debian or Ubuntu:
# vagrant/provision.sh installs the rest and says so.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON := .venv/bin/python
# Namespaces, libvirtd and the firewall need root; everything else runs as whoever calls make.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
LAB := $(SUDO) $(PYTHON) -m tests.lab.harness

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: provision micro ## a service's whole life on real virtual machines, in namespaces of its own; KEEP=1 leaves it up
	$(LAB) $(if $(KEEP),--keep) -- env KEEP=$(KEEP) $(PYTHON) -m tests.demo

.PHONY: demo-down
demo-down: ## end what `make demo KEEP=1` left up
	$(LAB) --down

.PHONY: test
test: provision ## everything: style, unit, contract, trouble, and labs with real virtual machines
	$(PYTHON) -m tests.rings

.PHONY: check
check: provision ## the fast part: style, unit and contract without what is slow, under a minute
	$(PYTHON) -m tests.rings fast

.PHONY: lab
lab: provision images ## only the tests with real virtual machines; ONLY=words narrows them as pytest's -k does
	$(LAB) -- $(PYTHON) -m pytest tests/lab --ignore=tests/lab/long -v -p no:cacheprovider $(if $(ONLY),-k '$(ONLY)')

.PHONY: test-long
test-long: provision ## what is too long for every run: whole Debians, admission of images, exports, the README's service file
	$(PYTHON) -m tests.rings long

.PHONY: simulate
simulate: provision ## whole lives in the fake world under the daemon's own loop, drawn from SEEDS=20000 seeds
	$(PYTHON) -m tests.trouble.simulate --seeds $(or $(SEEDS),20000)

.PHONY: nights
nights: provision ## nights of a host whose faults are known, and whom healing blames for them: SEEDS=5000 of them
	$(PYTHON) -m tests.world.healing_simulation $(or $(SEEDS),5000)

.PHONY: test-windows
test-windows: provision ## the Windows recipe on real media: WINDOWS_ISO=… VIRTIO_WIN=… WINDOWS_EDITION=…
	$(PYTHON) -m pytest tests/windows -v -s -p no:cacheprovider

.PHONY: bench
bench: provision images ## the numbers, each against a floor measured in the same run: build/bench.json
	$(LAB) -- $(PYTHON) -m tests.bench

.PHONY: bench-peers
bench-peers: provision images ## a machine's reset by other tools and by vmrole, in turns: build/bench-peers.json; an hour without KVM
	@vagrant/provision.sh peers
	$(LAB) -- $(PYTHON) -m tests.bench.peers

.PHONY: images
images: micro ## the base images under build/images, where they are not there or older than their recipe
	$(SUDO) $(PYTHON) -m vmrole_images ensure debian build/images
	$(SUDO) $(PYTHON) -m vmrole_images ensure setup-simulator build/images

.PHONY: micro
micro: provision ## the small one of them alone
	$(SUDO) $(PYTHON) -m vmrole_images ensure micro build/images

.PHONY: provision
provision: ## install what is missing: Debian packages and the virtual environment
	@vagrant/provision.sh develop
	@mkdir -p build # by whoever calls make, before root puts images into it

.PHONY: deb
deb: ## the Debian package for this distribution, and the wheel: build/deb
	@vagrant/provision.sh package
	vagrant/deb/build.sh build/deb

.PHONY: test-deb
test-deb: provision ## the package built, installed, upgraded, removed and purged in a Debian 12; SUITE=trixie or noble in theirs
	VMROLE_SUITE=$(SUITE) $(PYTHON) -m tests.rings package

.PHONY: vagrant-box
vagrant-box: provision micro deb ## the Vagrant lab's box for libvirt, with package and image: build/vagrant
	$(SUDO) $(PYTHON) vagrant/box build/vagrant
	$(SUDO) install -m 0644 "$$(ls -t build/deb/vmrole_*.deb | head -n 1)" build/vagrant/vmrole.deb
	$(SUDO) install -m 0644 build/images/micro.qcow2 build/vagrant/micro.qcow2

.PHONY: test-vagrant
test-vagrant: vagrant-box ## the Vagrant lab from nothing, in namespaces of its own: half an hour where there is no KVM
	@vagrant/provision.sh vagrant
	$(LAB) -- $(PYTHON) -m pytest tests/vagrant -v -s -p no:cacheprovider

.PHONY: test-debian13
test-debian13: provision ## contract and network tests on a Debian 13 made in a directory, with its libvirt, QEMU and HAProxy
	$(SUDO) $(PYTHON) -m tests.package.other_host trixie contract network

# uv resolves for every platform and writes a hash for every file; it is needed for nothing else. What a host runs is in
# requirements.lock, what builds the packages that come as sources in -build, and what the tests need, too, in -dev.
.PHONY: lock
lock: ## write the three locks anew from pyproject.toml
	@tool=$$(mktemp -d) && trap 'rm -rf "$$tool"' EXIT && \
	python3 -m venv "$$tool" && "$$tool/bin/pip" install --quiet --disable-pip-version-check uv && \
	lock() { "$$tool/bin/uv" pip compile --quiet --universal --generate-hashes --no-header --no-annotate \
	  --python-version 3.11 --upgrade "$$@"; } && \
	python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["build"], sep="\n")' \
	  >"$$tool/build.in" && \
	lock pyproject.toml --output-file requirements.lock && \
	lock "$$tool/build.in" --constraints requirements.lock --output-file requirements-build.lock && \
	lock pyproject.toml --extra build --extra dev --constraints requirements.lock \
	  --constraints requirements-build.lock --output-file requirements-dev.lock

.PHONY: clean
clean: ## remove what was built, the virtual environment included
	$(SUDO) rm -rf build .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec $(SUDO) rm -rf {} +
