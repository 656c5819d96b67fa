#!/usr/bin/env bash
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The simulated hypervisor under AddressSanitizer and UBSan, on the file system that the lab has built for its hosts.
set -euo pipefail
cd "$(dirname "$0")/../.."
roots=(.lab/images/rootfs-*/root)
[ -d "${roots[0]}" ] || { echo "there is no file system of a lab host yet: make lab-simulated builds one" >&2; exit 1; }
exec roles/lab/files/xenfake/sanitize.sh "${roots[0]}"
