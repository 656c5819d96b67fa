#!/usr/bin/env bash
# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What sanitize.sh has a simulated host do: guests of every kind through most of what libxenfake answers.
set -euo pipefail
kernel=$(echo /boot/vmlinuz-*)
small=/usr/lib/xenfake/kernel # a MiniOS stubdomain has 32 MiB
boot=/usr/lib/xen-4.17/boot

guest() { # guest NAME LINE...: its configuration
  printf '%s\n' "name='$1'" "vcpus=1" "maxvcpus=2" "vnc=0" "${@:2}" > "/root/$1.cfg"
}

step() { # step PROGRAM...: quiet if it succeeds
  local output

  output=$("$@" 2>&1) || { printf 'failed (%s): %s\n%s\n' "$?" "$*" "$output" >&2; exit 1; }
}

control() { # control LINE: one command on the control socket; the answer
  python3 -c 'import socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect("/run/xenfake/ctl")
client.sendall(sys.argv[1].encode() + b"\n")
answer = client.makefile().readline().strip()
print(answer)
sys.exit(not answer.startswith("ok"))' "$1"
}

store=$(cat /run/xen/xenstored.pid)
grep -q libxenfake-asan "/proc/$store/maps" || { echo "xenstored runs without the checked library" >&2; exit 1; }
cp "$kernel" "$boot/qemu-stubdom-linux-kernel"
cp "$small" "$boot/ioemu-stubdom.gz"
cp "$small" "$boot/qemu-stubdom-linux-rootfs"
ln -sf /usr/lib/xen-simulation/programs/qemu /usr/lib/xen-4.17/bin/qemu-dm
truncate -s 1M /root/disk.img

guest pv "type='pv'" "memory=128" "kernel='$kernel'" "disk=['/root/disk.img,raw,xvda,w']"
guest pvh "type='pvh'" "memory=128" "kernel='$kernel'"
guest hvm "type='hvm'" "memory=64" "maxmem=128"
guest linux "type='hvm'" "memory=64" "device_model_version='qemu-xen'" "device_model_stubdomain_override=1" \
  "stubdomain_memory=128"
guest minios "type='hvm'" "memory=64" "device_model_version='qemu-xen-traditional'" "device_model_stubdomain_override=1"

for name in pv pvh hvm linux minios; do
  step xl create -p "/root/$name.cfg"
  step xl unpause "$name"
  domid=$(xl domid "$name")
  step /usr/lib/xen-simulation/xenstore-as "$domid" read "/local/domain/$domid/name"
  step xl pause "$name"
  step xl unpause "$name"
  step xl block-attach "$name" /root/disk.img,raw,xvdb,w
  step xl block-detach "$name" xvdb
  step xl mem-max "$name" 256
  step xl vcpu-pin "$name" all 0 all
  step xl sched-credit2 -d "$name" -w 512
  step xl trigger "$name" nmi
  step control "info $domid"
  step control "vcpus $domid 2"
  step control "populate $domid 65536"
  step control "trigger $domid sleep"
  step control "console $domid a line"
  step control "hold $domid 1"
  step control "hold $domid 0"
  step control "stall $domid 1"
  step control "stall $domid 0"
done
for command in list "list -l" "list -v" "vcpu-list" "info -n" dmesg cpupool-list sched-credit2 uptime; do
  # shellcheck disable=SC2086  # words
  step xl $command
done
step control stat
step control "create 0 pv"
step control "fail_memory off"
step xl cpupool-cpu-remove Pool-0 1
step xl cpupool-create 'name="two"'
step xl cpupool-cpu-add two 1
step xl cpupool-migrate pv two
step xl cpupool-migrate pv Pool-0
step xl cpupool-destroy two
made=$(control "create 0")
step control "shutdown ${made#ok } 3"
step control "destroy ${made#ok }"
step control "fail createdomain 12"
if xl create /root/pv.cfg 'name="none"' > /dev/null 2>&1; then echo "createdomain did not fail" >&2; exit 1; fi
for command in destroy pause shutdown; do # DOMID_SELF is domain 0
  if control "$command 0x7ff0" > /dev/null; then echo "$command is to be refused for domain 0" >&2; exit 1; fi
done
for name in pv pvh hvm linux minios; do step xl destroy "$name"; done
# domain 0, and the one of "create 0 pv"
[ "$(xl list | wc -l)" = 3 ] || { xl list >&2; exit 1; }

# a killed store, then another; the fake must let it start, and be without fault in doing so
kill -KILL "$store"
step timeout 60 tail --pid "$store" --sleep-interval 0.1 --follow /dev/null # pidwait never ends where libasan is loaded
step /etc/init.d/xen restart
step xl list
step xl create /root/pv.cfg
step xl shutdown -w pv
