# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated host's file system: read-only layers that all hosts share, under one of its own in memory."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import kernel
from simulated import SimulatedHost
from tools import run

DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
# A layer has what only overlayfs understands, in attributes and as devices 0,0, which not every file system takes.
ARCHIVED = ["--numeric-owner", "--xattrs", "--xattrs-include=*"]
HOSTS = "127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost ip6-localhost ip6-loopback\n"


def enter(host: SimulatedHost, lower: list[Path], snapshot: Path | None) -> None:
    """Put it together in this process's mount namespace and make it the root directory."""
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("layers", str(host.mountpoint), "tmpfs", data="mode=0700")
    os.chdir(host.mountpoint)
    _own_layer(snapshot)
    # by paths from here, in which nothing needs to be quoted
    layers = ":".join(os.path.relpath(path) for path in lower)
    Path("root").mkdir()
    kernel.mount("overlay", "root", "overlay", data=f"lowerdir={layers},upperdir=upper,workdir=work")
    # to save it from outside, when nothing else leads here any more
    kernel.mount(".", "root/.layers", flags=kernel.MS_BIND)
    _proc("root/proc")
    _dev("root/dev")
    kernel.change_root("root")
    _names(host.name)


def _own_layer(snapshot: Path | None) -> None:
    for name in ("upper", "work"):
        os.mkdir(name)
        os.chmod(name, 0o755)
    if snapshot:
        run("tar", *ARCHIVED, "-C", "upper", "-xpf", str(snapshot))


def save(layer: Path, snapshot: Path) -> None:
    """The layer as an archive, which takes its name when it is whole."""
    snapshot.parent.mkdir(exist_ok=True)
    new = snapshot.with_suffix(".new")
    run("tar", *ARCHIVED, "-C", str(layer), "-cf", str(new), ".")
    new.rename(snapshot)


def _proc(place: str) -> None:
    kernel.mount("proc", place, "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    # The machine's settings are not the host's to change; the network's are its own.
    kernel.mount(f"{place}/sys", f"{place}/sys", flags=kernel.MS_BIND)
    kernel.mount(f"{place}/sys/net", f"{place}/sys/net", flags=kernel.MS_BIND)
    kernel.mount("none", f"{place}/sys", flags=kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY)


def _dev(place: str) -> None:
    kernel.mount("dev", place, "tmpfs", kernel.MS_NOSUID, "mode=0755")
    for name, (major, minor) in DEVICES.items():
        os.mknod(f"{place}/{name}", stat.S_IFCHR | 0o666, os.makedev(major, minor))
        os.chmod(f"{place}/{name}", 0o666)
    for name, target in LINKS.items():
        os.symlink(target, f"{place}/{name}")
    for name, kind, data in (("pts", "devpts", "newinstance,mode=0620,ptmxmode=0666"), ("shm", "tmpfs", "mode=1777")):
        os.mkdir(f"{place}/{name}")
        kernel.mount(kind, f"{place}/{name}", kind, kernel.MS_NOSUID, data)


def _names(name: str) -> None:
    Path("/etc/hostname").write_text(f"{name}\n")
    if not Path("/.layers/upper/etc/hosts").exists():
        Path("/etc/hosts").write_text(HOSTS.format(name=name))
