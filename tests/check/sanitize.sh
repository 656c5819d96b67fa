#!/usr/bin/env bash
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# C code under AddressSanitizer and UBSan: a vTPM domain's back end among guests that write anything, and the simulated
# hypervisor, on the file system that the lab has built for its hosts.
set -euo pipefail
cd "$(dirname "$0")/../.."
tests/vtpm/fuzz.sh 200000
# there may be those of other suites, for embedded hosts
release=$(grep -ls '^VERSION_CODENAME=bookworm$' .lab/images/rootfs-*/root/usr/lib/os-release | head -1) || true
[ -n "$release" ] || { echo "there is no file system of a simulated host yet: make lab-simulated builds one" >&2; exit 1; }
exec roles/lab/files/xenfake/sanitize.sh "${release%/usr/lib/os-release}"
