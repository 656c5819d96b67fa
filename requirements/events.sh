#!/usr/bin/env bash
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Makes .cache/events from requirements/events.txt, and has a Java installed by apt where there is none: ansible-rulebook's
# engine is written in it. A run that was interrupted is simply run again.
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=.cache/events
[ -e "$VENV/.ready" ] && [ "$VENV/.ready" -nt requirements/events.txt ] && exit 0
if ! command -v java >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # Debian 13 has no 17
    apt-get install -y -qq --no-install-recommends openjdk-17-jre-headless ||
        apt-get install -y -qq --no-install-recommends openjdk-21-jre-headless
fi
uv=.venv/bin/uv
"$uv" venv --quiet --no-project --clear --python .venv/bin/python "$VENV"
"$uv" pip install --quiet --python "$VENV/bin/python" --requirements requirements/events.txt
touch "$VENV/.ready"
