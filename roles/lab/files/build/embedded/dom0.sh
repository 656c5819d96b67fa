#!/usr/bin/env bash
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# dom0's disk: dom0.img, and the key that root is reached with: id_ed25519
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=roles/lab/files/build/shared/common.sh
. "$here/../shared/common.sh"

# Nothing shall wake up in the middle of somebody's measurement.
asleep=(apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
  systemd-tmpfiles-clean.timer)

rm -f id_ed25519 id_ed25519.pub
ssh-keygen -q -t ed25519 -N '' -C xen-lab -f id_ed25519
root=scratch/root
writable $root
cp -r --no-preserve=mode,ownership "$here/overlay/." $root/
install -d -m 700 $root/root/.ssh
install -m 600 id_ed25519.pub $root/root/.ssh/authorized_keys
install -d $root/var/lib/xen-lab
cp vmlinuz tiny.cpio.gz guest.img $root/var/lib/xen-lab/
mkdir -p $root/etc/systemd/system/multi-user.target.wants
ln -sf ../lab-ready.service $root/etc/systemd/system/multi-user.target.wants/lab-ready.service
for unit in "${asleep[@]}"; do ln -sf /dev/null "$root/etc/systemd/system/$unit"; done

rm -f dom0.img.partial
truncate -s 8G dom0.img.partial
mke2fs -q -t ext4 -E lazy_itable_init=0,lazy_journal_init=0 -d $root dom0.img.partial
mv dom0.img.partial dom0.img
