#!/usr/bin/env bash
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Guests to boot: tiny.cpio.gz (busybox in a ramdisk, for pv, pvh and hvm by kernel=/ramdisk=) and guest.img, a disk that
# SYSLINUX boots into the same. A guest under a Linux stubdomain must boot from a disk: the QEMU in there cannot see dom0's files.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=roles/lab/files/build/shared/common.sh
. "$here/common.sh"

rm -rf scratch/tiny
mkdir -p scratch/tiny/{bin,sbin,usr/bin,usr/sbin,dev,proc,sys,tmp,var/log,var/run}
cp -r "$here/tiny/." scratch/tiny/
chmod 755 scratch/tiny/etc/rc scratch/tiny/etc/console scratch/tiny/etc/acpi/PWRF/00000080
cp rootfs/root/bin/busybox scratch/tiny/bin/
chroot rootfs/root busybox --list-full | while read -r applet; do
  [ -e "scratch/tiny/$applet" ] || ln -s /bin/busybox "scratch/tiny/$applet"
done
ln -s /bin/busybox scratch/tiny/init
modules scratch/tiny xen-blkfront xen-netfront xen-tpmfront evdev button
archive scratch/tiny tiny.cpio.gz

rm -f guest.img.partial
truncate -s 24M guest.img.partial
mkfs.vfat -n GUEST guest.img.partial > /dev/null
mcopy -i guest.img.partial vmlinuz ::vmlinuz
mcopy -i guest.img.partial tiny.cpio.gz ::tiny.gz
mcopy -i guest.img.partial "$here/syslinux.cfg" ::syslinux.cfg
syslinux --install guest.img.partial
mv guest.img.partial guest.img
