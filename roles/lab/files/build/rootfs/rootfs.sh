#!/usr/bin/env bash
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# dom0's file system from Debian packages: root/, which both kinds of host are made from
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
own=$here/packages.$LAB_SUITE   # lines of: a package, and what this suite has instead, if anything
[ -e "$own" ] || own=/dev/null
packages=$(sed -e '/^#/d' -e "s/@XEN@/$LAB_XEN/" "$here/packages" |
  awk -v own="$own" 'FILENAME == own { instead[$1] = $2; next } !($1 in instead) { print; next } instead[$1] { print instead[$1] }' "$own" - |
  paste -sd,)

# Documentation, and drivers of hardware that QEMU's machine does not have, are most of the bytes.
unwanted=(/usr/share/{man,doc,info,locale}/'*')
# Of the compiler, the optimiser of whole programs, and libraries to link statically with.
unwanted+=('/usr/lib/gcc/*/*/lto'{1,-wrapper} '/usr/bin/*lto-dump*' '/usr/lib/gcc/*/*/lib*san.a' '/usr/lib/*/libxen*.a')
for modules in /lib/modules /usr/lib/modules; do
  unwanted+=("$modules"/'*'/kernel/sound/'*'
    "$modules"/'*'/kernel/drivers/{gpu,media,infiniband,isdn,staging,net/wireless,net/ethernet,iio,comedi}/'*')
done

rm -rf --one-file-system root root.partial scratch/tmp
mkdir scratch/tmp
# INITRD=No: the kernel's hook would build a general initrd, of which none is used here (see boot.sh).
INITRD=No TMPDIR=$PWD/scratch/tmp mmdebstrap --quiet --mode=root --variant=minbase --format=directory --include="$packages" \
  "${unwanted[@]/#/--dpkgopt=path-exclude=}" "$LAB_SUITE" root.partial ${LAB_MIRROR:+"$LAB_MIRROR"}
rm -rf root.partial/var/cache/apt/archives/*.deb root.partial/var/cache/apt/*.bin
mv -T root.partial root
