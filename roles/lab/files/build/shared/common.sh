# shellcheck shell=bash
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What several stages do with dom0's file system in rootfs/root, which they only read: it is every image's.

kernel() { # its version
  basename "$(printf '%s\n' rootfs/root/boot/vmlinuz-* | sort -V | tail -1)" | cut -d- -f2-
}

modules() { # modules DIR NAME...: the modules and what they need, into DIR/lib/modules, numbered in the order to load them
  local dir=$1 number=10 path
  shift
  mkdir -p "$dir/lib/modules"
  chroot rootfs/root modprobe --set-version "$(kernel)" --show-depends --all "$@" |
    awk '$1 == "insmod" && !seen[$2]++ {print $2}' |
    while read -r path; do
      unpacked "rootfs/root$path" > "$dir/lib/modules/$number-$(basename "$path" | sed 's/\.ko.*/.ko/')"
      number=$((number + 1))
    done
}

unpacked() { # the file's contents, whatever the suite compressed its modules with
  case $1 in
    *.xz) xz -dc "$1" ;;
    *.zst) zstd -qdc "$1" ;;
    *) cat "$1" ;;
  esac
}

archive() { # archive DIR FILE: DIR as an initramfs
  (cd "$1" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) | gzip -1 > "$2"
}

writable() { # writable DIR: rootfs/root mounted on DIR; what is written there is gone with the stage
  mkdir -p "$1"
  # On a tmpfs, as an overlay's upper layer may not be an overlay itself, which a container's file system is.
  mount -t tmpfs -o mode=755 writable "$1"
  mkdir "$1"/{upper,work}
  mount -t overlay -o "lowerdir=rootfs/root,upperdir=$1/upper,workdir=$1/work" writable "$1"
}
