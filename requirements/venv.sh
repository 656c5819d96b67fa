#!/usr/bin/env bash
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# venv.sh NAME makes .cache/NAME from requirements/NAME.txt, for tools that only one gate or test needs. A run that was
# interrupted is simply run again.
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=.cache/$1
WANTED=requirements/$1.txt
[ -e "$VENV/.ready" ] && [ "$VENV/.ready" -nt "$WANTED" ] && exit 0
uv=.venv/bin/uv
"$uv" venv --quiet --no-project --clear --python .venv/bin/python "$VENV"
"$uv" pip install --quiet --python "$VENV/bin/python" --requirements "$WANTED"
touch "$VENV/.ready"
