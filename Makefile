# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What a person does here. Everything installs what it needs, from apt and PyPI, the first time.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
ROOT := $(CURDIR)
VENV := $(ROOT)/.venv
export PATH := $(VENV)/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(ROOT)/.cache/collections
export ANSIBLE_CONFIG := $(ROOT)/ansible.cfg
# Ansible wants UTF-8, and a fresh machine has no other locale with it
export LC_ALL := C.UTF-8
# an interpreter that uv fetched would come from neither apt nor PyPI
export UV_PYTHON_DOWNLOADS := never
# as pip does: behind a proxy with a certificate authority of its own, the machine knows it, uv's built-in list does not
export UV_SYSTEM_CERTS := true
COLLECTION := $(ROOT)/.cache/collections/ansible_collections/stubdom/xen
PLAY := ansible-playbook

.PHONY: help setup check test docs matrix lab lab-stop demo bench bench-fleet

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready $(COLLECTION) ## the tools, pinned, into .venv

$(VENV)/.ready: requirements/dev.txt requirements/setup.sh
	@requirements/setup.sh

# where Ansible, mypy and pytest find the collection by its name, whatever this directory is called
$(COLLECTION):
	@mkdir -p $(dir $@)
	@ln -sfn $(ROOT) $@

check: setup ## lint, unit tests, and the contract tests on a simulated Xen host; GATES="mypy unit" runs only these
	@python tests/check/gates.py $(GATES)

test: setup ## every test: the gates on every Python found, beside the contract tests on the embedded Xen host
	@$(MAKE) --no-print-directory lab
	@python tests/check/gates.py --thorough

docs: setup ## the documentation as a site, with the reference of all modules, plugins and roles
	@python tests/check/docsite.py

matrix: setup ## the contract tests on a real Xen host of each Debian, into docs/support-matrix.md: hours; SUITES="trixie" runs one
	@python tests/check/matrix.py $(SUITES)

# Xen hosts for tests: make lab HOSTS="xen1 xen2"; LAB_ARGS goes to ansible-playbook, e.g. LAB_ARGS='-e lab_memory=4096'
HOSTS ?=
LAB_ARGS ?=
LAB_KIND = embedded
LAB = $(PLAY) -i localhost, playbooks/lab.yml -e '{"lab_kind": "$(LAB_KIND)", "lab_state": "$(1)", "lab_hosts": ["$(subst $(SPACE),"$(COMMA)",$(strip $(2)))"]}' $(LAB_ARGS)
LAB_BOOTED = $(patsubst .lab/$(1)/%/host.json,%,$(wildcard .lab/$(1)/*/host.json))
COMMA := ,
SPACE := $(subst ,, )

.PHONY: lab lab-stop lab-reset lab-simulated lab-simulated-stop

lab: setup ## a real Xen host, emulated: built once, booted, in .lab/inventory.yml
	@echo "== lab: a Xen host (the first time it is built, two minutes)"
	@$(call LAB,running,$(or $(HOSTS),xen1))

lab-reset: setup ## the lab's hosts as they were after their first boot
	@$(call LAB,reset,$(or $(HOSTS),$(call LAB_BOOTED,hosts),xen1))

lab-stop: setup ## the lab's hosts stopped, and only these
	@$(call LAB,stopped,$(or $(HOSTS),$(call LAB_BOOTED,hosts),xen1))

lab-simulated lab-simulated-stop: LAB_KIND = simulated
lab-simulated: setup ## simulated Xen hosts, real xl and no hypervisor: in .lab/simulated.yml
	@echo "== lab: a simulated Xen host (the first time it is built, a minute and a half)"
	@$(call LAB,running,$(or $(HOSTS),sim1))

lab-simulated-stop: setup ## these stopped, and only these
	@$(call LAB,stopped,$(or $(HOSTS),$(call LAB_BOOTED,simulated),sim1))

# the Xen hosts that demo and bench work on
INVENTORY ?= .lab/inventory.yml

demo: setup ## from nothing to a Xen host with three guests, and a second run that changes nothing
	@python tests/demo.py --inventory $(INVENTORY)

bench: lab ## what a task with nothing to do costs, and how soon a ready guest runs, as a table
	@python tests/bench --inventory $(INVENTORY)

bench-fleet: setup ## 50 simulated hosts with 20 guests each: a task a host beside a task a guest, as a table
	@python tests/bench/fleet.py $(FLEET_ARGS)
