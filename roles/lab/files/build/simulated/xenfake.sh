#!/usr/bin/env bash
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# The hypervisor's stand-in, libxenfake.so, compiled against the C library and the Xen headers of the suite it will run in.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
compiler=scratch/compiler root=scratch/compiler/root

mkdir -p $compiler
# 300 MB for some seconds, which a disk would take longer for
mount -t tmpfs compiler $compiler
mkdir $compiler/{root,tmp}
# extract: unpacked is enough to compile with
TMPDIR=$PWD/$compiler/tmp mmdebstrap --quiet --mode=root --variant=extract --format=directory \
  --include=gcc,libc6-dev,libxen-dev,make,dash "$LAB_SUITE" $root ${LAB_MIRROR:+"$LAB_MIRROR"}
mkdir $root/xenfake
# without what another compiler may have left there
cp "$here/../../xenfake"/{Makefile,*.[chS],*.lds} $root/xenfake/
chroot $root make --silent -C /xenfake CC=gcc
cp $root/xenfake/kernel kernel
cp $root/xenfake/libxenfake.so libxenfake.so.partial
mv libxenfake.so.partial libxenfake.so
