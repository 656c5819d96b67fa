#!/usr/bin/env bash
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Prints the name of an image: digest.sh rootfs|embedded|simulated ARGUMENT... The name has a digest over the arguments and
# over what the image is built from. "rootfs" is what the other two are made from.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
kind=$1
case $kind in
  rootfs) prefix=rootfs- from=(rootfs) ;;
  embedded) prefix='' from=(rootfs shared embedded) ;;
  simulated) prefix=simulated- from=(rootfs shared simulated ../xenfake/{Makefile,*.[ch]}) ;;
esac
{
  printf '%s\n' "$@"
  find "${from[@]}" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
} | sha256sum | sed -E "s/^(.{16}).*/$prefix\1/"
