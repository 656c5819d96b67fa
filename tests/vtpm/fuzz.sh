#!/usr/bin/env bash
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# fuzz.sh INPUTS [SEED]: fuzz.c over a vTPM domain's back end, under AddressSanitizer and UBSan. A million inputs take about a
# minute. Without a seed it is one that nobody has had before; a failure tells it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
sources=$here/../../roles/vtpm/files/tpmback
inputs=${1:?usage: fuzz.sh INPUTS [SEED]} seed=${2:-$(date +%s)}
program=$(mktemp -d)
trap 'rm -r "$program"' EXIT
gcc -g -O1 -Wall -Wextra -Werror -std=gnu11 -fsanitize=address,undefined -fno-sanitize-recover -pthread -I"$sources" \
  -o "$program/fuzz" "$here/fuzz.c" "$sources"/{back,exchange,front}.c
"$program/fuzz" "$seed" "$inputs"
