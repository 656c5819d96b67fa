#!/usr/bin/env bash
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# sanitize.sh ROOT: runs a simulated host whose every process has libxenfake under AddressSanitizer and UBSan. ROOT is a
# Debian file system with the dom0's packages, and is only read; a compiler and Xen's headers come from apt if it has none.
# Exit code 0: every step went well and no sanitizer had anything to say. What went wrong is on stderr.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "${1:?usage: sanitize.sh ROOT}" && pwd)
collection=$(cd "$here/../../../.." && pwd)
# Programs leave their memory to the end of the process, so leaks say nothing. Nobody reads a daemon's stderr.
reports=log_path=/sanitizer/report:print_stacktrace=1
environment=(PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
  "ASAN_OPTIONS=detect_leaks=0:$reports" "UBSAN_OPTIONS=$reports")

if [ -z "${SANITIZE_INSIDE:-}" ]; then
  # The mounts end with this, and all processes: it is the first of a pid namespace, and dies when its father is killed.
  SANITIZE_INSIDE=1 exec unshare --mount --pid --mount-proc --fork --kill-child "${BASH_SOURCE[0]}" "$root"
fi

layers() { # over what the host is made of, in memory
  mount --make-rprivate /
  mount -t tmpfs sanitize /mnt
  mkdir /mnt/{upper,work,host}
  mount -t overlay overlay -o "lowerdir=$root,upperdir=/mnt/upper,workdir=/mnt/work" /mnt/host
}

compiler() {
  if [ -x /mnt/host/usr/bin/gcc ] && [ -x /mnt/host/usr/bin/make ] && [ -e /mnt/host/usr/include/xen/domctl.h ]; then return; fi
  cp /etc/resolv.conf /mnt/host/etc/resolv.conf
  # ours too, if this machine reaches its mirror in a way of its own
  cp -n /etc/apt/apt.conf.d/* /mnt/host/etc/apt/apt.conf.d/ || true
  cp /etc/ssl/certs/ca-certificates.crt /mnt/host/etc/ssl/certs/ 2> /dev/null || true
  chroot /mnt/host apt-get -q update
  DEBIAN_FRONTEND=noninteractive chroot /mnt/host apt-get -q -y --no-install-recommends install gcc libc6-dev libxen-dev make
}

library() {
  mkdir -p /mnt/host/usr/lib/xenfake /mnt/host/xenfake /mnt/host/sanitizer
  cp "$here"/{Makefile,*.[chS],*.lds} /mnt/host/xenfake/
  chroot /mnt/host make --silent -C /xenfake SANITIZE=1 OUT=/usr/lib/xenfake
  # the sanitizer's own library has to come first
  printf '%s\n' libasan.so.8 /usr/lib/xenfake/libxenfake-asan.so > /mnt/host/etc/ld.so.preload
}

guest_side() {
  local plugins=/mnt/host/usr/lib/xen-simulation/ansible_collections/stubdom/xen/plugins

  mkdir -p "$plugins"
  cp -r "$here/../simulation/." /mnt/host/usr/lib/xen-simulation/
  cp -r "$collection/plugins/module_utils" "$plugins/"
  cp "$here/sanitize-guests.sh" /mnt/host/
}

devices() {
  local name

  mount -t proc proc /mnt/host/proc
  mount -t tmpfs -o mode=755 dev /mnt/host/dev
  for name in null zero full random urandom tty; do
    touch "/mnt/host/dev/$name"
    mount --bind "/dev/$name" "/mnt/host/dev/$name"
  done
  mkdir /mnt/host/dev/{pts,shm}
  mount -t devpts -o newinstance,ptmxmode=0666 devpts /mnt/host/dev/pts
  ln -s pts/ptmx /mnt/host/dev/ptmx
  ln -s /proc/self/fd /mnt/host/dev/fd
}

run() { # run PROGRAM...: as pid 1 of the host, in place of this shell
  # shellcheck disable=SC2016  # the inner shell's
  exec unshare --mount --pid --net --uts --ipc --fork --kill-child bash -c '
    mount -t proc proc /mnt/host/proc
    exec chroot /mnt/host /usr/bin/env -i "$@"' - "${environment[@]}" "$@"
}

enter() { # enter PID PROGRAM...
  nsenter --target "$1" --mount --pid --net --uts --ipc --root --wd /usr/bin/env -i "${environment[@]}" "${@:2}"
}

layers
compiler > /mnt/apt.log 2>&1 || { tail -20 /mnt/apt.log >&2; exit 1; }
library
guest_side
devices

host() { # host STORE: guests on a host with that xenstored; 0 if all went well
  local unshare_pid ready pid failed=0

  run /usr/bin/python3 /usr/lib/xen-simulation/init --name sanitize --xenstored "$1" 3> /mnt/ready >> /mnt/console 2>&1 &
  unshare_pid=$!
  ready=$(head -1 /mnt/ready)
  pid=$(pgrep -P "$unshare_pid") || ready="its init has ended"
  if [ "$ready" = ready ]; then
    enter "$pid" /bin/bash /sanitize-guests.sh || failed=$?
  else
    failed=1
  fi
  [ -z "$pid" ] || kill -TERM "$pid" 2> /dev/null || true
  wait "$unshare_pid" || true
  [ "$failed" = 0 ] || { echo "--- the host ($ready):"; tail -30 /mnt/console; } >&2
  return "$failed"
}

mkfifo /mnt/ready
failed=0
for store in c ocaml; do host "$store" || failed=1; done
if [ -n "$(ls /mnt/host/sanitizer)" ]; then
  cat /mnt/host/sanitizer/* >&2
  failed=1
fi
[ "$failed" = 0 ] || exit 1
echo "no reports, with either xenstored"
