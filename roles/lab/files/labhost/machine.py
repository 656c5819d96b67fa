# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The emulated machine: QEMU's arguments, its start, its disk with the snapshots in it."""

from __future__ import annotations

from emulated import EmulatedHost
from tools import run

QEMU = "qemu-system-x86_64"
# bootscrub=0: memory that nobody used is not touched, so that it costs this machine nothing.
XEN = (
    "console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all dom0_mem=1536M,max:1536M dom0_max_vcpus=1 bootscrub=0 spec-ctrl=no"
)
LINUX = "root=/dev/vda rw console=hvc0 mitigations=off systemd.hostname={name}"
# svm and npt are emulated as well: that is what HVM and PVH guests run on.
MACHINE = [
    "-machine",
    "pc",
    "-accel",
    "tcg,thread=multi,tb-size=512",
    "-cpu",
    "qemu64,+svm,+npt,+rdrand",
    # More than there are cores: with two guests of hardware virtualisation in turn on one of its processors, QEMU's nested
    # paging now and then loses a guest's translations, and the guest ends in a triple fault (seen with 7.2 and 10.0).
    "-smp",
    "4",
    "-nodefaults",
    "-display",
    "none",
    "-vga",
    "none",
    "-no-reboot",
]


def identity() -> str:
    """What a snapshot is good for: this QEMU, this machine, this Xen."""
    return "; ".join((run(QEMU, "--version").splitlines()[0], *MACHINE, XEN, LINUX))


def new_disk(host: EmulatedHost, image: str) -> None:
    """An empty overlay on the image's disk; what the old one held is gone."""
    host.disk.unlink(missing_ok=True)
    # relative to the overlay, so that the lab's directory can be moved
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", f"../../images/{image}/dom0.img", str(host.disk))


def arguments(host: EmulatedHost, memory: int, port: int, image: str, snapshot: str | None) -> list[str]:
    """QEMU's command line, to be run in the host's directory. The process is known by the pid file's absolute path."""
    boot = f"../../images/{image}"
    return [
        QEMU,
        "-name",
        f"xen-lab-{host.name}",
        *MACHINE,
        "-m",
        str(memory),
        "-daemonize",
        "-pidfile",
        str(host.pidfile),
        "-qmp",
        f"unix:{host.qmp},server=on,wait=off",
        "-chardev",
        f"socket,id=console,path={host.console},server=on,wait=off,logfile=console.log",
        "-serial",
        "chardev:console",
        "-kernel",
        f"{boot}/xen",
        "-append",
        XEN,
        "-initrd",
        f"{boot}/vmlinuz {LINUX.format(name=host.name)},{boot}/initrd.img",
        "-drive",
        "file=disk.qcow2,if=virtio,format=qcow2,cache=unsafe,discard=unmap",
        "-netdev",
        f"user,id=net,hostfwd=tcp:127.0.0.1:{port}-:22",
        "-device",
        "virtio-net-pci,netdev=net,romfile=",
        *(["-loadvm", snapshot] if snapshot else []),
    ]


def launch(host: EmulatedHost, snapshot: str | None) -> None:
    """Start QEMU as the record says; it detaches itself once the machine runs."""
    record = host.record()
    host.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    for leftover in (host.qmp, host.console, host.pidfile):
        leftover.unlink(missing_ok=True)
    host.new_console()
    run(*arguments(host, record["memory"], record["port"], record["image"], snapshot), cwd=host.directory)
