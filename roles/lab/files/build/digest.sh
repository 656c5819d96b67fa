#!/usr/bin/env bash
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Prints the name of the image that these scripts would build: a digest over their contents and the arguments.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
{
  printf '%s\n' "$@"
  find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
} | sha256sum | cut -c1-16
