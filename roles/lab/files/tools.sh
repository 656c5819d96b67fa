#!/usr/bin/env bash
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Installs those of the named Debian packages that are missing. Prints what it installed.
set -euo pipefail
missing=()
for package in "$@"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
# A stale list names files that the mirror no longer has; a repository of somebody else's that fails is no reason to stop.
"${apt[@]}" update >&2 || true
if ! "${apt[@]}" install --no-install-recommends "${missing[@]}" >&2; then
  echo "The lab needs the Debian packages: ${missing[*]}. apt-get could not install them (its reasons are above)." \
    "Install them by hand, or mend apt's sources, then run again." >&2
  exit 1
fi
echo "${missing[*]}"
