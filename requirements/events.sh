#!/usr/bin/env bash
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Makes .cache/events from requirements/events.txt, and has a Java installed by apt where there is none: ansible-rulebook's
# engine is written in it. A run that was interrupted is simply run again.
set -euo pipefail

if ! command -v java >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # Debian 13 has no 17
    apt-get install -y -qq --no-install-recommends openjdk-17-jre-headless ||
        apt-get install -y -qq --no-install-recommends openjdk-21-jre-headless
fi
"$(dirname "$0")/venv.sh" events
