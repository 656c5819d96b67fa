#!/usr/bin/env bash
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Makes .venv from requirements/dev.txt. What is missing on a bare Debian comes from apt, all else from PyPI.
# Nothing outside this directory changes, except by apt. A run that was interrupted is simply run again:
# .venv/.ready, which make looks at, is written last. The Makefile exports how uv is to behave.
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=3.11
# make puts .venv/bin first, and the uv in there goes with the .venv that is about to be made anew
PATH=${PATH//"$PWD/.venv/bin:"/}

say() { printf '== setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

pip_is_there() { python3 -m pip --version >/dev/null 2>&1; }

install_pip() {
    command -v apt-get >/dev/null || die "Python's pip is wanted to install the tools, and there is neither pip nor apt-get." \
        "Install pip or uv (https://docs.astral.sh/uv) and run make setup again."
    [ "$(id -u)" = 0 ] || die "Python's pip is missing, and only root may install it. Run once: apt-get install python3-pip"
    say "apt-get install python3-pip (pip is missing here)"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends python3 python3-pip ca-certificates >.cache/setup-apt.log 2>&1 ||
        { cat .cache/setup-apt.log >&2; die "apt-get could not install python3-pip, see above."; }
}

# Sets UV. A machine's own uv is used, whatever its version: what it installs is pinned.
find_uv() {
    if uv --version >/dev/null 2>&1; then
        UV=uv
        return
    fi
    UV=.cache/uv/bin/uv
    # one that an interrupted run left half-made does not start
    "$UV" --version >/dev/null 2>&1 && return
    pip_is_there || install_pip
    local pinned
    pinned=$(grep '^uv==' requirements/dev.txt)
    say "$pinned from PyPI into .cache/uv"
    rm -rf .cache/uv
    # --target keeps out of the system's site-packages, which Debian reserves for apt (PEP 668)
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .cache/uv "$pinned"
}

mkdir -p .cache
start=$SECONDS
find_uv
say "$(grep -c '==' requirements/dev.txt) tools, pinned in requirements/dev.txt, into .venv (Python $PYTHON)"
"$UV" python find --quiet --no-project $PYTHON >/dev/null 2>&1 || die "Python $PYTHON is wanted for ansible-core" \
    "$(sed -n 's/^ansible-core==//p' requirements/dev.txt), and uv finds none on this machine." \
    "Install it (Debian 12: apt-get install python3)."
"$UV" venv --quiet --no-project --clear --python $PYTHON .venv
"$UV" pip install --quiet --python .venv/bin/python --requirements requirements/dev.txt
touch .venv/.ready
say "done in $((SECONDS - start)) s"
