#!/usr/bin/env bash
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What a simulated host has over the file system it is made from, as an overlay's layer: layer/
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

rm -rf layer layer.partial
mkdir -p layer.partial/{var/lib/xen-lab,usr/lib/xenfake,etc/xen-simulation}
cp -r --no-preserve=mode,ownership "$here/overlay/." layer.partial/
ln vmlinuz tiny.cpio.gz guest.img layer.partial/var/lib/xen-lab/
ln libxenfake.so kernel layer.partial/usr/lib/xenfake/
# where the runner keeps the host's own layer, to save it
mkdir -m 700 layer.partial/.layers
mv -T layer.partial layer
