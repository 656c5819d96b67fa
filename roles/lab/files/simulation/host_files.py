# SPDX-FileCopyrightText: The stubdom.xen contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a dom0's files look like: an empty /run, our programs over QEMU, the hotplug scripts and the service xen.

/dev/xen, /proc/xen and /sys/hypervisor are the simulated hypervisor's.
"""

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
    "libxl-save-helper": ("/usr/lib/xen-4.17/bin/libxl-save-helper",),
    "block": ("/etc/xen/scripts/block",),
    "vif": tuple(f"/etc/xen/scripts/{name}" for name in VIF_SCRIPTS),
    "xen-service": ("/etc/init.d/xen",),
}

DIRECTORIES = ("/run/xen", "/run/xenstored", "/run/lock", "/run/xenfake", "/var/lib/xen", "/var/log/xen", "/etc/xen/auto")

MEMORY_MIB, DOM0_MIB, CPUS = 6144, 1536, 2  # as the embedded lab host


def mount() -> None:
    """File systems that start empty at each boot, and the covers. They are in this host's mount namespace only."""
    for place in ("/run", "/sys"):
        _mount("-t", "tmpfs", "-o", "mode=0755", "tmpfs", place)
    REAL.mkdir(parents=True)
    for name in ("lib", "share"):  # QEMU looks for its data beside the directory that it is in
        (REAL.parent / name).symlink_to(f"/usr/{name}")
    for name, covered in COVERED.items():
        for path in filter(os.path.exists, covered):
            _cover(HERE / "programs" / name, Path(path))


def put(memory_mib: int, cpus: int) -> None:
    """What a booted dom0 has in them. The hypervisor reads its host's sizes when its state is first made."""
    for directory in DIRECTORIES:
        Path(directory).mkdir(parents=True, exist_ok=True)
    Path("/run/xenfake/host").write_text(f"memory_mib={memory_mib}\ndom0_mib={DOM0_MIB}\ncpus={cpus}\n")


def _cover(ours: Path, path: Path) -> None:
    real = REAL / path.name
    real.touch()
    _mount("--bind", str(path), str(real))
    _mount("--bind", str(ours), str(path))


def _mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"mount {' '.join(words)}: {done.stderr.strip()}")
