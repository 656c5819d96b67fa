# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a dom0's files look like: /run, /sys/hypervisor, and our programs over those of QEMU and the hotplug scripts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
REAL = Path("/run/xen-simulation/real")  # where the programs that are covered can still be run
QEMU = "/usr/libexec/xen-qemu-system-i386"
VIF_SCRIPTS = ("vif-bridge", "vif-route", "vif-nat", "vif-openvswitch")

# our program -> what it covers
COVERED = {
    "qemu": (QEMU,),
    "vchan-socket-proxy": ("/usr/lib/xen-4.17/bin/vchan-socket-proxy",),
    "block": ("/etc/xen/scripts/block",),
    "vif": tuple(f"/etc/xen/scripts/{name}" for name in VIF_SCRIPTS),
}

DIRECTORIES = ("/run/xen", "/run/xenstored", "/run/lock", "/run/xenfake", "/var/lib/xen", "/var/log/xen", "/etc/xen/auto")

# /sys/hypervisor as on Debian 12's dom0. XENFEAT_dom0 is bit 11 of features.
SYS_HYPERVISOR = {
    "type": "xen",
    "uuid": "00000000-0000-0000-0000-000000000000",
    "guest_type": "PV",
    "version/major": "4",
    "version/minor": "17",
    "version/extra": ".7",
    "compilation/compiled_by": "pkg-xen-devel",
    "compilation/compiler": "x86_64-linux-gnu-gcc (Debian 12.2.0-14+deb12u1) 12.2.0",
    "compilation/compile_date": "Wed Nov  4 16:52:28 UTC 2026",
    "properties/capabilities": "xen-3.0-x86_64 hvm-3.0-x86_32 hvm-3.0-x86_32p hvm-3.0-x86_64 ",
    "properties/changeset": "",
    "properties/features": "000228f0",
    "properties/pagesize": "1000",
    "properties/virtual_start": "ffff800000000000",
}

# What the hypervisor reads when its state is first made: the sizes of the embedded lab host.
HARDWARE = "memory_mib=6144\ndom0_mib=1536\ncpus=2\n"


def mount() -> None:
    """File systems that start empty at each boot, and the covers. They are in this host's mount namespace only."""
    for place in ("/run", "/sys"):
        _mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", place)
    REAL.mkdir(parents=True)
    for name, covered in COVERED.items():
        for path in filter(os.path.exists, covered):
            _cover(HERE / "programs" / name, Path(path))


def put() -> None:
    for directory in DIRECTORIES:
        Path(directory).mkdir(parents=True, exist_ok=True)
    for name, text in SYS_HYPERVISOR.items():
        path = Path("/sys/hypervisor", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    Path("/run/xenfake/host").write_text(HARDWARE)


def _cover(ours: Path, path: Path) -> None:
    real = REAL / path.name
    real.touch()
    _mount("--bind", str(path), str(real))
    _mount("--bind", str(ours), str(path))


def _mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"mount {' '.join(words)}: {done.stderr.strip()}")
