#!/usr/bin/env bash
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# A virtual environment of its own for what does not go with .venv: .cache/NAME, from requirements/NAME.txt. It is made
# anew when that file is newer. A run that was interrupted is simply run again.
#
#   requirements/venv.sh NAME [PYTHON]      PYTHON: the interpreter, else that of .venv
set -euo pipefail
cd "$(dirname "$0")/.."

name=$1 python=${2:-.venv/bin/python}
wanted=requirements/$name.txt venv=.cache/$name
[ -x "$venv/bin/python" ] && [ "$venv/.ready" -nt "$wanted" ] && exit 0
uv=.venv/bin/uv
"$uv" venv --quiet --no-project --clear --python "$python" "$venv"
"$uv" pip install --quiet --python "$venv/bin/python" --requirements "$wanted"
touch "$venv/.ready"
