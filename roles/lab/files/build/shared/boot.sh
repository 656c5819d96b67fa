#!/usr/bin/env bash
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What QEMU boots a host from: xen, vmlinuz and initrd.img, the last with just the modules that mount dom0's disk.
# Debian's own initrd is forty times as large, which an emulated CPU takes long to unpack.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=roles/lab/files/build/shared/common.sh
. "$here/common.sh"

cp "rootfs/root/boot/vmlinuz-$(kernel)" vmlinuz
# QEMU's -kernel takes the multiboot ELF, not the compressed file.
gunzip -c "rootfs/root/boot/xen-$LAB_XEN-amd64.gz" > xen

rm -rf scratch/initrd
mkdir -p scratch/initrd/{bin,dev,root,tmp}
cp rootfs/root/bin/busybox scratch/initrd/bin/
ln -s busybox scratch/initrd/bin/sh
modules scratch/initrd virtio_pci virtio_blk ext4
install -m 755 "$here/initrd-init" scratch/initrd/init
archive scratch/initrd initrd.img
